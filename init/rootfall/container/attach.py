# SPDX-License-Identifier: MIT
"""A mount is made detached, gets its attributes, and is attached to a descriptor last (mount_setattr(2), move_mount(2)).

Where the kernel is older than that (5.12, 5.2), or a seccomp filter forbids it, mount(2) does it on /proc/self/fd/N. The place
of a mount is looked up in the new root: no path below it is given to mount(2), the links in it are those of whoever made it.
"""

import os

from rootfall.container import attributes, in_root
from rootfall.container.model import Mount
from rootfall.errors import MountError
from rootfall.linux import libc, mount_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EPERM, _EACCES, _EROFS, _ENOSYS, _ELOOP = 1, 13, 30, 38, 40
NOSUID, NODEV, NOEXEC = mount_api.MOUNT_ATTR_NOSUID, mount_api.MOUNT_ATTR_NODEV, mount_api.MOUNT_ATTR_NOEXEC
# What a file system's mount has unless its options say otherwise; all others are nosuid and nodev.
DEFAULTS = {
    "proc": NOSUID | NODEV | NOEXEC,
    "sysfs": NOSUID | NODEV | NOEXEC,
    "mqueue": NOSUID | NODEV | NOEXEC,
    "devpts": NOSUID | NOEXEC,
}
# Of these a link in the place of the directory is refused: what they show must not appear where the root's maker likes.
_DIRECTORIES_ONLY = ("proc", "sysfs", "dev", "cgroup")


def place(root: int, mount: Mount, kind: str) -> int:
    """Open the place of a mount below the root, made if it is missing. Raises OSError, MountError with the remedy."""
    strict = mount.type in _DIRECTORIES_ONLY
    # "/proc/" would be looked up as "/proc/.", through a link.
    path = os.path.normpath(mount.destination) if strict else mount.destination
    try:
        target = in_root.make_place(root, path, kind, follow=not strict)
    except OSError as error:
        if error.errno not in (_EROFS, _EACCES, _EPERM):
            raise
        what = "an empty file" if kind == in_root.FILE else "a directory"
        hint = f"make {what} there in the root, or lay an overlay over it (--volatile)"
        raise MountError("make a place in the root for", mount.destination, errno=error.errno, hint=hint) from error
    if strict and in_root.is_link(target):
        hint = "it must be a directory: whoever made the root could have the mount anywhere"
        raise MountError(f"mount {mount.type} on", mount.destination, seen="a symbolic link", hint=hint)
    if os.path.samestat(os.fstat(target), os.fstat(root)):
        raise MountError(f"mount {mount.type} on", mount.destination, seen="the new root itself")
    if is_directory(target) != (kind == in_root.DIRECTORY):
        here, there = ("a directory", "a file") if is_directory(target) else ("a file", "a directory")
        raise MountError(f"mount {there} on", mount.destination, seen=here)
    return target


def attach_new(target: int, fstype: str, source: str, words: tuple[str, ...], again: "Callable[[], int]") -> int:
    """Mount a new file system on the place that `target` is open on; returns a descriptor (O_PATH) of its root.

    `again` opens the place once more: where move_mount(2) is not to be had, that is how the mount is found.
    """
    options = attributes.parse(words, DEFAULTS.get(fstype, NOSUID | NODEV))
    try:
        made = mount_api.new_mount(fstype, options.data, options.attributes, source or fstype)
        mount_api.move_mount(made, target)
        return made
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
    data = ",".join(name if value is None else f"{name}={value}" for name, value in options.data)
    flags = attributes.mount_flags(options.attributes)
    libc.mount(source or fstype, attributes.by_name(target), fstype, flags, data)
    made = again()
    if os.fstat(made).st_dev == os.fstat(target).st_dev:
        raise OSError(_ELOOP, "what the place is called was changed meanwhile")
    return made


def bind_on(source: int, target: int, options: attributes.Options, again: "Callable[[], int]") -> int:
    """Bind what `source` is open on onto what `target` is open on; returns a descriptor (O_PATH) of the mount."""
    try:
        flags = mount_api.OPEN_TREE_CLONE | mount_api.AT_EMPTY_PATH
        tree = mount_api.open_tree(source, "", flags | (mount_api.AT_RECURSIVE if options.recursive else 0))
        later = not _add(tree, options)
        mount_api.move_mount(tree, target)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
        flags = libc.MS_BIND | (libc.MS_REC if options.recursive else 0)
        libc.mount(attributes.by_name(source), attributes.by_name(target), None, flags)
        tree, later = again(), True
        if not os.path.samestat(os.fstat(tree), os.fstat(source)):
            raise OSError(_ELOOP, "what the place is called was changed meanwhile") from error
    if later:
        attributes.remount(tree, options.below, options.propagation, recursive=True)
        attributes.remount(tree, options.attributes)
    return tree


def _add(tree: int, options: attributes.Options) -> bool:
    """Give a tree its attributes: those of all its mounts with their propagation, then those of its top alone."""
    if not attributes.add(tree, options.below, options.propagation, recursive=True):
        return False
    return options.attributes == options.below or attributes.add(tree, options.attributes)


def is_directory(fd: int) -> bool:
    """Whether a descriptor is open on a directory."""
    return os.fstat(fd).st_mode & 0o170000 == 0o040000
