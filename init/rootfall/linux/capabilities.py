# SPDX-License-Identifier: MIT
"""Capabilities of this thread by number: its three sets, the bounding set, the ambient set (capabilities(7)).

Thin wrappers that raise OSError. What a container keeps, and in which order the sets change, is `container.privileges`'.
"""

from rootfall.linux.libc import check, fields, library, pointer
from rootfall.linux.small_ctypes import c_ulong, get_errno

_VERSION_3 = 0x20080522  # struct __user_cap_data_struct twice: the lower 32 bits of each set, then the upper ones
_HEADER = fields(4, _VERSION_3, 0)
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT = 24, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
_EINVAL = 22


def get() -> tuple[int, int, int]:
    """Effective, permitted and inheritable set, as bits (capget(2))."""
    data = bytearray(24)
    check(library.capget(_HEADER, pointer(data)), "capget")
    words = memoryview(data).cast("I")
    effective, permitted, inheritable = (words[n] | words[n + 3] << 32 for n in range(3))
    return effective, permitted, inheritable


def set_all(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2)."""
    sets = effective, permitted, inheritable
    data = fields(4, *(each & 0xFFFFFFFF for each in sets), *(each >> 32 for each in sets))
    check(library.capset(_HEADER, data), "capset")


def bound(kept: int) -> None:
    """Drop all but `kept` from the bounding set: nothing that is executed later can have more. Needs CAP_SETPCAP."""
    for number in range(64):
        if kept >> number & 1:
            continue
        if library.prctl(_PR_CAPBSET_DROP, c_ulong(number), 0, 0, 0) < 0:
            if get_errno() == _EINVAL:
                return  # this kernel has no more of them
            check(-1, "PR_CAPBSET_DROP")


def set_ambient(kept: int) -> None:
    """The ambient set, which a user who is not root keeps when executing; each must be permitted and inheritable."""
    # Zeroes spelled out: the kernel refuses anything else in the words that it does not use.
    zero = c_ulong(0)
    library.prctl(_PR_CAP_AMBIENT, c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), zero, zero, zero)  # not before Linux 4.3
    for number in range(64):
        if kept >> number & 1:
            how = c_ulong(_PR_CAP_AMBIENT_RAISE)
            check(library.prctl(_PR_CAP_AMBIENT, how, c_ulong(number), zero, zero), "PR_CAP_AMBIENT_RAISE")
