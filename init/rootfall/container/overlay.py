# SPDX-License-Identifier: MIT
"""A root that is an overlay: what the container writes goes elsewhere, into memory or into a directory that is kept.

The lower layer is the root's directory as it is, without what is mounted below it. The layers are given to the kernel as
descriptors (/proc/self/fd/N), so that no name is looked up twice and none needs escaping. Rules: overlayfs.rst of the kernel.
"""

import os

from rootfall.container import attach, attributes
from rootfall.container.model import Root
from rootfall.errors import MountError

_EPERM, _EBUSY, _ENODEV, _EINVAL, _ELOOP = 1, 16, 19, 22, 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_HINTS = {
    _EPERM: "in a user namespace an overlay needs Linux 5.11",
    _EBUSY: "another overlay uses the upper or the work directory",
    _ENODEV: "this kernel has no overlay file system (modprobe overlay)",
    _EINVAL: "not every file system can hold an upper layer (overlay itself and NFS cannot), "
    "and in a user namespace nothing may be mounted below the root; the kernel's log says more",
    _ELOOP: "the layers overlap: upper and work must lie outside of the root",
}


def prepare(root: Root) -> int:
    """Mount the overlay of a root on the root's own path; returns a descriptor (O_PATH) of it. Raises MountError."""
    lower = _open(root.path, "use the root", "")
    upper, work = _in_memory(root, lower) if root.overlay == "volatile" else _kept(root, lower)
    words = [
        f"{name}={attributes.by_name(fd)}" for name, fd in (("lowerdir", lower), ("upperdir", upper), ("workdir", work))
    ]
    if _in_a_user_namespace():
        words.append("userxattr")
    try:
        made = attach.attach_new(lower, "overlay", "overlay", ("suid", *words), lambda: _again(root))
    except OSError as error:
        said = error.strerror or ""
        seen = "" if said == os.strerror(error.errno or 0) else said
        errno = error.errno or 0
        raise MountError(
            "lay an overlay over", root.path, errno=errno, seen=seen, hint=_HINTS.get(errno, "")
        ) from error
    for each in (lower, upper, work):
        os.close(each)
    return made


def _in_memory(root: Root, lower: int) -> tuple[int, int]:
    """Upper and work directory on a tmpfs that only we see: it lies over the lower layer, and the overlay over it."""
    try:
        memory = attach.attach_new(lower, "tmpfs", "volatile", ("mode=0700",), lambda: _again(root))
        for name in ("upper", "work"):
            os.mkdir(name, 0o755, dir_fd=memory)
        upper, work = (os.open(name, _DIRECTORY, dir_fd=memory) for name in ("upper", "work"))
        _like(lower, memory)
        os.close(memory)
    except OSError as error:
        raise MountError("make room in memory for what is written to", root.path, errno=error.errno or 0) from error
    return upper, work


def _like(lower: int, memory: int) -> None:
    """The overlay's / has mode and owner of the upper directory: they are to be those of the root."""
    status = os.fstat(lower)
    try:
        os.chown("upper", status.st_uid, status.st_gid, dir_fd=memory)
    except OSError:
        pass  # an owner that this user namespace does not know
    os.chmod("upper", status.st_mode & 0o7777, dir_fd=memory)


def _kept(root: Root, lower: int) -> tuple[int, int]:
    """The user's own upper and work directory, seen to be what the kernel needs, or an error that says which is not."""
    upper_path, _, work_path = root.overlay.partition(":")
    hint = "an overlay is kept in UPPER:WORK, two directories of the same file system that must be there"
    upper = _open(upper_path, "use the overlay's upper directory", hint)
    work = _open(work_path, "use the overlay's work directory", hint)
    at, up, low = os.fstat(work), os.fstat(upper), os.fstat(lower)
    what = ""
    if at.st_dev != up.st_dev:
        what, hint = f"another file system than that of {upper_path}", "make it beside the upper directory"
    elif os.path.samestat(at, up) or os.path.samestat(at, low):
        what, hint = "the upper directory, or the root itself", "the work directory is one of its own, and empty"
    elif foreign := sorted({*os.listdir(work_path)} - {"work", "index"}):
        what, hint = f"{foreign[0]} in it", "the work directory must be empty: the kernel deletes what is in it"
    if what:
        raise MountError("use the overlay's work directory", work_path, seen=what, hint=hint)
    return upper, work


def _open(path: str, attempted: str, hint: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        raise MountError(attempted, path or '""', errno=error.errno or 0, hint=hint) from error


def _again(root: Root) -> int:
    return os.open(root.path, _DIRECTORY)


def _in_a_user_namespace() -> bool:
    """Whether ours is another user namespace than the first: the overlay's marks must be user.overlay.* then."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]
