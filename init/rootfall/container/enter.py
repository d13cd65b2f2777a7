# SPDX-License-Identifier: MIT
"""The switch of a container's root, by one of the three procedures of rootfall.pivot_root, and the proof that it was one.

The procedure with a directory is for those who ask for it. MS_MOVE and chroot(2) are only for a current root that the kernel
does not let anybody pivot away, the initial ramfs before Linux 7.0 (`ramfs`). A container is not started on a doubt.
"""

import os
import sys

from rootfall import pivot_root
from rootfall.container import attach, attributes, in_root
from rootfall.container.plan import PivotRoot
from rootfall.errors import SwitchRootError
from rootfall.linux import libc, mount_api
from rootfall.linux.kernel import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EINVAL, _EROFS = 22, 30


def switch(kernel: Kernel, root: int, step: PivotRoot) -> None:
    """Enter the new root, which `root` is open on, and prove that the old one is out of reach. Raises RootfallError."""
    old = kernel.open_directory("/")
    importers = forbid_imports()
    try:
        if step.put_old:
            _with_put_old(kernel, root, old, step.put_old)
        else:
            pivot_root.enter(kernel, root, old)
    except OSError as error:
        sys.meta_path[:], sys.path[:] = importers  # still in the old root, whose modules are ours
        _without_pivot(kernel, root, error)
    kernel.close(old)
    try:
        pivot_root.prove(root)
        _finish(step)
    except OSError as error:
        raise SwitchRootError(
            "finish", "the new root", errno=error.errno or 0, seen=f"{error.filename}: {error.strerror}"
        ) from error
    os.close(root)


def forbid_imports() -> "tuple[list[Any], list[str]]":
    """From here on a module would come from the new root, whose maker need not be our friend: an import is an error."""
    importers = list(sys.meta_path), list(sys.path)
    sys.meta_path.clear()
    sys.path.clear()
    return importers


def _with_put_old(kernel: Kernel, root: int, old: int, put_old: str) -> None:
    """pivot_root(2) with a directory for the old root, made for it and removed afterwards if it was not there."""
    parent, place, made = _place_for_old(root, put_old)
    pivot_root.enter_with_put_old(kernel, root, attributes.by_name(place), old)
    os.close(place)
    if made:
        os.rmdir(os.path.basename(put_old.rstrip("/")), dir_fd=parent)
    os.close(parent)


def _place_for_old(root: int, put_old: str) -> tuple[int, int, bool]:
    """The directory that `put_old` is in, itself, and whether it was made; all of it looked up in the new root."""
    above, _, name = put_old.rstrip("/").rpartition("/")
    made = False
    try:
        parent = in_root.open_place(root, above or "/")
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            made = True
        except FileExistsError:
            pass
        place = in_root.open_place(root, put_old)
    except OSError as error:
        hint = (
            'make it in the root, or do without: pivot_root(".", ".") needs no directory'
            if error.errno == _EROFS
            else ""
        )
        raise SwitchRootError(
            "make the directory for the old root,", put_old, errno=error.errno or 0, hint=hint
        ) from error
    directory = attach.is_directory(place)
    if not directory or os.path.samestat(os.fstat(place), os.fstat(root)):
        seen = "the new root itself" if directory else "something that is no directory"
        raise SwitchRootError(
            "put the old root on", put_old, seen=seen, hint="name a directory, or one that can be made"
        )
    return parent, place, made


def _without_pivot(kernel: Kernel, root: int, error: OSError) -> None:
    """After pivot_root(2) was refused: MS_MOVE and chroot(2), if the reason is the initial ramfs."""
    from rootfall.container import ramfs

    if error.errno != _EINVAL or not ramfs.is_the_root(kernel):
        raise _explained(error) from error
    ramfs.hide_proc_and_sys(kernel, root)
    forbid_imports()
    try:
        pivot_root.move_over(kernel, root)
    except OSError as refused:
        raise SwitchRootError("enter", "the new root", errno=refused.errno or 0, seen="the initial ramfs") from refused


def _explained(error: OSError) -> SwitchRootError:
    """Why the kernel refused to pivot, as far as it can be seen; the working directory is the new root by now."""
    from rootfall.container import diagnose, observe

    found, errno = None, error.errno or 0
    try:
        found = diagnose.diagnose(observe.read(os.getcwd(), os.getcwd()), errno)
    except OSError:
        pass  # the kernel's own word is what counts
    if found is None:
        return SwitchRootError("enter", "the new root", errno=errno)
    return SwitchRootError("enter", "the new root", errno=errno, seen=found.sentence, hint=found.remedy)


def _finish(step: PivotRoot) -> None:
    """What the new root is in the end: read-only, or with another propagation than it was made with."""
    if step.readonly:
        here = os.open("/", os.O_PATH | os.O_CLOEXEC)
        if not attributes.add(here, mount_api.MOUNT_ATTR_RDONLY):
            attributes.remount_name("/", mount_api.MOUNT_ATTR_RDONLY)
        os.close(here)
    if step.propagation == "shared":  # all of it, so that an init's own slaves get what is mounted later
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SHARED)
    elif step.propagation == "unbindable":
        libc.mount(None, "/", None, libc.MS_UNBINDABLE)
