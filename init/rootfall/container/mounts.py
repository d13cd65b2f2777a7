# SPDX-License-Identifier: MIT
"""The mounts of a container, each by descriptors: what is mounted is opened once, its place is looked up in the new root.

Device nodes are inert (nodev) everywhere but in /dev and where `dev` is asked for; what the host's mount forbids stays
forbidden. Refuses whatever the kernel refuses, with its reason and the remedy.
"""

import os

from rootfall.container import attach, attributes, in_root
from rootfall.container.model import Mount, Root
from rootfall.errors import MountError
from rootfall.linux import libc, mount_api

_EPERM, _EACCES, _ENOTDIR, _EINVAL, _ELOOP = 1, 13, 20, 22, 40


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
        wanted = attach.NODEV | (mount_api.MOUNT_ATTR_RDONLY if root.readonly else 0)
        flag = 0 if propagation == "slave" else libc.MS_PRIVATE
        found = attach.bind_on(path, path, attributes.Options(wanted, wanted, flag), lambda: _directory(root.path))
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
        return (
            "a user namespace may mount proc with a PID namespace of its own, and nothing of the host's /proc covered"
        )
    if error.errno == _EPERM and mount.type == "mqueue":
        return "a user namespace may mount mqueue with an IPC namespace of its own"
    if error.errno == _EINVAL and mount.type == "bind":
        return "in a user namespace a tree that has mounts below it is bound with them only (rbind), none of them uncovered"
    return ""


def file_system(root: int, mount: Mount) -> None:
    """Mount a file system; sysfs, where a user namespace may not, by binding the host's with all below read-only."""
    target = attach.place(root, mount, in_root.DIRECTORY)

    def again() -> int:
        return in_root.open_place(root, mount.destination)

    try:
        made = attach.attach_new(target, mount.type, mount.source, mount.options, again)
    except PermissionError:
        if mount.type != "sysfs":
            raise
        # The network namespace is still the host's, and so is what this sysfs would show: it is the host's own.
        wanted = attach.DEFAULTS["sysfs"] | mount_api.MOUNT_ATTR_RDONLY
        hosts = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
        made = attach.bind_on(hosts, target, attributes.Options(wanted, wanted), again)
        os.close(hosts)
    os.close(made)
    os.close(target)


def bind(root: int, mount: Mount) -> None:
    """Bind a file or a tree of the host's: it is nosuid and nodev unless its options say otherwise."""
    options = attributes.parse(mount.options, attach.NOSUID | attach.NODEV)
    if options.data:
        raise OSError(_EINVAL, f"a bind mount has no option {options.data[0][0]}")
    # A node in a mount below is as good as one in the tree itself.
    options = options._replace(below=options.below | options.attributes & (attach.NOSUID | attach.NODEV))
    try:
        source = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise MountError("find what is to be bound,", mount.source, errno=error.errno or 0) from error
    kind = in_root.DIRECTORY if attach.is_directory(source) else in_root.FILE
    target = attach.place(root, mount, kind)
    os.close(attach.bind_on(source, target, options, lambda: in_root.open_place(root, mount.destination)))
    os.close(target)
    os.close(source)
