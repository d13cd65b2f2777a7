# SPDX-License-Identifier: MIT
"""The mounts of a container, each by descriptors: what is mounted is opened once, its place is looked up in the new root.

No path below the new root is given to mount(2): the links in it are those of whoever made the root.
"""

import os

from rootfall.container.model import Mount, Root
from rootfall.errors import MountError
from rootfall.linux import libc, mount_api

_ATTRIBUTES = {
    "ro": mount_api.MOUNT_ATTR_RDONLY,
    "nosuid": mount_api.MOUNT_ATTR_NOSUID,
    "nodev": mount_api.MOUNT_ATTR_NODEV,
    "noexec": mount_api.MOUNT_ATTR_NOEXEC,
}
PROPAGATION = {"private": libc.MS_PRIVATE, "slave": libc.MS_SLAVE, "shared": libc.MS_SHARED, "unbindable": 1 << 17}


def isolate() -> None:
    """Make every mount of our namespace a slave of the host's: theirs still arrive, ours do not leave."""
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_SLAVE)


def prepare_root(root: Root) -> int:
    """The new root as a mount of its own; returns a descriptor (O_PATH) of it."""
    path = os.path.realpath(root.path)
    try:
        libc.mount(path, path, None, libc.MS_BIND | libc.MS_REC)
        libc.mount(None, path, None, libc.MS_REC | libc.MS_PRIVATE)
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise MountError("use the root", root.path, errno=error.errno or 0) from error


def make_mount(root: int, mount: Mount) -> None:
    """Make one mount below `root`, a descriptor. Raises MountError."""
    try:
        attributes = 0
        for word in mount.options:
            attributes |= _ATTRIBUTES.get(word, 0)
        options = tuple(
            (name, value if sign else None)
            for name, sign, value in (word.partition("=") for word in mount.options if word not in _ATTRIBUTES)
        )
        made = mount_api.new_mount(mount.type, options, attributes)
        target = mount_api.open_in_root(root, mount.destination, os.O_PATH)
        mount_api.move_mount(made, target)
        os.close(made)
        os.close(target)
    except OSError as error:
        raise MountError(f"mount {mount.type} on", mount.destination, errno=error.errno or 0) from error


def hide(root: int, masked: tuple[str, ...], read_only: tuple[str, ...]) -> None:
    """Mask paths and make others read-only, below `root`."""
