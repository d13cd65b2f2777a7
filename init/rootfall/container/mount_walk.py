# SPDX-License-Identifier: MIT
"""The mounts below a mount, found in /proc/self/mountinfo and opened: for kernels that cannot be asked for all of them at once.

A name from mountinfo may lead elsewhere by the time it is opened, so that the mount's id (proc(5), fdinfo) is compared.
"""

import os

from rootfall.linux.kernel import Kernel
from rootfall.record import NamedTuple

_EAGAIN = 11


class Line(NamedTuple):
    """A line of mountinfo: ids, which directory of the file system it shows, where, and the file system's type."""

    id: int
    parent: int
    root: str
    path: str
    fstype: str


def parse(text: str) -> list[Line]:
    """/proc/self/mountinfo (proc(5)) with its octal escapes undone."""
    lines = []
    for line in text.splitlines():
        fields = line.split(" ")
        root, path = (_plain(each) for each in fields[3:5])
        lines.append(Line(int(fields[0]), int(fields[1]), root, path, fields[fields.index("-") + 1]))
    return lines


def _plain(text: str) -> str:
    for escape, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, plain)
    return text


def mount_id(fd: int) -> int:
    """The id of the mount that a descriptor is on."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(int(line[7:]) for line in file if line.startswith("mnt_id:"))


def inside(lines: list[Line], top: int) -> set[int]:
    """The ids of the mount `top` and of all below it."""
    found, more = {top}, {top}
    while more:
        more = {each.id for each in lines if each.parent in found} - found
        found |= more
    return found


def below(mount: int) -> list[int]:
    """Descriptors (O_PATH) of all mounts below the one that `mount` is open on, but for those that others cover."""
    lines, top = parse(Kernel().read_mountinfo()), mount_id(mount)
    ids = inside(lines, top) - {top}
    covered = {(each.parent, each.path) for each in lines}
    return [_open(each) for each in lines if each.id in ids and (each.id, each.path) not in covered]


def _open(line: Line) -> int:
    fd = os.open(line.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if mount_id(fd) != line.id:
        os.close(fd)
        raise OSError(_EAGAIN, "another mount has come on top of it, or what holds it was renamed", line.path)
    return fd
