# SPDX-License-Identifier: MIT
"""Containers of an initramfs before Linux 7.0, whose root pivot_root(2) refuses to pivot away: it is moved over instead.

The old root then stays below the new one, out of reach of any name, with all that is mounted there. A whole proc or sysfs among
that would let a user namespace mount a fresh one with nothing masked (mount_too_revealing() in fs/namespace.c): they go first.
"""

from rootfall import mountinfo
from rootfall.container import mount_walk
from rootfall.linux import libc
from rootfall.linux.kernel import Kernel

_READ_ONLY = libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC


def is_the_root(kernel: Kernel) -> bool:
    """Whether the current root is the kernel's own first mount, the rootfs (ramfs-rootfs-initramfs.rst)."""
    if kernel.statfs_magic("/") not in (libc.RAMFS_MAGIC, libc.TMPFS_MAGIC):
        return False
    return any(each.path == "/" and each.fstype == "rootfs" for each in mountinfo.parse(kernel.read_mountinfo()))


def hide_proc_and_sys(kernel: Kernel, root: int) -> None:
    """Unmount every whole proc and sysfs outside of the new root, or cover it where it cannot be unmounted."""
    found = mountinfo.parse(kernel.read_mountinfo())
    inside = mount_walk.inside(found, mount_walk.mount_id(root))
    for each in found:
        if each.fstype in ("proc", "sysfs") and each.root == "/" and each.id not in inside:
            try:
                kernel.umount2(each.path, libc.MNT_DETACH)
            except OSError:  # a user namespace may not unmount what it was given
                kernel.mount("none", each.path, "tmpfs", _READ_ONLY, "size=4k")
