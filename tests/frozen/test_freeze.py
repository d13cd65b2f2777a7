# SPDX-License-Identifier: MIT
"""The freeze: done once for each state of what goes in, the same bytes each time, and possible without a compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rootfall_build import bootloader, freeze
from rootfall_build.build import cache_directory
from rootfall_build.freeze import FrozenRuntime

ROOT = Path(__file__).parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    """All files by name, a link as its target."""
    return {
        str(path.relative_to(directory)): os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_a_second_freeze_does_nothing(runtime: FrozenRuntime) -> None:
    before = {path: path.lstat().st_mtime_ns for path in sorted(runtime.directory.parent.rglob("*"))}
    notes: list[str] = []
    assert freeze.freeze(cache_directory(), notes.append) == runtime
    assert {path: path.lstat().st_mtime_ns for path in sorted(runtime.directory.parent.rglob("*"))} == before
    assert notes == []


def digest(sources: Path) -> str:
    """The cache's key with these sources."""
    path = os.pathsep.join(str(sources / name) for name in ("init", "hooks", "build"))
    code = "from rootfall_build import freeze; print(freeze._digest())"
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "name",
    ["init/rootfall/timeline.py", "hooks/rootfall_hooks/__init__.py", "build/rootfall_build/pid1.spec"],
)
def test_a_change_of_any_source_is_another_key(tmp_path: Path, name: str) -> None:
    for each in ("init", "hooks", "build"):
        shutil.copytree(ROOT / each, tmp_path / each, ignore=shutil.ignore_patterns("__pycache__"))
    before = digest(tmp_path)
    assert digest(tmp_path) == before
    os.utime(tmp_path / name, (1, 1))
    assert digest(tmp_path) == before, "what counts is what is in it"
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    assert digest(tmp_path) != before
    (tmp_path / name).unlink()
    shutil.copy(ROOT / name, tmp_path / name)
    assert digest(tmp_path) == before
    (tmp_path / "init/rootfall/more.py").touch()
    assert digest(tmp_path) != before


def test_the_same_sources_make_the_same_bytes(runtime: FrozenRuntime, tmp_path: Path) -> None:
    again = freeze.freeze(tmp_path / "somewhere else")
    assert again.digest == runtime.digest
    first, second = contents(runtime.directory), contents(again.directory)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_nothing_says_where_it_was_made(runtime: FrozenRuntime) -> None:
    places = {str(ROOT), str(Path(sys.prefix)), str(cache_directory()), str(Path.home()) + "/", "rootfall-freeze-"}
    told = [
        (name, place)
        for name, data in contents(runtime.directory).items()
        for place in places
        if place.encode() in data
    ]
    assert told == []


def test_without_a_compiler_pyinstallers_bootloader_goes_in_and_it_is_said(
    runtime: FrozenRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootloader, "missing", lambda: "cc (Debian packages gcc and libc6-dev)")
    notes: list[str] = []
    stock = freeze.freeze(tmp_path, notes.append)
    assert notes[1].startswith(
        "no cc (Debian packages gcc and libc6-dev): PyInstaller's bootloader and the stock libpy"
    )
    assert stock.digest != runtime.digest
    assert list(stock.directory.rglob("libpython*.so*"))
    done = subprocess.run([stock.directory / "rootfall"], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:9]) == (1, "rootfall:")
    done = subprocess.run(
        [stock.directory / "rootfall", "--prove"], env={}, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith(": in order\n"), done.stderr


@pytest.mark.parametrize("spoil", ["#error spoilt\n", "#define main spoilt\n"])
def test_what_cannot_be_linked_is_said_and_pyinstallers_bootloader_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    if lack := bootloader.missing():
        pytest.skip(f"nothing is linked here: no {lack}")
    broken = tmp_path / "bootloader.c"
    broken.write_text(spoil + bootloader.SOURCE.read_text())
    stock = tmp_path / "stock"
    stock.mkdir()
    (tmp_path / "modules.pyz").touch()
    monkeypatch.setattr(bootloader, "SOURCE", broken)
    notes: list[str] = []
    assert not freeze._link_into(stock, tmp_path, notes.append)
    assert notes[1].startswith("cc refuses (")
    assert "PyInstaller's bootloader and the stock libpython go in" in notes[1]
    assert list(stock.iterdir()) == []


def test_a_linked_program_that_does_not_prove_itself_is_not_used(
    runtime: FrozenRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lack := bootloader.missing():
        pytest.skip(f"nothing is linked here: no {lack}")
    source, spoilt = bootloader.SOURCE.read_text(), tmp_path / "bootloader.c"
    spoilt.write_text(source.replace("    find_home(home);\n", '    refuse("spoilt");\n    find_home(home);\n'))
    stock = tmp_path / "stock"
    shutil.copytree(runtime.directory, stock)
    (stock / "_internal/encodings.pyc").touch()  # as PyInstaller's has it
    (tmp_path / "modules.pyz").touch()
    before = contents(stock)
    monkeypatch.setattr(bootloader, "SOURCE", spoilt)
    notes: list[str] = []
    assert not freeze._link_into(stock, tmp_path, notes.append)
    assert notes[1].startswith(
        "linked into one file it does not start (rootfall: the frozen program does not start: spoilt)"
    )
    assert contents(stock) == before


def test_another_library_that_is_linked_in_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of zlib1g-dev, or of libpython3-dev, is to reach the images."""
    if lack := bootloader.missing():
        pytest.skip(f"nothing is linked here: no {lack}")
    inputs = bootloader.inputs()
    assert [path.name[:8] for path in inputs] == ["libpytho", "libz.a"]
    assert all(path.exists() for path in inputs)
    copies = [Path(shutil.copy2(path, tmp_path)) for path in inputs]
    monkeypatch.setattr(bootloader, "inputs", lambda: copies)
    before = freeze._digest()
    os.utime(copies[-1], (1, 1))
    assert freeze._digest() != before
