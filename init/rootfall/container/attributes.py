# SPDX-License-Identifier: MIT
"""The words of mount(8) as attributes of a mount, set on a descriptor of it (mount_setattr(2)).

Attributes are only ever added: what the host mounted read-only, nosuid or nodev stays so, and in a user namespace the kernel
insists on it. Where mount_setattr(2) is not to be had (before Linux 5.12), a remount with the flags that the mount has and
those that are asked for does the same, mount for mount as /proc/self/mountinfo has them.
"""

import os

from rootfall.linux import libc, mount_api
from rootfall.record import NamedTuple

_EINVAL, _ENOSYS, _EAGAIN = 22, 38, 11

# A word, what it sets, what it takes back of a mount's defaults.
_FLAGS = {
    "ro": (mount_api.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, mount_api.MOUNT_ATTR_RDONLY),
    "nosuid": (mount_api.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, mount_api.MOUNT_ATTR_NOSUID),
    "nodev": (mount_api.MOUNT_ATTR_NODEV, 0),
    "dev": (0, mount_api.MOUNT_ATTR_NODEV),
    "noexec": (mount_api.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, mount_api.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (mount_api.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "nodiratime": (mount_api.MOUNT_ATTR_NODIRATIME, 0),
    "noatime": (mount_api.MOUNT_ATTR_NOATIME, 0),
    "strictatime": (mount_api.MOUNT_ATTR_STRICTATIME, 0),
    "relatime": (0, 0),
    "defaults": (0, 0),
}
PROPAGATION = {
    "private": libc.MS_PRIVATE,
    "slave": libc.MS_SLAVE,
    "shared": libc.MS_SHARED,
    "unbindable": libc.MS_UNBINDABLE,
}
# What statfs(2) says of a mount (ST_…) and what mount(2) takes for it (MS_…).
_KEPT = (
    (1, libc.MS_RDONLY), (2, libc.MS_NOSUID), (4, libc.MS_NODEV), (8, libc.MS_NOEXEC), (1024, libc.MS_NOATIME),
    (2048, libc.MS_NODIRATIME), (4096, libc.MS_RELATIME), (8192, libc.MS_NOSYMFOLLOW),
)  # fmt: skip
_AS_MS = (
    (mount_api.MOUNT_ATTR_RDONLY, libc.MS_RDONLY), (mount_api.MOUNT_ATTR_NOSUID, libc.MS_NOSUID),
    (mount_api.MOUNT_ATTR_NODEV, libc.MS_NODEV), (mount_api.MOUNT_ATTR_NOEXEC, libc.MS_NOEXEC),
    (mount_api.MOUNT_ATTR_NOATIME, libc.MS_NOATIME), (mount_api.MOUNT_ATTR_STRICTATIME, libc.MS_STRICTATIME),
    (mount_api.MOUNT_ATTR_NODIRATIME, libc.MS_NODIRATIME), (mount_api.MOUNT_ATTR_NOSYMFOLLOW, libc.MS_NOSYMFOLLOW),
)  # fmt: skip


class Options(NamedTuple):
    """A mount's options: attributes of the mount itself, of all mounts below it too, propagation, and the file system's own."""

    attributes: int
    below: int = 0
    propagation: int = libc.MS_PRIVATE
    recursive: bool = True
    data: tuple[tuple[str, str | None], ...] = ()


def parse(words: tuple[str, ...], defaults: int = 0) -> Options:
    """The options of a mount whose file system, or whose kind of use, has these attributes by default."""
    attributes, below, propagation, recursive = defaults, 0, libc.MS_PRIVATE, True
    data: list[tuple[str, str | None]] = []
    for word in words:
        name = word[1:] if word[:1] == "r" else ""
        if word in _FLAGS:
            add, drop = _FLAGS[word]
            attributes = (attributes | add) & ~drop
        elif name in _FLAGS:  # rro, rnosuid, …: of all mounts below it, too
            below |= _FLAGS[name][0]
        elif word in ("bind", "rbind"):
            recursive = word == "rbind"
        elif word in PROPAGATION or name in PROPAGATION:
            propagation = PROPAGATION.get(word) or PROPAGATION[name]
        else:
            name, sign, value = word.partition("=")
            data.append((name, value if sign else None))
    return Options(attributes | below, below, propagation, recursive, tuple(data))


def add(mount: int, attributes: int, propagation: int = 0, recursive: bool = False) -> bool:
    """Add attributes to a mount, attached or not, and set its propagation; False where the kernel cannot do it this way."""
    clear = mount_api.MOUNT_ATTR__ATIME if attributes & mount_api.MOUNT_ATTR__ATIME else 0
    try:
        mount_api.mount_setattr(mount, attributes, clear, propagation, recursive)
    except OSError as error:
        if error.errno not in (_ENOSYS, _EINVAL):
            raise
        return False
    return True


def remount(mount: int, attributes: int, propagation: int = 0, recursive: bool = False) -> None:
    """The same by mount(2), for a mount that is attached in our namespace."""
    if propagation:
        libc.mount(None, by_name(mount), None, propagation | (libc.MS_REC if recursive else 0))
    if not attributes:
        return
    remount_name(by_name(mount), attributes)
    if recursive:
        from rootfall.container import mount_walk

        for below in mount_walk.below(mount):
            remount_name(by_name(below), attributes)
            os.close(below)


def remount_name(path: str, attributes: int) -> None:
    """Add attributes to the mount at a path by mount(2), with the flags that it has: the kernel may have locked them."""
    flags, wanted = os.statvfs(path).f_flag, libc.MS_REMOUNT | libc.MS_BIND | mount_flags(attributes)
    for status, flag in _KEPT:
        wanted |= flag if flags & status else 0
    libc.mount(None, path, None, wanted)


def mount_flags(attributes: int) -> int:
    """Attributes as the flags of mount(2)."""
    return sum(flag for attribute, flag in _AS_MS if attributes & attribute)


def by_name(fd: int) -> str:
    """A name of what a descriptor is open on, for calls that take no descriptor. Raises OSError where /proc is no procfs."""
    if libc.statfs_magic("/proc/self/fd") != libc.PROC_SUPER_MAGIC:
        raise OSError(_ENOSYS, "/proc is not mounted, and without mount_setattr(2) and move_mount(2) it is needed")
    return f"/proc/self/fd/{fd}"
