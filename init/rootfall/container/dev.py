# SPDX-License-Identifier: MIT
"""A minimal /dev: a tmpfs with the host's null, zero, full, random, urandom and tty, a devpts of its own, links and shm.

A node is bound only after the descriptor that it is bound by was seen to be that character device (CVE-2025-31133). The tmpfs
is nodev itself: what is made in it later is inert, what is bound into it is not.
"""

import os

from rootfall.container import attach, attributes, in_root
from rootfall.container.model import Mount
from rootfall.errors import MountError
from rootfall.linux import libc, mount_api

_ENODEV, _EINVAL = 19, 22
_CHARACTER, _TYPE = 0o020000, 0o170000
# admin-guide/devices.txt
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_INERT = mount_api.MOUNT_ATTR_NOSUID | mount_api.MOUNT_ATTR_NOEXEC
_SAFE = ("nosuid", "nodev", "noexec")
_TTY_GROUP = 5  # on every distribution; mapped or not


def make(root: int, mount: Mount) -> None:
    """Make it at the mount's destination; "mqueue" among the options adds /dev/mqueue, others are those of the tmpfs."""
    words = tuple(each for each in mount.options if each not in ("mqueue", "ro"))
    target = attach.place(root, mount, in_root.DIRECTORY)
    options = ("mode=0755", "size=64k", "noexec", *words)
    dev = attach.attach_new(target, "tmpfs", "dev", options, lambda: in_root.open_place(root, mount.destination))
    os.close(target)
    for name, major, minor in NODES:
        node = open_node(name, major, minor)
        _bind(node, dev, name)
        os.close(node)
    for name, text in _LINKS:
        os.symlink(text, name, dir_fd=dev)
    _devpts(dev)
    _below(dev, "shm", "tmpfs", ("mode=1777", "size=64m", *_SAFE))
    if "mqueue" in mount.options:
        _below(dev, "mqueue", "mqueue", _SAFE)
    if "ro" in mount.options and not attributes.add(dev, mount_api.MOUNT_ATTR_RDONLY):
        attributes.remount(dev, mount_api.MOUNT_ATTR_RDONLY)
    os.close(dev)


def open_node(name: str, major: int, minor: int) -> int:
    """Open (O_PATH) the host's /dev/NAME and see that it is this character device. Raises MountError."""
    try:
        fd = os.open(f"/dev/{name}", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(
            "use the host's device", f"/dev/{name}", errno=error.errno or 0, hint="a container's /dev needs it"
        ) from error
    status = os.fstat(fd)
    if status.st_mode & _TYPE != _CHARACTER or status.st_rdev != os.makedev(major, minor):
        os.close(fd)
        hint = f"it must be the character device {major}:{minor}"
        raise MountError("use the host's device", f"/dev/{name}", seen="something else", hint=hint)
    return fd


def bind_console(root: int, terminal: int, name: str = "console") -> None:
    """Bind the pty that `terminal` is open on as /dev/NAME below the root: by that descriptor, no name is asked for it.

    It must have been opened in our mount namespace; its name could be another's by now (CVE-2025-52565). Raises MountError.
    """
    if libc.statfs_magic(terminal) != libc.DEVPTS_SUPER_MAGIC or os.fstat(terminal).st_mode & _TYPE != _CHARACTER:
        raise MountError("use the terminal as", f"/dev/{name}", seen="something else", hint="it must be a pty")
    dev = in_root.open_place(root, "/dev")
    try:
        _bind(terminal, dev, name)
    except OSError as error:
        raise MountError("bind the terminal on", f"/dev/{name}", errno=error.errno or 0) from error
    os.close(dev)


def _bind(node: int, dev: int, name: str) -> None:
    target = in_root.make_place(dev, name, in_root.FILE)
    options = attributes.Options(_INERT, _INERT, recursive=False)
    os.close(attach.bind_on(node, target, options, lambda: in_root.open_place(dev, name)))
    os.close(target)


def _below(dev: int, name: str, fstype: str, words: tuple[str, ...]) -> None:
    os.mkdir(name, 0o755, dir_fd=dev)
    target = in_root.open_place(dev, name)
    try:
        os.close(attach.attach_new(target, fstype, fstype, words, lambda: in_root.open_place(dev, name)))
    finally:
        os.close(target)


def _devpts(dev: int) -> None:
    words = ("newinstance", "ptmxmode=0666", "mode=0620", "nosuid", "noexec")
    try:
        _below(dev, "pts", "devpts", (*words, f"gid={_TTY_GROUP}"))
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        os.rmdir("pts", dir_fd=dev)
        _below(dev, "pts", "devpts", words)  # the group has no number in this user namespace
