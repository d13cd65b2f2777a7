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
    # Here the old root lies on the new one, and "/.." still lists it.
    let_go(kernel, old_root)


def enter_with_put_old(kernel: Kernel, new_root: str | int, put_old: str, old_root: int) -> None:
    """The same by the documented procedure: for a moment the old root is on `put_old`, a directory below the new one."""
    kernel.chdir(new_root)
    kernel.pivot_root(".", put_old)
    let_go(kernel, old_root)


def let_go(kernel: Kernel, old_root: int) -> None:
    """Unmount the old root from wherever it was put, by a descriptor: no name in the new root is asked for it."""
    try:
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


def move_over(kernel: Kernel, new_root: str | int) -> None:
    """MS_MOVE and chroot(2): the new root covers the old one, which stays below it, out of reach of any name."""
    kernel.chdir(new_root)
    kernel.mount(".", "/", None, libc.MS_MOVE)
    kernel.chroot(".")
    kernel.chdir("/")


def prove(new_root: int) -> None:
    """That "/", "/.." and "." are the directory that `new_root`, a descriptor from before, is. Raises OSError (EXDEV)."""
    wanted = os.fstat(new_root)
    for path in ("/", "/..", "."):
        if not os.path.samestat(os.stat(path), wanted):
            raise OSError(18, _MISPLACED, path)
    if os.getcwd() != "/":  # "(unreachable)/…" is what the kernel says of a directory outside
        raise OSError(18, _MISPLACED, ".")
