# SPDX-License-Identifier: MIT
"""The one root-switch core: enter a mount as the root by pivot_root(2), for the boot's hand-over and for containers.

`enter` is the `pivot_root(".", ".")` of pivot_root(2), NOTES: no directory for the old root is needed, and a read-only new root
will do. `enter_with_put_old` is the documented procedure with a directory. `move_over` is for a current root that cannot be
pivoted away, the initial ramfs before Linux 7.0. Each raises OSError as the kernel said no; why it did, says
`container.diagnose`. Nothing here decides between them, and nothing deletes.
"""

import os

from rootfall.errors import SwitchRootError
from rootfall.linux import libc
from rootfall.linux.kernel import Kernel

_SLAVE = libc.MS_REC | libc.MS_SLAVE
_MISPLACED = "the old root is still reachable"


def enter(kernel: Kernel, new_root: str | int, old_root: int) -> None:
    """Make `new_root`, a mount, the root of this process and its mount namespace; let go of `old_root`, open on "/".

    Raises OSError where the kernel refuses: nothing is changed but the working directory. Raises SwitchRootError after that.
    """
    kernel.chdir(new_root)
    kernel.pivot_root(".", ".")
    try:
        # Here the old root lies on the new one, and "/.." still lists it.
        kernel.chdir(old_root)
        kernel.mount(None, ".", None, _SLAVE)  # what is unmounted here stays mounted elsewhere
        detach(kernel, ".")
        kernel.chdir("/")
    except OSError as error:
        raise SwitchRootError("let go of", "the old root", errno=error.errno or 0) from error


def detach(kernel: Kernel, path: str) -> None:
    """umount2(2) with MNT_DETACH until nothing is left there: mounts may be stacked."""
    kernel.umount2(path, libc.MNT_DETACH)
    try:
        while True:
            kernel.umount2(path, libc.MNT_DETACH)
    except OSError:  # EINVAL: nothing is mounted there any more
        pass


def enter_with_put_old(kernel: Kernel, new_root: str, put_old: str) -> None:
    """The same with a directory for the old root: make `put_old` below `new_root`, pivot, unmount it, remove it."""
    place = f"{new_root.rstrip('/')}/{put_old.strip('/')}"
    here = kernel.open_below(None, new_root)
    try:
        kernel.make_directory(here, put_old.strip("/"))
    finally:
        kernel.close(here)
    kernel.chdir(new_root)
    kernel.pivot_root(new_root, place)
    kernel.chdir("/")
    old = f"/{put_old.strip('/')}"
    kernel.mount(None, old, None, _SLAVE)
    kernel.umount2(old, libc.MNT_DETACH)
    kernel.remove_directory(old)


def move_over(kernel: Kernel, new_root: str | int) -> None:
    """MS_MOVE and chroot(2): the new root covers the old one, which stays below it, out of reach of any name."""
    kernel.chdir(new_root)
    kernel.mount(".", "/", None, libc.MS_MOVE)
    kernel.chroot(".")
    kernel.chdir("/")


def prove(new_root: int) -> None:
    """That "/" and "/.." are the directory that `new_root`, a descriptor from before, is. Raises OSError (EXDEV)."""
    wanted = os.fstat(new_root)
    for path in ("/", "/.."):
        found = os.stat(path)
        if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
            raise OSError(18, _MISPLACED, path)
