# SPDX-License-Identifier: MIT
"""The mounts below a mount, found in /proc/self/mountinfo and opened: for kernels that cannot be asked for all of them at once.

A name from mountinfo may lead elsewhere by the time it is opened, so that the mount's id (proc(5), fdinfo) is compared.
"""

import os

from rootfall import mountinfo
from rootfall.linux.kernel import Kernel
from rootfall.mountinfo import Mount

_EAGAIN = 11


def mount_id(fd: int) -> int:
    """The id of the mount that a descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line[7:]) for line in file if line.startswith("mnt_id:"))


def inside(mounts: tuple[Mount, ...], top: int) -> set[int]:
    """The ids of the mount `top` and of all below it."""
    found, more = {top}, {top}
    while more:
        more = {each.id for each in mounts if each.parent in found} - found
        found |= more
    return found


def below(mount: int) -> list[int]:
    """Descriptors (O_PATH) of all mounts below the one that `mount` is open on, but for those that others cover."""
    mounts, top = mountinfo.parse(Kernel().read_mountinfo()), mount_id(mount)
    ids = inside(mounts, top) - {top}
    covered = {(each.parent, each.path) for each in mounts}
    return [_open(each) for each in mounts if each.id in ids and (each.id, each.path) not in covered]


def _open(mount: Mount) -> int:
    fd = os.open(mount.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if mount_id(fd) != mount.id:
        os.close(fd)
        raise OSError(_EAGAIN, "another mount has come on top of it, or what holds it was renamed", mount.path)
    return fd
