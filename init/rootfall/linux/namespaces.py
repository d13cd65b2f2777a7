# SPDX-License-Identifier: MIT
"""Namespaces and processes: clone3(2), clone(2), unshare(2), setns(2), prctl(2), sethostname(2), close_range(2), lo.

Thin wrappers that raise OSError. The numbers of system calls since Linux 5.1 are the same on every architecture but alpha.
"""

import os

from rootfall.linux.libc import check, fields, library, pointer
from rootfall.linux.small_ctypes import PyDLL, c_ulong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD, CLONE_INTO_CGROUP = 0x1000, 0x2_0000_0000

FLAGS = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "network": CLONE_NEWNET,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME = 1, 4, 8, 15
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

_SYS_PIDFD_OPEN, _SYS_CLONE3, _SYS_CLOSE_RANGE = 434, 435, 436
LAST = 0xFFFF_FFFF
_SIGCHLD = 17  # not on alpha, mips, parisc and sparc

# The numbers of clone(2) and keyctl(2), by the beginning of uname's machine; newer ones share the generic table.
_CLONE = {"x86_64": 56, "i": 120, "arm": 120, "ppc": 120, "s390": 120}
_KEYCTL = {"x86_64": 250, "i": 288, "arm": 311, "ppc": 271, "s390": 280}
_GENERIC_CLONE, _GENERIC_KEYCTL = 220, 219
_KEYCTL_JOIN_SESSION_KEYRING = 1

_AF_INET, _SOCK_DGRAM, _SOCK_CLOEXEC = 2, 2, 0o2000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def _number(numbers: dict[str, int], generic: int) -> int:
    machine = os.uname().machine
    for beginning, number in numbers.items():
        if machine.startswith(beginning):
            return number
    return generic


def _fork(call: "Callable[[], int]") -> int:
    """What a system call that copies this process returns, with all that os.fork has Python do before it and after it."""
    python, pid = PyDLL(None), -1
    python.PyOS_BeforeFork()
    try:
        pid = call()
    finally:
        if pid == 0:
            python.PyOS_AfterFork_Child()
        else:
            python.PyOS_AfterFork_Parent()
    return pid


def clone3(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Start a copy of this process, which must have one thread, as fork(2) does; returns its pid and a pidfd, 0 and -1 in it.

    With a descriptor of a cgroup v2 directory the child starts in that cgroup. Raises ENOSYS where seccomp or age forbid it,
    E2BIG where the kernel is too old for the cgroup (before 5.7).
    """
    pidfd = bytearray(8)
    into = CLONE_INTO_CGROUP if cgroup >= 0 else 0
    where = pointer(pidfd).value
    arguments = fields(8, flags | CLONE_PIDFD | into, where, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0))
    size = c_ulong(88 if into else 64)
    pid = _fork(lambda: check(library.syscall(_SYS_CLONE3, arguments, size), "clone3"))
    return pid, memoryview(pidfd).cast("i")[0] if pid else -1


def clone(flags: int) -> tuple[int, int]:
    """The same by clone(2), which is older and which filters can look into; the pidfd is -1 before Linux 5.3."""
    # The order of the arguments is the architecture's, but flags and a stack come first, and of all others none is used.
    words = (c_ulong(flags | _SIGCHLD), *(c_ulong(0) for _ in range(4)))
    if os.uname().machine.startswith("s390"):
        words = (words[1], words[0], *words[2:])
    number = _number(_CLONE, _GENERIC_CLONE)
    pid = _fork(lambda: check(library.syscall(number, *words), "clone"))
    return pid, library.syscall(_SYS_PIDFD_OPEN, pid, 0) if pid else -1


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(library.unshare(flags), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """setns(2)."""
    check(library.setns(fd, kind), "setns")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2), for options whose arguments are numbers."""
    four = (*arguments, 0, 0, 0, 0)[:4]
    return check(library.prctl(option, *(c_ulong(each) for each in four)), "prctl")


def set_title(title: str) -> None:
    """What ps shows of this process in the place of its command line; its first environment is wiped out, too (proc(5))."""
    data = os.fsencode(title)
    with open("/proc/self/stat", "rb") as file:
        words = file.read().rpartition(b")")[2].split()
    first, last, start, end = (int(each) for each in words[45:49])  # arg_start, arg_end, env_start, env_end
    library.memset(c_ulong(start), 0, c_ulong(max(end - start, 0)))
    if last > first:
        shown = data[: last - first - 1]
        library.memcpy(c_ulong(first), shown.ljust(last - first, b"\0"), c_ulong(last - first))
    check(library.prctl(PR_SET_NAME, data, 0, 0, 0), "prctl")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = os.fsencode(name)
    check(library.sethostname(data, c_ulong(len(data))), "sethostname")


def join_new_session_keyring() -> None:
    """keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: leave the session keyring that was inherited, with the keys in it."""
    number = _number(_KEYCTL, _GENERIC_KEYCTL)
    check(library.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None, 0, 0, 0), "keyctl")


def set_rlimit(number: int, soft: int, hard: int) -> None:
    """prlimit(2) of this process; -1 is RLIM_INFINITY."""
    limit = fields(8, soft & 0xFFFF_FFFF_FFFF_FFFF, hard & 0xFFFF_FFFF_FFFF_FFFF)
    check(library.prlimit64(0, number, limit, None), "prlimit")


def bring_up(interface: str) -> None:
    """Set IFF_UP of a network interface, and no other flag (netdevice(7))."""
    fd = check(library.socket(_AF_INET, _SOCK_DGRAM | _SOCK_CLOEXEC, 0), "socket")
    try:
        # struct ifreq: a name of 16 bytes, then a short
        request = os.fsencode(interface)[:15].ljust(16, b"\0") + fields(2, _IFF_UP) + bytes(22)
        check(library.ioctl(fd, c_ulong(_SIOCSIFFLAGS), request), interface)
    finally:
        os.close(fd)


def close_range(first: int, last: int = LAST) -> None:
    """close_range(2): close all descriptors from `first` to `last`; before Linux 5.9, one by one."""
    if first > last:
        return
    if library.syscall(_SYS_CLOSE_RANGE, c_ulong(first), c_ulong(last), 0) < 0:
        os.closerange(first, min(last, max(os.sysconf("SC_OPEN_MAX"), 1 << 16)) + 1)
