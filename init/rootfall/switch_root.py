# SPDX-License-Identifier: MIT
"""The hand-over: checked first, then the mounts are moved, the root is switched, the old root is deleted, init is executed.

Two ways to switch. pivot_root(".", ".") and umount2(".", MNT_DETACH) where the kernel can (an initramfs since Linux 7.0, any
other root always): nothing is left to delete. Where it answers EINVAL, MS_MOVE and chroot as switch_root(8), and the old
root is deleted through its descriptor, only when it is a ramfs or tmpfs, never following a symbolic link, never crossing
into another mount. From `switch` on nothing may be imported: our own files are being deleted.
"""

import os

from rootfall import mountinfo, pivot_root
from rootfall.errors import SwitchRootError
from rootfall.linux import libc
from rootfall.linux.kernel import Kernel
from rootfall.mountinfo import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EBUSY, _EXDEV, _ENOTDIR, _EINVAL, _ENOSYS = 16, 18, 20, 22, 38
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def top_level(mounts: tuple[Mount, ...], new_root: str) -> tuple[str, ...]:
    """The mount points right below "/", in the order of mounting: what moves over. Not the new root, nor what holds it."""
    roots = {mount.id for mount in mounts if mount.path == "/"}
    below = new_root + "/"
    return tuple(m.path for m in mounts if m.parent in roots and m.path != "/" and not below.startswith(m.path + "/"))


def preflight(kernel: Kernel, new_root: str) -> None:
    """Everything that would make the switch fail half-way, without changing anything. Raises SwitchRootError."""
    if kernel.getpid() != 1:
        raise SwitchRootError(
            "switch root", new_root, seen=f"process {kernel.getpid()}", hint="only PID 1 can hand over"
        )
    mounts = mountinfo.parse(kernel.read_mountinfo())
    if new_root == "/":
        raise SwitchRootError("switch root", new_root, seen="it is the root already", hint="name the new one")
    if new_root not in {mount.path for mount in mounts}:
        hint = "the real root is not mounted (mount --bind DIR DIR makes a directory a mount)"
        raise SwitchRootError("switch root", new_root, seen="no mount there", hint=hint)
    magic = kernel.statfs_magic("/")
    if magic not in (libc.RAMFS_MAGIC, libc.TMPFS_MAGIC):
        hint = "the current root is not an initramfs: it would have to be deleted, and will not be"
        raise SwitchRootError("switch root", new_root, seen=f"/ is a file system with magic {magic:#x}", hint=hint)


def move_mounts(kernel: Kernel, new_root: str) -> tuple[str, ...]:
    """Move every top-level mount to the same place below the new root; what has no place there is let go.

    A place must be a directory with no symbolic link on the way to it; one that is missing is made, one on which something
    is mounted already is kept as it is. Returns what was let go, with the reason. /dev may be among it: init has its
    console all the same, since the descriptors 0 to 2 that are open on it stay open.
    """
    kernel.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)  # out of a shared mount nothing can be moved
    mounts = mountinfo.parse(kernel.read_mountinfo())
    taken, lost = {mount.path for mount in mounts}, []
    for path in top_level(mounts, new_root):
        target = new_root + path
        try:
            if target in taken:
                raise OSError(_EBUSY, "the new root has its own there")
            kernel.close(_place(kernel, new_root, path))
            kernel.mount(path, target, None, libc.MS_MOVE)
        except OSError as error:
            why = "no directory there, and no link is followed" if error.errno == _ENOTDIR else error.strerror
            lost.append(f"{path}: {why}{_let_go(kernel, path)}")
    return tuple(lost)


def _place(kernel: Kernel, new_root: str, path: str) -> int:
    """Open the directory `path` below the new root, making what is missing, through no symbolic link. Raises OSError."""
    here = kernel.open_below(None, new_root)
    for name in path.split("/")[1:]:
        try:
            try:
                below = kernel.open_below(here, name)
            except FileNotFoundError:
                kernel.make_directory(here, name)
                below = kernel.open_below(here, name)
        finally:
            kernel.close(here)
        here = below
    return here


def _let_go(kernel: Kernel, path: str) -> str:
    try:
        kernel.umount2(path, libc.MNT_DETACH)
    except OSError as error:
        return f" (and it stays on the old root: {error.strerror})"
    return ""


def switch(kernel: Kernel, new_root: str) -> str:
    """Make `new_root`, a mount, the root of this process and its mount namespace; returns how: "pivot_root" or "MS_MOVE".

    Nothing may be shared with other namespaces any more: `move_mounts` has seen to that.
    """
    old = kernel.open_directory("/")
    try:
        pivot_root.enter(kernel, new_root, old)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        pivot_root.move_over(kernel, new_root)
        if kernel.statfs_magic(old) in (libc.RAMFS_MAGIC, libc.TMPFS_MAGIC):
            delete_contents(old)
        return "MS_MOVE"
    finally:
        kernel.close(old)
    return "pivot_root"


def delete_contents(directory: int) -> int:
    """Delete all below an open directory, on its own mount only; what cannot be deleted stays, the rest goes.

    Returns how many entries were deleted. Leaves `directory` open. Holds two descriptors at any depth, and does not recurse.
    """
    device, deleted, here = os.fstat(directory).st_dev, 0, directory
    path = [("", _entries(directory))]
    while path:
        name, entries = path[-1]
        if entries:
            entry, is_directory = entries.pop()
            if not is_directory:
                deleted += _try(os.unlink, entry, here)
                continue
            try:
                below = _open_on_same_mount(here, entry, device)
            except OSError:
                continue  # another mount: it stays
            path.append((entry, _entries(below)))
            here = _leave(here, directory, below)
        else:
            path.pop()
            if path:
                # Nobody else moves directories here: ".." is where we came from.
                above = directory if len(path) == 1 else os.open("..", _DIRECTORY, dir_fd=here)
                here = _leave(here, directory, above)
                deleted += _try(os.rmdir, name, here)
    return deleted


def _leave(here: int, top: int, there: int) -> int:
    if here != top:
        os.close(here)
    return there


def _entries(fd: int) -> list[tuple[str, bool]]:
    try:
        with os.scandir(fd) as listing:
            return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    except OSError:
        return []  # then its rmdir fails, and it stays


def _try(act: "Callable[..., None]", name: str, fd: int) -> int:
    """1 when the entry went, 0 when the kernel said no."""
    try:
        act(name, dir_fd=fd)
    except OSError:
        return 0
    return 1


def _open_on_same_mount(parent: int, name: str, device: int) -> int:
    """Open a subdirectory that is no symbolic link and no mount point, not even a bind mount of the same file system."""
    try:
        return libc.openat2(parent, name, _DIRECTORY, libc.RESOLVE_NO_XDEV | libc.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno != _ENOSYS:
            raise
    fd = os.open(name, _DIRECTORY, dir_fd=parent)  # before Linux 5.6
    if os.fstat(fd).st_dev != device:
        os.close(fd)
        raise OSError(_EXDEV, os.strerror(_EXDEV), name)
    return fd
