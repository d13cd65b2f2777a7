# SPDX-License-Identifier: MIT
"""Mounts by descriptors: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2), fsconfig(2), fsmount(2).

A path is looked up once, in the root that it is meant in; afterwards only the descriptor is used, so that nobody can swap
what lies at the path in between. Thin wrappers that raise OSError; ENOSYS where the kernel is older, or seccomp forbids it.
"""

import os

from rootfall.linux.libc import check, fields, library
from rootfall.linux.small_ctypes import c_ulong

OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
AT_EMPTY_PATH, AT_RECURSIVE = 0x1000, 0x8000
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000
MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0x10, 0x20
MOUNT_ATTR_NODIRATIME = 0x80
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442


def _call(number: int, path: str, *arguments: int | bytes | None) -> int:
    words = [c_ulong(each) if isinstance(each, int) else each for each in arguments]
    return check(library.syscall(c_ulong(number), *words), path)


def open_tree(directory: int, path: str, flags: int) -> int:
    """open_tree(2); with OPEN_TREE_CLONE a detached copy of a mount. `path` "" (with AT_EMPTY_PATH) is `directory` itself."""
    return _call(_OPEN_TREE, path, directory, os.fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount on the place that `target` is open on (move_mount(2))."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call(_MOVE_MOUNT, "", mount, b"", target, b"", flags)


def mount_setattr(mount: int, attributes: int, clear: int = 0, propagation: int = 0, recursive: bool = False) -> None:
    """Set and clear attributes of the mount that `mount` is open on, of all below it too if `recursive` (mount_setattr(2))."""
    words = fields(8, attributes, clear, propagation, 0)
    _call(_MOUNT_SETATTR, "", mount, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), words, len(words))


def new_mount(fstype: str, options: tuple[tuple[str, str | None], ...], attributes: int, source: str = "none") -> int:
    """A new mount of a file system, detached (fsopen(2), fsconfig(2), fsmount(2)); an option without a value is a flag.

    Raises OSError; its text is the kernel's own message, where there is one.
    """
    context = _call(_FSOPEN, fstype, os.fsencode(fstype), 1)
    try:
        for name, value in (("source", source), *options):
            command = FSCONFIG_SET_FLAG if value is None else FSCONFIG_SET_STRING
            _call(
                _FSCONFIG, name, context, command, os.fsencode(name), None if value is None else os.fsencode(value), 0
            )
        _call(_FSCONFIG, fstype, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, fstype, context, 1, attributes)
    except OSError as error:
        raise OSError(error.errno, _message(context) or error.strerror, error.filename) from error
    finally:
        os.close(context)


def _message(context: int) -> str:
    """What the kernel says of a mount that it refuses: lines that begin with "e "."""
    said = []
    try:
        while True:
            said.append(os.read(context, 4096).decode(errors="replace").partition(" ")[2].strip())
    except OSError:  # ENODATA: that was all
        return "; ".join(said)
