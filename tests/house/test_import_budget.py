# SPDX-License-Identifier: MIT
"""PID 1 pays for every module that it imports, at every boot: their number is budgeted, in import_budget.json.

Counted up to the first step of a boot whose configuration is ready, as the frozen program does it: without site, with its
stand-ins. Raise a number only with a reason in the commit.
"""

import json
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from tests.house.imports import HOUSE

BUDGET: dict[str, dict[str, int]] = json.loads(Path(__file__).with_name("import_budget.json").read_text())
# Each of these is 5 to 110 ms of a boot (docs/architecture.md), or waits for the entropy pool.
NEVER = (
    "typing re enum contextlib inspect dataclasses pathlib json yaml argparse logging subprocess threading shutil "
    "random uuid tempfile secrets hashlib"
).split()
PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
sys.frozen = True
from rootfall.linux import standins
standins.install()
import rootfall.main
from rootfall.linux import blkid, udev
udev.load()
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def imported() -> list[str]:
    python = [sys.executable, "-I", "-S", "-c", PROGRAM]
    command = [*python, str(HOUSE / "init"), sysconfig.get_path("purelib")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def group(module: str) -> str:
    """Whose module it is."""
    top = module.split(".")[0]
    return top if top in ("rootfall", "pyudev", "yaml") else "python"


def test_a_boot_imports_no_more_than_the_budget(imported: list[str]) -> None:
    counts = Counter(map(group, imported))
    over = {name: count for name, count in counts.items() if count > BUDGET["imported"].get(name, 0)}
    assert over == {}, f"over the budget: {over}; imported: {' '.join(imported)}"


def test_a_boot_never_imports_what_is_dear(imported: list[str]) -> None:
    assert [name for name in NEVER if name in imported] == []


@pytest.mark.frozen
def test_the_frozen_program_holds_no_more_than_the_budget_and_nothing_of_the_builder() -> None:
    readers = pytest.importorskip("PyInstaller.archive.readers")
    from rootfall_build.build import cache_directory
    from rootfall_build.freeze import freeze

    program = readers.CArchiveReader(str(freeze(cache_directory()).directory / "rootfall"))
    archive = next(name for name in program.toc if name.endswith(".pyz"))
    held = sorted(program.open_embedded_archive(archive).toc)
    assert [name for name in held if name.startswith(("rootfall_build", "rootfall_qemu"))] == []
    counts = Counter(map(group, held))
    over = {name: count for name, count in counts.items() if count > BUDGET["held"].get(name, 0)}
    assert over == {}, f"over the budget: {over}; held: {' '.join(held)}"
