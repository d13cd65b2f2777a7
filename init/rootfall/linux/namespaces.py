# SPDX-License-Identifier: MIT
"""Namespaces and processes: clone3(2), unshare(2), setns(2), prctl(2), sethostname(2), close_range(2).

Thin wrappers that raise OSError. The numbers of system calls since Linux 5.1 are the same on every architecture but alpha.
"""

import ctypes
import os

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

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38

_SYS_CLONE3, _SYS_CLOSE_RANGE = 435, 436
_CLOSE_RANGE_CLOEXEC = 4
_SIGCHLD = 17  # not on alpha, mips, parisc and sparc

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)
    return result


def clone3(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Start a copy of this process, which must have one thread, as fork(2) does; returns its pid and a pidfd, 0 and -1 in it.

    With a descriptor of a cgroup v2 directory the child starts in that cgroup. Raises ENOSYS where seccomp or age forbid it.
    """
    pidfd = ctypes.c_int(-1)
    into = CLONE_INTO_CGROUP if cgroup >= 0 else 0
    arguments = (ctypes.c_uint64 * 11)(
        flags | CLONE_PIDFD | into, ctypes.addressof(pidfd), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0)
    )
    pid = _check(_libc.syscall(_SYS_CLONE3, arguments, ctypes.c_size_t(88 if into else 64)), "clone3")
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    return pid, pidfd.value if pid else -1


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """setns(2)."""
    _check(_libc.setns(fd, kind), "setns")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2), for options whose arguments are numbers."""
    four = (*arguments, 0, 0, 0, 0)[:4]
    return _check(_libc.prctl(option, *(ctypes.c_ulong(each) for each in four)), "prctl")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = os.fsencode(name)
    _check(_libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def close_on_exec_from(first: int) -> None:
    """close_range(2): whatever is open from `first` on does not outlive execve(2); before Linux 5.11, one by one."""
    if _libc.syscall(_SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), _CLOSE_RANGE_CLOEXEC) == 0:
        return
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                pass  # the one that listed them
