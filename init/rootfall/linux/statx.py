# SPDX-License-Identifier: MIT
"""What the kernel knows of a mount and of a namespace: statx(2), statmount(2), ioctl_ns(2). Nothing here changes anything.

Each answers None where the running kernel is too old for the call or the question; statmount raises OSError where it says no.
statmount(2), since Linux 6.8, sees what mountinfo hides: the parent of the root's mount, and all outside of a chroot.
"""

import os
import struct

from rootfall.linux.libc import MS_SHARED, MS_UNBINDABLE, library, pointer
from rootfall.linux.small_ctypes import c_ulong, get_errno
from rootfall.record import NamedTuple

INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO (include/uapi/linux/nsfs.h)

_AT_EMPTY_PATH = 0x1000
_STATX_MNT_ID, _STATX_MNT_ID_UNIQUE, _STATX_ATTR_MOUNT_ROOT = 0x1000, 0x4000, 0x2000
_SYS_STATMOUNT = 457  # on all architectures but alpha
_STATMOUNT_MNT_BASIC, _STATMOUNT_FS_TYPE = 0x2, 0x20
_NS_GET_USERNS = 0xB701
_ENOSYS = 38


class Where(NamedTuple):
    """The mount that a descriptor is on: its id in mountinfo, its id for statmount(2) (0: none), whether it is its root."""

    mount: int
    unique: int
    mount_root: bool


class MountFacts(NamedTuple):
    """A mount by statmount(2); `unique` and `unique_parent` are the ids it takes itself, equal at the top of the tree."""

    unique: int
    unique_parent: int
    mount: int
    parent: int
    peers: int
    unbindable: bool
    fstype: str


def where(fd: int) -> Where | None:
    """On which mount an open file is; None before Linux 5.8, or where a filter forbids the question."""
    found = _statx(fd, _STATX_MNT_ID)
    if found is None:
        return None
    unique = _statx(fd, _STATX_MNT_ID_UNIQUE)
    return Where(found[0], unique[0] if unique else 0, found[1])


def _statx(fd: int, mask: int) -> tuple[int, bool] | None:
    """`stx_mnt_id` and whether this is the root of a mount."""
    buffer = bytearray(256)
    if library.statx(fd, b"", _AT_EMPTY_PATH, mask, pointer(buffer)) < 0:
        return None  # ENOSYS, or whatever a seccomp filter that does not know it says
    answered, _, attributes = struct.unpack_from("=IIQ", buffer)
    (known,) = struct.unpack_from("=Q", buffer, 56)
    if not answered & mask or not known & _STATX_ATTR_MOUNT_ROOT:
        return None
    (mount,) = struct.unpack_from("=Q", buffer, 144)
    return mount, bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def statmount(unique: int) -> MountFacts | None:
    """statmount(2) in our mount namespace. FileNotFoundError: it is in another, or in none; PermissionError: hidden."""
    request = struct.pack("=IIQQ", 24, 0, unique, _STATMOUNT_MNT_BASIC | _STATMOUNT_FS_TYPE)
    buffer = bytearray(4096)
    if library.syscall(_SYS_STATMOUNT, request, pointer(buffer), c_ulong(4096), c_ulong(0)) < 0:
        errno = get_errno()
        if errno == _ENOSYS:
            return None
        raise OSError(errno, os.strerror(errno), "statmount")
    fstype, this, parent, old, old_parent, _, propagation, peers = struct.unpack_from("=IQQIIQQQ", buffer, 36)
    kind = buffer[512 + fstype :].split(b"\0", 1)[0].decode(errors="replace")
    shared = peers if propagation & MS_SHARED else 0
    return MountFacts(this, parent, old, old_parent, shared, bool(propagation & MS_UNBINDABLE), kind)


def owner(namespace: int) -> int | None:
    """The inode number of the user namespace that owns this one, an open file; None if it is not below the caller's own."""
    import fcntl

    try:
        fd = fcntl.ioctl(namespace, _NS_GET_USERNS)
    except PermissionError:
        return None
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)
