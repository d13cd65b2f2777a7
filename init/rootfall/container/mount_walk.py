# SPDX-License-Identifier: MIT
"""The mounts below a mount, found in /proc/self/mountinfo and opened: for kernels that cannot be asked for all of them at once.

A name from mountinfo may lead elsewhere by the time it is opened, so that the mount's id (proc(5), fdinfo) is compared.
"""

import os

from rootfall.linux.kernel import Kernel
from rootfall.switch_root import MountPoint, parse_mountinfo

_EAGAIN = 11


def mount_id(fd: int) -> int:
    """The id of the mount that a descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line[7:]) for line in file if line.startswith("mnt_id:"))


def below(mount: int) -> list[int]:
    """Descriptors (O_PATH) of all mounts below the one that `mount` is open on, but for those that others cover."""
    mounts = parse_mountinfo(Kernel().read_mountinfo())
    inside, grown = {mount_id(mount)}, True
    while grown:
        more = {each.id for each in mounts if each.parent in inside} - inside
        inside, grown = inside | more, bool(more)
    covered = {(each.parent, each.path) for each in mounts}
    return [
        _open(each)
        for each in mounts
        if each.id in inside and each.parent in inside and (each.id, each.path) not in covered
    ]


def _open(mount: MountPoint) -> int:
    fd = os.open(mount.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if mount_id(fd) != mount.id:
        os.close(fd)
        raise OSError(_EAGAIN, "another mount has come on top of it, or what holds it was renamed", mount.path)
    return fd
