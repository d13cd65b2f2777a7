# SPDX-License-Identifier: MIT
"""What may not be in the tree: names of mirrors and registries, waits without an end, a copy of what is made."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.house.imports import HOUSE

# Put together here, so that this file does not name them either.
HOSTS = re.compile(
    "|".join((r"debian\.(?:org|net)", r"py(?:pi|thonhosted)\.org", r"npm\w*\.org", r"pkg\.dev", r"proxy\.golang")), re.I
)
MIRROR = re.compile(r"\bhttps?://[\w.-]+/(?:debian|simple|pypi|ubuntu)\b", re.IGNORECASE)
LARGEST = 100_000


def committed() -> list[Path]:
    """Every file that git knows here; the files themselves where there is no git."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"this is no git checkout: {done.stderr.strip()}")
    return [HOUSE / name for name in done.stdout.split("\0") if name and (HOUSE / name).is_file()]


def test_no_mirror_and_no_registry_is_named() -> None:
    named = {}
    for path in committed():
        text = path.read_text(errors="replace")
        if path != Path(__file__) and (found := HOSTS.findall(text) + MIRROR.findall(text)):
            named[str(path.relative_to(HOUSE))] = found
    assert named == {}


def test_what_is_committed_is_small_and_was_written_by_people() -> None:
    assert [str(path) for path in committed() if path.stat().st_size > LARGEST] == []


def test_no_test_sleeps() -> None:
    guilty = []
    for path in (HOUSE / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr="sleep") | ast.ImportFrom(module="time", names=[ast.alias(name="sleep")]):
                    guilty.append(f"{path.relative_to(HOUSE)}:{node.lineno}")
    assert guilty == []


def test_every_source_says_its_licence() -> None:
    sources = [path for path in committed() if path.suffix in (".py", ".c", ".sh")]
    assert [str(path) for path in sources if "SPDX-License-Identifier: MIT" not in path.read_text()[:200]] == []
