# SPDX-License-Identifier: MIT
"""Is there an init in the new root that this kernel can execute? Looked at from outside, before anything irreversible.

Paths are resolved inside the root: a symbolic link, absolute or not, never leads out of it. Only reads.
"""

import os
import stat
import sys

from rootfall.errors import SwitchRootError
from rootfall.record import NamedTuple

# As the kernel itself does when init= does not say otherwise (init/main.c, kernel_init).
FALLBACKS = ("/sbin/init", "/etc/init", "/bin/init", "/bin/sh")

_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv",
    258: "loongarch",
}
# A 64-bit kernel that runs its 32-bit predecessor's programs too (CONFIG_IA32_EMULATION, CONFIG_COMPAT).
_ALSO_RUNS = {62: (3,), 183: (40,), 21: (20,)}
_PT_INTERP = 3
# What a damaged header may say is believed up to the kernel's own limits (fs/binfmt_elf.c load_elf_phdrs).
_LARGEST_TABLE, _PATH_MAX, _FAR = 65536, 4096, 1 << 62
_ST_NOEXEC = 8  # statvfs(3)


class Elf(NamedTuple):
    """What an ELF header says: e_machine, and the interpreter of PT_INTERP, empty for a static program (elf(5))."""

    machine: int
    interpreter: str


def resolve(root: str, path: str) -> str:
    """`path` inside `root`, all symbolic links followed within it, as a path outside. Raises OSError."""
    pending, here, links = path.split("/")[::-1], "", 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        full = f"{root}{here}/{part}"
        if stat.S_ISLNK(os.lstat(full).st_mode):
            links += 1
            if links > 40:
                raise OSError(40, os.strerror(40), path)  # ELOOP
            target = os.readlink(full)
            here = "" if target.startswith("/") else here
            pending.extend(target.split("/")[::-1])
        else:
            here = f"{here}/{part}"
    return root + here


def read_elf(path: str) -> Elf | None:
    """The ELF header of a file, or None when it is no ELF file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return elf_of(fd)
    finally:
        os.close(fd)


def elf_of(fd: int) -> Elf | None:
    """The same of an open file."""
    head = os.pread(fd, 64, 0)
    if head[:4] != b"\x7fELF" or len(head) < 52:
        return None
    little, wide = head[5] == 1, head[4] == 2

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little" if little else "big")

    machine = number(head, 18, 2)
    offset = number(head, 32, 8) if wide else number(head, 28, 4)
    size, count = (number(head, 54, 2), number(head, 56, 2)) if wide else (number(head, 42, 2), number(head, 44, 2))
    table = os.pread(fd, min(size * count, _LARGEST_TABLE), min(offset, _FAR))
    for at in range(0, len(table), size or 1):
        if number(table, at, 4) == _PT_INTERP:
            start, length = (
                (number(table, at + 8, 8), number(table, at + 32, 8))
                if wide
                else (number(table, at + 4, 4), number(table, at + 16, 4))
            )
            name = os.pread(fd, min(length, _PATH_MAX), min(start, _FAR)).partition(b"\0")[0]
            return Elf(machine, name.decode(errors="surrogateescape"))
    return Elf(machine, "")


def check(root: str, init: str, own: Elf | None) -> str:
    """Why this kernel could not execute `init` in `root`; empty when it can. `own` is our own program's header."""
    try:
        path = resolve(root, init)
        status = os.stat(path)
    except OSError as error:
        return f"{init}: {error.strerror}" + _dangling(root, init)
    if not stat.S_ISREG(status.st_mode):
        return f"{init} is not a regular file"
    if not status.st_mode & 0o111:
        return f"{init} is not executable (mode {status.st_mode & 0o7777:04o})"
    try:
        if os.statvfs(path).f_flag & _ST_NOEXEC:
            return f"{init} is on a file system that is mounted noexec"
        return _check_program(root, init, path, own)
    except OSError as error:
        return f"{init} cannot be read: {error.strerror}"


def _dangling(root: str, init: str) -> str:
    """For a link that leads nowhere: where it leads."""
    try:
        return f" (a symbolic link to {os.readlink(root + init)})"
    except OSError:
        return ""


def _check_program(root: str, init: str, path: str, own: Elf | None) -> str:
    elf = read_elf(path)
    if elf is not None:
        if foreign := _foreign(elf, own):
            return f"{init} is a program for {foreign}"
        return _check_interpreter(root, init, elf.interpreter, own)
    with open(path, "rb", buffering=0) as file:
        line = file.read(256).split(b"\n")[0].partition(b"\0")[0]
    if line[:2] != b"#!":
        return f"{init} is neither an ELF program nor a #! script"
    words = line[2:].decode(errors="surrogateescape").split()
    return _check_interpreter(root, init, words[0], own) if words else f"{init} has an empty #! line"


def _foreign(elf: Elf, own: Elf | None) -> str:
    """For which machine a program is, if it is not for this one."""
    if own is None or elf.machine == own.machine or elf.machine in _ALSO_RUNS.get(own.machine, ()):
        return ""
    theirs, ours = (_MACHINES.get(each, f"machine {each}") for each in (elf.machine, own.machine))
    return f"{theirs}, this machine is {ours}"


def _check_interpreter(root: str, init: str, interpreter: str, own: Elf | None) -> str:
    if not interpreter:
        return ""
    try:
        path = resolve(root, interpreter)
        if not stat.S_ISREG(os.stat(path).st_mode):
            return f"{init} needs {interpreter}, which is not a regular file"
        elf = read_elf(path)
    except OSError as error:
        return f"{init} needs {interpreter}, which is not in the root: {error.strerror}"
    foreign = _foreign(elf, own) if elf is not None else ""
    return f"{init} needs {interpreter}, a program for {foreign}" if foreign else ""


def own_program() -> Elf | None:
    """The header of the program that runs here: what this machine is."""
    try:
        return read_elf(sys.executable)
    except OSError:
        return None


def choose_init(root: str, wanted: str) -> tuple[str, tuple[str, ...]]:
    """The init to execute and why those before it were passed over; the wanted one first, then the kernel's own list.

    Raises SwitchRootError naming each candidate's fault when there is none.
    """
    own = own_program()
    faults: list[str] = []
    for init in (wanted, *(each for each in FALLBACKS if each != wanted)):
        fault = check(root, init, own)
        if not fault:
            return init, tuple(faults)
        faults.append(fault)
    hint = "is this the right partition? init= or boot.init names another program"
    raise SwitchRootError("find an init in the new root", root, seen="; ".join(faults), hint=hint)
