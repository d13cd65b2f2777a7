# SPDX-License-Identifier: MIT
"""Freezes PID 1 with PyInstaller into a onedir, once for each state of sources, Python and dependencies.

The cache key is a digest of all that goes in, so a second build freezes nothing. Runs PyInstaller as a child with its own
work and dist directories: it would write into build/, which is source here. Refuses to freeze builder code: only `rootfall`
and the boot halves of the chosen hooks are on its path.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rootfall.errors import BuildError
from rootfall_build import boot_half, bootloader

_DISTRIBUTIONS = ("pyinstaller", "pyudev", "pyyaml")
# Libraries that PID 1 opens by ctypes: PyInstaller cannot see them.
_LIBRARIES = ("libudev.so.1", "libblkid.so.1")
_EXTENSIONS = ("_ctypes", "_struct", "zlib", "fcntl", "select", "math", "_datetime", "binascii", "_posixsubprocess")
# What the modules that we need could import, and at boot do not.
_EXCLUDES = (
    "subprocess threading ctypes.util inspect pkgutil typing dataclasses argparse ast textwrap tracemalloc pickle copy "
    "pprint gettext tokenize zipfile pathlib tempfile shutil random logging urllib email http ssl hashlib lzma bz2 decimal "
    "unicodedata multiprocessing _yaml yaml._yaml yaml.cyaml pyudev.glib pyudev.pyqt5 pyudev.pyside pyudev.pyside6 "
    "pyudev.wx pyudev._qt_base selectors signal contextlib _strptime calendar locale datetime quopri stringprep fnmatch getopt"
).split()
# Dropped after the analysis: PyInstaller insists on them, for codecs that are not in the image.
_DROP = "_compat_pickle _py_abc _threading_local quopri stringprep optparse doctest unittest pdb bdb cmd code codeop".split()
# Of the standard library: PyInstaller keeps these for its own archive, and the linked interpreter has none of them frozen in.
_STANDARD_LIBRARY = (
    "_collections_abc _weakrefset abc codecs collections collections.abc copyreg encodings.utf_16 encodings.utf_16_be "
    "encodings.utf_16_le enum functools genericpath io keyword operator os posixpath re re._casefix re._compiler "
    "re._constants re._parser reprlib stat struct types warnings weakref"
).split()


@dataclass(frozen=True)
class FrozenRuntime:
    """A onedir: `directory` holds the program `rootfall` and `_internal/`; `digest` names the state it was made from."""

    directory: Path
    digest: str


def freeze(cache: Path, progress: Callable[[str], None] = lambda _: None, hooks: Sequence[Path] = ()) -> FrozenRuntime:
    """The frozen PID 1 with these hooks, from the cache or newly made. Raises BuildError with the end of PyInstaller's log."""
    digest = _digest(hooks)
    final = cache / "frozen" / digest
    if not (final / "complete").exists():
        with _locked(cache / "frozen"):
            if not (final / "complete").exists():
                _freeze_into(final, progress, hooks)
    return FrozenRuntime(final / "rootfall", digest)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One freeze at a time: two builds at once (pytest -n) wait for each other instead of doing the work twice."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise BuildError("freeze PID 1", name, hint="the package is not installed beside the builder")
    return Path(spec.origin).parent


def _sources() -> list[Path]:
    return [*sorted(_package("rootfall").rglob("*.py")), *_shared()]


def _shared() -> list[Path]:
    """What hooks may have in common: the modules of their package whose names begin with an underscore."""
    return sorted(_package("rootfall_hooks").glob("_*.py"))


def _stage(work: Path, hooks: Sequence[Path]) -> Path:
    """A directory with the package rootfall_hooks as PID 1 has it: the boot halves of the chosen hooks, and no others."""
    package = work / "hooks" / "rootfall_hooks"
    package.mkdir(parents=True)
    if hooks:
        for path in _shared():
            shutil.copy(path, package)
        (package / "__init__.py").write_text(f"CHOSEN = {tuple(path.stem for path in hooks)!r}\n")
    for path in hooks:
        (package / path.name).write_text(boot_half.of(path.read_text(), str(path)))
    return package.parent


def _commands(package: Path) -> list[Path]:
    return sorted(path for path in (package / "container").glob("*.py") if path.stem != "__init__")


def _libraries() -> list[Path]:
    """libudev and libblkid as the dynamic linker's directories have them, by their sonames."""
    multiarch = str(sysconfig.get_config_var("MULTIARCH") or "")
    places = [Path(root, directory) for root in ("/usr", "/") for directory in (f"lib/{multiarch}", "lib64", "lib")]
    found = []
    for name in _LIBRARIES:
        path = next((place / name for place in places if (place / name).exists()), None)
        if path is None:
            hint = f"install it (Debian package {name.partition('.')[0]}1)"
            raise BuildError("freeze PID 1 with", name, seen=f"not in {', '.join(map(str, places))}", hint=hint)
        found.append(path)
    return found


def _digest(hooks: Sequence[Path] = ()) -> str:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    recipe = (here / name for name in ("pid1.spec", "freeze.py", "bootloader.py", "bootloader.c", "boot_half.py"))
    for path in (*_sources(), *recipe, *hooks):
        digest.update(f"{path.parent.name}/{path.name}".encode() + b"\0" + path.read_bytes() + b"\0")
    versions = [sys.version, *(f"{name} {importlib.metadata.version(name)}" for name in _DISTRIBUTIONS)]
    lack = bootloader.missing()
    libraries = [path.resolve() for path in (*_libraries(), *([] if lack else bootloader.inputs()))]
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in libraries]
    digest.update(repr((versions, stamps, lack)).encode())
    return digest.hexdigest()[:32]


def _freeze_into(final: Path, progress: Callable[[str], None], hooks: Sequence[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="rootfall-freeze-", dir=final.parent) as name:
        work = Path(name)
        _stage(work, hooks)
        progress(f"freeze PID 1 with PyInstaller{''.join(f', hook {path.stem}' for path in hooks)}")
        _run_pyinstaller(work, hooks)
        made = work / "dist"
        if not _link_into(made / "rootfall", work, progress):
            fault = _fault(made / "rootfall" / "rootfall")
            if fault:
                raise BuildError("freeze PID 1", "rootfall", seen=f"the frozen program does not start: {fault}")
        (made / "complete").touch()
        shutil.rmtree(final, ignore_errors=True)
        made.rename(final)


def _link_into(stock: Path, work: Path, progress: Callable[[str], None]) -> bool:
    """Put a program that is linked into one file in the place of PyInstaller's; else say why, and leave what is there."""
    otherwise = (
        "PyInstaller's bootloader and the stock libpython go in: about 1 MB more in the image, and a slower start"
    )
    if lack := bootloader.missing():
        progress(f"no {lack}: {otherwise}")
        return False
    progress("link PID 1 with its interpreter")
    (work / "link").mkdir()
    try:
        extensions = sorted(stock.rglob("lib-dynload/*.so"))
        program = bootloader.link(work / "link", _package("rootfall"), work / "modules.pyz", extensions)
    except subprocess.CalledProcessError as error:
        progress(f"{error.cmd[0]} refuses ({str(error.stderr).strip()[-300:]}): {otherwise}")
        return False
    linked = shutil.copytree(stock, work / "linked", symlinks=True)
    for needless in (linked / "_internal").glob("libpython*"):
        needless.unlink()
    (linked / "_internal" / "encodings.pyc").unlink()
    shutil.copy(program, linked / "rootfall")
    if fault := _fault(linked / "rootfall"):
        progress(f"linked into one file it does not start ({fault}): {otherwise}")
        return False
    shutil.rmtree(stock)
    linked.rename(stock)
    return True


def _fault(program: Path) -> str:
    """Why the frozen program does not find all that a boot needs; empty when it does (rootfall.prove)."""
    done = subprocess.run([str(program), "--prove"], env={}, cwd="/", capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip()[-600:] or f"exit status {done.returncode}")


def _run_pyinstaller(work: Path, hooks: Sequence[Path]) -> None:
    package = _package("rootfall")
    settings = {
        "script": str(package / "__main__.py"),
        "bootstrap": str(package / "frozen_import.py"),
        # The chosen hooks first: beside an installed rootfall lie all of them.
        "paths": [str(work / "hooks"), str(package.parent)],
        # Commands of `rootfall container` and hooks are imported by their names.
        "hidden_imports": [
            "pyudev",
            "yaml",
            *(f"rootfall.container.{path.stem}" for path in _commands(package)),
            *(f"rootfall_hooks.{path.stem}" for path in hooks),
        ],
        "excludes": _EXCLUDES,
        "drop": _DROP,
        "extensions": _EXTENSIONS,
        "libraries": [str(path) for path in _libraries()],
        "archive": str(work / "modules.pyz"),
        "encodings": str(package / "frozen_encodings.py"),
        "standard_library": _STANDARD_LIBRARY,
    }
    environment = os.environ | {
        "ROOTFALL_FREEZE": json.dumps(settings),
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "PYINSTALLER_CONFIG_DIR": str(work / "config"),
    }
    arguments = ["--noconfirm", "--log-level=WARN", "--workpath", str(work / "work"), "--distpath", str(work / "dist")]
    command = [sys.executable, "-m", "PyInstaller", *arguments, str(Path(__file__).with_name("pid1.spec"))]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "PyInstaller needs the shared libpython of the Python it runs on (Debian package libpython3-dev)"
        raise BuildError("freeze PID 1", "PyInstaller", seen=(done.stderr or done.stdout)[-1500:], hint=hint)
