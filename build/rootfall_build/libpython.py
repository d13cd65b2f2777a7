# SPDX-License-Identifier: MIT
"""Links a libpython for PID 1 from the distribution's own PIC archive, without the built-in modules that a boot never uses.

Debian's libpython3.11.so is 7.7 MB with the Unicode database, expat, the hashes and pickle; this one is 5.0 MB, needs no
libexpat, and keeps its relocations in the compact RELR form. Needs cc and libpython3-dev on the machine that builds; refuses
to guess: where anything is missing, the stock library is used and `link` says why.
"""

import re
import subprocess
import sysconfig
from pathlib import Path

# Built-in modules that neither PID 1 nor pyudev nor yaml imports: name of the module to its object files.
UNUSED = {
    "_csv": ("_csv",),
    "_opcode": ("_opcode",),
    "_pickle": ("_pickle",),
    "_random": ("_randommodule",),
    "_statistics": ("_statisticsmodule",),
    "cmath": ("cmathmodule",),
    "_elementtree": ("_elementtree",),
    "pyexpat": ("pyexpat",),
    "_blake2": ("blake2module", "blake2b_impl", "blake2s_impl"),
    "_md5": ("md5module", "Hacl_Hash_MD5"),
    "_sha1": ("sha1module", "Hacl_Hash_SHA1"),
    "_sha256": ("sha256module",),
    "_sha512": ("sha512module",),
    "_sha2": ("sha2module",),
    "_sha3": ("sha3module",),
    "unicodedata": ("unicodedata",),
    "_posixsubprocess": ("_posixsubprocess",),
    "grp": ("grpmodule",),
    "spwd": ("spwdmodule",),
    "syslog": ("syslogmodule",),
    "xxsubtype": ("xxsubtype",),
}

_LINK = (
    "-shared -Wl,-z,defs -Wl,-Bsymbolic -Wl,--gc-sections -Wl,-z,pack-relative-relocs -Wl,--hash-style=gnu -Wl,-O1 "
    "-Wl,--build-id=none -Wl,--strip-all -Wl,--no-eh-frame-hdr"
).split()


def recipe() -> str:
    """What `link` would do, as text: part of the digest under which the frozen runtime is cached."""
    return repr((sorted(UNUSED), _LINK))


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


def _archive() -> Path:
    version = sysconfig.get_python_version()
    return Path(str(sysconfig.get_config_var("LIBPL") or "/nonexistent")) / f"libpython{version}-pic.a"


def link(work: Path) -> Path:
    """Make the library in `work`, an empty directory. Raises subprocess.CalledProcessError with the linker's words."""
    objects = work / "objects"
    objects.mkdir()
    subprocess.run(["ar", "x", str(_archive())], cwd=objects, check=True, capture_output=True)
    dropped = {f"{name}.o" for files in UNUSED.values() for name in files} | {"config.o"}
    kept = sorted(path for path in objects.iterdir() if path.name not in dropped)
    config = work / "config.c"
    config.write_text(_inittab(_archive().with_name("config.c").read_text()))
    include = sysconfig.get_path("include")
    compile_ = ["cc", "-c", "-O2", "-fPIC", "-DPy_BUILD_CORE", f"-I{include}", f"-I{include}/internal"]
    subprocess.run([*compile_, str(config), "-o", str(work / "config.o")], check=True, capture_output=True)
    soname = str(sysconfig.get_config_var("INSTSONAME"))
    output = work / soname
    inputs = [*map(str, kept), str(work / "config.o"), "-lm", "-lz", "-lc"]
    subprocess.run(
        ["cc", *_LINK, f"-Wl,-soname,{soname}", "-o", str(output), *inputs], check=True, capture_output=True, text=True
    )
    _remove_unwind_tables(output)
    return output


def _inittab(config: str) -> str:
    """CPython's config.c without the lines of the modules that are dropped."""
    names = "|".join(UNUSED)
    return "\n".join(line for line in config.splitlines() if not re.search(rf"\bPyInit_({names})\b", line)) + "\n"


def _remove_unwind_tables(library: Path) -> None:
    """Nothing unwinds C frames in PID 1 (no C++, no pthread_cancel): a tenth of the compressed library."""
    subprocess.run(["strip", "-s", "-R", ".eh_frame", str(library)], check=True, capture_output=True)
