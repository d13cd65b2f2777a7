# SPDX-License-Identifier: MIT
"""The linters are tests: `pytest` alone tells the truth. `make lint` mends what can be mended."""

import subprocess
import sys

import pytest

from tests.house.imports import HOUSE

COMMANDS = {"ruff check": ("ruff", "check"), "ruff format": ("ruff", "format", "--check", "--diff"), "mypy": ("mypy",)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_linter_has_nothing_to_say(name: str) -> None:
    done = subprocess.run([sys.executable, "-m", *COMMANDS[name]], cwd=HOUSE, capture_output=True, text=True)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
