# SPDX-License-Identifier: MIT
"""System calls that Python has no function for, by ctypes: one thin wrapper each, named as its man page, raising OSError.

Higher-level things are beyond the scope of this module. Constants carry their kernel names and values (linux/mount.h,
linux/magic.h, linux/reboot.h, linux/openat2.h).
"""

import os
import sys

from rootfall.linux.small_ctypes import CDLL, addressof, c_ulong, get_errno, sizeof

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_SYNCHRONOUS, MS_REMOUNT, MS_MANDLOCK, MS_DIRSYNC = 16, 32, 64, 128
MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC, MS_SILENT = (
    256,
    1024,
    2048,
    4096,
    8192,
    16384,
    32768,
)
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_RELATIME, MS_STRICTATIME, MS_LAZYTIME = (
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    1 << 24,
    1 << 25,
)
MNT_DETACH = 2

RAMFS_MAGIC, TMPFS_MAGIC = 0x858458F6, 0x01021994
PROC_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, CGROUP2_SUPER_MAGIC = 0x9FA0, 0x1CD1, 0x63677270

RB_AUTOBOOT, RB_HALT_SYSTEM, RB_POWER_OFF = 0x01234567, 0xCDEF0123, 0x4321FEDC

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x01, 0x02, 0x04, 0x10

# Numbers of finit_module(2), which glibc does not wrap, by the beginning of uname's machine and the bits of a long (a
# 64-bit kernel may run a 32-bit program): older architectures have tables of their own, newer ones share the generic one.
_FINIT_MODULE = {
    ("x86_64", 64): 313,
    ("x86_64", 32): 350,
    ("i", 32): 350,  # i386 to i686
    ("arm", 32): 379,  # armv5tel, armv6l, armv7l, armv8l
    ("aarch64", 32): 379,
    ("ppc", 32): 353,
    ("ppc", 64): 353,  # ppc64, ppc64le
    ("s390", 32): 344,
    ("s390", 64): 344,
    ("mips", 32): 4348,
    ("mips", 64): 5307,
    ("sparc", 32): 342,
    ("sparc", 64): 342,
}
_GENERIC_FINIT_MODULE = 273  # include/uapi/asm-generic/unistd.h
_SYS_OPENAT2 = 437  # on all of them
LONG = sizeof(c_ulong)  # and the size of a pointer


def finit_module_number(machine: str, bits: int) -> int:
    """The number of finit_module(2) on a machine (uname(2)) for a program whose longs have so many bits."""
    for (beginning, width), number in _FINIT_MODULE.items():
        if width == bits and machine.startswith(beginning):
            return number
    return _GENERIC_FINIT_MODULE


_SYS_FINIT_MODULE = finit_module_number(os.uname().machine, 8 * LONG)
# `f_type` begins struct statfs: a long, but on s390x an unsigned int, which its big end would hide in a long.
_F_TYPE = 4 if os.uname().machine.startswith("s390") else LONG

library = CDLL(None, use_errno=True)


def check(result: int, path: str | None = None) -> int:
    """The result of a call; libc's -1 as OSError with errno, its text and the path, or what else it was about."""
    if result < 0:
        errno = get_errno()
        raise OSError(errno, os.strerror(errno), path)
    return result


def fields(size: int, *values: int) -> bytes:
    """A structure for the kernel to read, of unsigned numbers of so many bytes each."""
    return b"".join([each.to_bytes(size, sys.byteorder) for each in values])


def pointer(memory: bytearray) -> c_ulong:
    """Where this memory is, for the kernel to write to: a long at least. The caller keeps it, in its size, until then."""
    return c_ulong(addressof(c_ulong.from_buffer(memory)))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    arguments = (_bytes(source), _bytes(target), _bytes(fstype), c_ulong(flags), _bytes(data))
    check(library.mount(*arguments), target)


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(library.umount2(_bytes(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    check(library.pivot_root(_bytes(new_root), _bytes(put_old)), new_root)


def finit_module(fd: int, parameters: str) -> None:
    """finit_module(2); it lets go of the GIL meanwhile, so that modules load in parallel."""
    check(library.syscall(_SYS_FINIT_MODULE, fd, _bytes(parameters), 0))


def statfs_magic(path: str | int) -> int:
    """`f_type` of statfs(2) or fstatfs(2): the file system's magic number."""
    buffer = bytearray(256)  # struct statfs is 120 bytes where it is largest
    call = library.fstatfs if isinstance(path, int) else library.statfs
    check(call(path if isinstance(path, int) else _bytes(path), pointer(buffer)), str(path))
    return int.from_bytes(buffer[:_F_TYPE], sys.byteorder) & 0xFFFFFFFF


def openat2(directory: int, name: str, flags: int, resolve: int) -> int:
    """openat2(2) without O_CREAT; raises ENOSYS on kernels before 5.6."""
    how = fields(8, flags | os.O_CLOEXEC, 0, resolve)
    return check(library.syscall(_SYS_OPENAT2, directory, _bytes(name), how, len(how)), name)


def tcdrain(fd: int) -> None:
    """tcdrain(3)."""
    check(library.tcdrain(fd))


def reboot(command: int) -> None:
    """reboot(2): one of the RB_ constants; returns only when it failed."""
    check(library.reboot(command))


def signalfd(numbers: "Iterable[int]") -> int:
    """signalfd(2): a descriptor, close-on-exec, to read these signals from, which must be blocked."""
    mask = 0
    for number in numbers:
        mask |= 1 << number - 1
    words = fields(LONG, *(mask >> shift & (1 << 8 * LONG) - 1 for shift in range(0, 64, 8 * LONG)))
    return check(library.signalfd(-1, words.ljust(128, b"\0"), os.O_CLOEXEC))  # sigset_t
