# SPDX-License-Identifier: MIT
"""seccomp(2): install a BPF program as the filter of this process and all that it starts. There is no way back.

The caller has no_new_privs set, or CAP_SYS_ADMIN in its user namespace. Raises OSError: EINVAL for a program that the kernel's
checker refuses, EACCES without either privilege, ENOSYS where the kernel has no filters.
"""

from rootfall.linux.libc import LONG, check, fields, library, pointer
from rootfall.linux.small_ctypes import c_ulong

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_INSTRUCTION = 8  # sizeof(struct sock_filter)


def install(program: bytes) -> None:
    """Filter every system call from here on by `program`, an array of struct sock_filter."""
    instructions = bytearray(program.ljust(LONG, b"\0"))
    length = fields(2, len(program) // _INSTRUCTION).ljust(LONG, b"\0")
    sock_fprog = length + fields(LONG, pointer(instructions).value)  # linux/filter.h: an unsigned short, then a pointer
    check(library.prctl(_PR_SET_SECCOMP, c_ulong(_SECCOMP_MODE_FILTER), sock_fprog, 0, 0), "seccomp")
