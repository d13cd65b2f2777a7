# SPDX-License-Identifier: MIT
"""Links the frozen program into one file: our bootloader, the interpreter from the distribution's PIC archive, the modules.

Debian's libpython3.11.so is 7.7 MB with the Unicode database, expat, the hashes and pickle; what goes in here is 5 MB, needs no
libexpat, and keeps its relocations in the compact RELR form. Needs cc and libpython3-dev on the machine that builds; refuses
to guess: where anything is missing, PyInstaller's bootloader and the stock library stay, and `missing` or `link` says why.
"""

import marshal
import re
import subprocess
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

SOURCE = Path(__file__).with_name("bootloader.c")
# Built-in modules that neither PID 1 nor pyudev nor yaml imports; what is nobody's then, the linker leaves out.
UNUSED = (
    "_csv _json _opcode _pickle _random _statistics cmath _elementtree pyexpat _blake2 _md5 _sha1 _sha256 _sha512 _sha2 _sha3 "
    "unicodedata _posixsubprocess _suggestions grp spwd syslog xxsubtype"
).split()

# What is compiled into the program, by the names that bootloader.c has for it: files of the package rootfall,
_SCRIPTS = {"ENCODINGS": "frozen_encodings.py", "IMPORTER": "frozen_import.py", "MAIN": "__main__.py"}
# and what the interpreter imports before our importer is there: files of the standard library, their names in tracebacks.
_STANDARD = {
    "BOOTSTRAP": ("importlib/_bootstrap.py", "<frozen importlib._bootstrap>"),
    "EXTERNAL": ("importlib/_bootstrap_external.py", "<frozen importlib._bootstrap_external>"),
    "ABC": ("abc.py", "<frozen abc>"),
    "IO": ("io.py", "<frozen io>"),
}
# Parts of the interpreter that bootloader.c and _inittab() replace.
_REPLACED = ("config.o", "frozen.o", "deepfreeze.o")
# The functions of the interpreter that we call by ctypes (linux.namespaces).
_BY_CTYPES = ("PyOS_BeforeFork", "PyOS_AfterFork_Child", "PyOS_AfterFork_Parent")
_LINK = (
    "-pie -Wl,-z,defs -Wl,--dynamic-list=exports -Wl,--gc-sections -Wl,-z,pack-relative-relocs -Wl,--hash-style=gnu -Wl,-O1 "
    "-Wl,--build-id=none -Wl,--strip-all -Wl,--no-eh-frame-hdr"
).split()
_LIBRARIES = "-Wl,-Bstatic -lz -Wl,-Bdynamic -lm -lc".split()


def missing() -> str:
    """What this machine lacks for `link`; empty when nothing."""
    if not _archive().exists():
        return f"{_archive().name} (Debian package libpython{sysconfig.get_python_version()}-dev)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"Python.h (Debian package libpython{sysconfig.get_python_version()}-dev)"
    try:
        subprocess.run(["cc", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "cc (Debian packages gcc and libc6-dev)"
    return ""


def inputs() -> list[Path]:
    """The libraries that are linked in: with a new one the program is another."""
    found = subprocess.run(["cc", "-print-file-name=libz.a"], capture_output=True, text=True, check=True).stdout
    return [_archive(), *(path for path in [Path(found.strip())] if path.exists())]


def _archive() -> Path:
    version = sysconfig.get_python_version()
    return Path(str(sysconfig.get_config_var("LIBPL") or "/nonexistent")) / f"libpython{version}-pic.a"


def link(work: Path, package: Path, archive: Path, extensions: Iterable[Path]) -> Path:
    """Make the program in `work`, an empty directory, of the sources in `package` and PyInstaller's PYZ `archive`.

    The interpreter's functions are there for these `extensions` and for what we call by ctypes.
    Raises subprocess.CalledProcessError with the compiler's or the linker's words.
    """
    objects = work / "objects"
    objects.mkdir()
    _run(["ar", "x", str(_archive())], objects)
    library = Path(sysconfig.get_path("stdlib"))
    sources = {name: (package / file, f"rootfall/{file}") for name, file in _SCRIPTS.items()}
    sources |= {name: (library / file, called) for name, (file, called) in _STANDARD.items()}
    parts = {"ARCHIVE": archive, **{name: _compiled(*source, work / name) for name, source in sources.items()}}
    (work / "config.c").write_text(_inittab(_archive().with_name("config.c").read_text()))
    include = sysconfig.get_path("include")
    compile_ = ["cc", "-c", "-O2", "-fPIC", f"-I{include}"]
    _run([*compile_, *(f'-D{name}="{path}"' for name, path in parts.items()), str(SOURCE), "-o", "bootloader.o"], work)
    _run([*compile_, "-DPy_BUILD_CORE", f"-I{include}/internal", "config.c", "-o", "config.o"], work)
    wanted = {name for path in extensions for name in _undefined(path)} | set(_BY_CTYPES)
    (work / "exports").write_text("{" + "".join(f"{name};\n" for name in sorted(wanted)) + "};\n")
    kept = sorted(str(path) for path in objects.iterdir() if path.name not in _REPLACED)
    _run(["cc", *_LINK, "-o", "rootfall", "bootloader.o", "config.o", *kept, *_LIBRARIES], work)
    # Nothing unwinds C frames in PID 1 (no C++, no pthread_cancel): a tenth of the compressed program.
    _run(["strip", "-s", "-R", ".eh_frame", "rootfall"], work)
    return work / "rootfall"


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)


def _compiled(source: Path, called: str, path: Path) -> Path:
    """The code of a script or module, without docstrings and asserts, in the file `path`; `called` is for tracebacks."""
    path.write_bytes(marshal.dumps(compile(source.read_bytes(), called, "exec", dont_inherit=True, optimize=2)))
    return path


def _undefined(library: Path) -> list[str]:
    """The names that a library looks for elsewhere."""
    with library.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        return [each.name for each in symbols.iter_symbols() if each.name and each["st_shndx"] == "SHN_UNDEF"]


def _inittab(config: str) -> str:
    """CPython's config.c without the lines of the modules that are dropped."""
    names = "|".join(UNUSED)
    return "\n".join(line for line in config.splitlines() if not re.search(rf"\bPyInit_({names})\b", line)) + "\n"
