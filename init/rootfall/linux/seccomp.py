# SPDX-License-Identifier: MIT
"""seccomp(2): install a BPF program as the filter of this process and all that it starts. There is no way back.

The caller has no_new_privs set, or CAP_SYS_ADMIN in its user namespace. Raises OSError: EINVAL for a program that the kernel's
checker refuses, EACCES without either privilege, ENOSYS where the kernel has no filters.
"""

import ctypes

from rootfall.linux.libc import check, library

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_INSTRUCTION = 8  # sizeof(struct sock_filter)


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(program: bytes) -> None:
    """Filter every system call from here on by `program`, an array of struct sock_filter."""
    argument = _Program(len(program) // _INSTRUCTION, program)
    words = (ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(argument), 0, 0)
    check(library.prctl(_PR_SET_SECCOMP, *words), "seccomp")
