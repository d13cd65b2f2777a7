# SPDX-License-Identifier: MIT
"""A container's view of its own cgroup, on /sys/fs/cgroup: read-only, its root the cgroup that the namespace was made in.

Version 2 is one file system. Of version 1 each hierarchy that the process is in gets its directory on a tmpfs, as hosts have
it (cgroups(7)); the one of version 2 beside them is "unified". Without a cgroup namespace the host's whole trees are shown.
"""

import os

from rootfall.container import attach, attributes, in_root
from rootfall.container.model import Mount
from rootfall.linux import libc, mount_api

_SAFE = ("nosuid", "nodev", "noexec")


def make(root: int, mount: Mount) -> None:
    """Mount it at the mount's destination; writable only with `rw`."""
    target = attach.place(root, mount, in_root.DIRECTORY)
    words = (*_SAFE, "rw" if "rw" in mount.options else "ro")
    if libc.statfs_magic("/sys/fs/cgroup") == libc.CGROUP2_SUPER_MAGIC:
        os.close(_attach(target, "cgroup2", words, root, mount.destination))
    else:
        top = _attach(target, "tmpfs", ("mode=0755", "size=64k", *_SAFE), root, mount.destination)
        for controllers in _hierarchies():
            _hierarchy(top, controllers, words)
        if not attributes.add(top, mount_api.MOUNT_ATTR_RDONLY):
            attributes.remount(top, mount_api.MOUNT_ATTR_RDONLY)
        os.close(top)
    os.close(target)


def _hierarchies() -> list[str]:
    """Of each hierarchy its controllers, "" for version 2, from /proc/self/cgroup."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        return [line.split(":", 2)[1] for line in file]


def _hierarchy(top: int, controllers: str, words: tuple[str, ...]) -> None:
    names = controllers.split(",")
    directory = controllers.removeprefix("name=") or "unified"
    os.mkdir(directory, 0o755, dir_fd=top)
    target = in_root.open_place(top, directory)
    if not controllers:
        options: tuple[str, ...] = words
    else:
        options = (*words, "none", controllers) if controllers.startswith("name=") else (*words, *names)
    os.close(_attach(target, "cgroup" if controllers else "cgroup2", options, top, directory))
    os.close(target)
    for name in names if len(names) > 1 else ():
        os.symlink(directory, name, dir_fd=top)


def _attach(target: int, fstype: str, words: tuple[str, ...], root: int, path: str) -> int:
    return attach.attach_new(target, fstype, fstype, words, lambda: in_root.open_place(root, path))
