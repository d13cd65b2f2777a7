# SPDX-License-Identifier: MIT
"""The mounts of a container, each by descriptors: what is mounted is opened once, its place is looked up in the new root.

No path below the new root is given to mount(2): the links in it are those of whoever made the root. What is mounted is made
detached, gets its attributes, and is attached last (mount_setattr(2), move_mount(2)); where the kernel is older than
that, mount(2) does it on /proc/self/fd/N. Device nodes are inert (nodev) everywhere but in /dev and where `dev` is asked for.
"""

import os

from rootfall.container import attributes, in_root
from rootfall.container.model import Mount, Root
from rootfall.errors import MountError
from rootfall.linux import libc, mount_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EPERM, _EACCES, _EEXIST, _EINVAL, _ENOSYS, _EROFS, _ELOOP, _ENOTDIR = 1, 13, 17, 22, 38, 30, 40, 20
_NOSUID, _NODEV, _NOEXEC = mount_api.MOUNT_ATTR_NOSUID, mount_api.MOUNT_ATTR_NODEV, mount_api.MOUNT_ATTR_NOEXEC
# What a file system's mount has unless its options say otherwise; all others are nosuid and nodev.
_DEFAULTS = {
    "proc": _NOSUID | _NODEV | _NOEXEC,
    "sysfs": _NOSUID | _NODEV | _NOEXEC,
    "mqueue": _NOSUID | _NODEV | _NOEXEC,
    "devpts": _NOSUID | _NOEXEC,
}
# Of these a link in the place of the directory is refused: what they show must not appear where the root's maker likes.
_DIRECTORIES_ONLY = ("proc", "sysfs", "dev", "cgroup")


def isolate() -> None:
    """Make every mount of our namespace a slave of the host's: theirs still arrive, ours do not leave. Raises MountError."""
    try:
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SLAVE)
    except OSError as error:
        hint = ""
        if error.errno == _EINVAL:
            hint = "the current root is a directory that was entered by chroot, and no mount: bind it onto itself before that"
        raise MountError(
            "make slaves of", "the mounts of the new namespace", errno=error.errno or 0, hint=hint
        ) from error


def prepare_root(root: Root, propagation: str = "private") -> int:
    """The new root as a mount of its own, on its own path; returns a descriptor (O_PATH) of it. Raises MountError."""
    if root.overlay:
        from rootfall.container import overlay

        return overlay.prepare(root)
    try:
        path = os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        wanted = _NODEV | (mount_api.MOUNT_ATTR_RDONLY if root.readonly else 0)
        flag = 0 if propagation == "slave" else libc.MS_PRIVATE
        found = bind_on(path, path, attributes.Options(wanted, wanted, flag), lambda: _directory(root.path))
        os.close(path)
        return found
    except OSError as error:
        raise MountError("use the root", root.path, errno=error.errno or 0, hint=_why_no_root(error)) from error


def _directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _why_no_root(error: OSError) -> str:
    if error.errno == _ENOTDIR:
        return "a root is a directory; an image file must be mounted first"
    return "every directory on the way to it must let you pass (x)" if error.errno == _EACCES else ""


def make_mount(root: int, mount: Mount) -> None:
    """Make one mount below `root`, a descriptor. Raises MountError."""
    try:
        if mount.type == "bind":
            bind(root, mount)
        elif mount.type == "dev":
            from rootfall.container import dev

            dev.make(root, mount)
        elif mount.type == "cgroup":
            from rootfall.container import cgroup_view

            cgroup_view.make(root, mount)
        else:
            file_system(root, mount)
    except OSError as error:
        raise refused(error, mount) from error


def refused(error: OSError, mount: Mount) -> MountError:
    """The error for a mount that the kernel refused, with the remedy where it is known."""
    said = error.strerror or ""
    what = f"bind {mount.source} on" if mount.type == "bind" else f"mount {mount.type} on"
    seen = said if error.errno is None or said != os.strerror(error.errno) else ""
    return MountError(what, mount.destination, errno=error.errno or 0, seen=seen, hint=_hint(error, mount))


def _hint(error: OSError, mount: Mount) -> str:
    if error.errno == _ELOOP:
        return "too many symbolic links on the way, or one of /proc's own: none of those is followed"
    if error.errno == _EPERM and mount.type == "proc":
        return "a user namespace may mount proc with a PID namespace of its own, and where nothing of the host's /proc is covered"
    if error.errno == _EPERM and mount.type == "mqueue":
        return "a user namespace may mount mqueue with an IPC namespace of its own"
    if error.errno == _EINVAL and mount.type == "bind":
        return "in a user namespace a tree that has mounts below it is bound with them only (rbind), none of them uncovered"
    return ""


def file_system(root: int, mount: Mount) -> None:
    """Mount a file system; sysfs, where a user namespace may not, by binding the host's with all below read-only."""
    target = place(root, mount, in_root.DIRECTORY)
    try:
        new_on(target, mount, lambda: in_root.open_place(root, mount.destination))
    except PermissionError:
        # The network namespace is still the host's, and so is what this sysfs would show: it is the host's own.
        if mount.type != "sysfs":
            raise
        wanted = _DEFAULTS["sysfs"] | mount_api.MOUNT_ATTR_RDONLY
        hosts = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
        os.close(
            bind_on(
                hosts, target, attributes.Options(wanted, wanted), lambda: in_root.open_place(root, mount.destination)
            )
        )
        os.close(hosts)
    os.close(target)


def new_on(target: int, mount: Mount, again: "Callable[[], int]") -> None:
    """Mount a new file system on the place that `target` is open on."""
    os.close(attach_new(target, mount.type, mount.source, mount.options, again))


def attach_new(target: int, fstype: str, source: str, words: tuple[str, ...], again: "Callable[[], int]") -> int:
    """Mount a new file system on the place that `target` is open on; returns a descriptor (O_PATH) of its root.

    `again` opens the place once more: where move_mount(2) is not to be had, that is how the mount is found.
    """
    options = attributes.parse(words, _DEFAULTS.get(fstype, _NOSUID | _NODEV))
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


def bind(root: int, mount: Mount) -> None:
    """Bind a file or a tree of the host's: it is nosuid and nodev unless its options say otherwise."""
    options = attributes.parse(mount.options, _NOSUID | _NODEV)
    if options.data:
        raise OSError(_EINVAL, f"a bind mount has no option {options.data[0][0]}")
    # A node in a mount below is as good as one in the tree itself.
    options = options._replace(below=options.below | options.attributes & (_NOSUID | _NODEV))
    source = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    kind = in_root.DIRECTORY if is_directory(source) else in_root.FILE
    target = place(root, mount, kind)
    os.close(bind_on(source, target, options, lambda: in_root.open_place(root, mount.destination)))
    os.close(target)
    os.close(source)


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


def place(root: int, mount: Mount, kind: str) -> int:
    """Open the place of a mount below the root, made if it is missing. Raises OSError, MountError with the remedy."""
    strict = mount.type in _DIRECTORIES_ONLY
    try:
        target = in_root.make_place(root, mount.destination, kind, follow=not strict)
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


def is_directory(fd: int) -> bool:
    """Whether a descriptor is open on a directory."""
    return os.fstat(fd).st_mode & 0o170000 == 0o040000
