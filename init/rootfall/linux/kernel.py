# SPDX-License-Identifier: MIT
"""The port through which a boot touches the world, so that its order of acts can be tested without root.

Each method is one act and is named after it; nothing here decides anything. Tests pass a subclass that records the calls
or makes the n-th of them fail.
"""

import os

from rootfall.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Kernel:
    """The running kernel, as the hand-over needs it."""

    def getpid(self) -> int:
        """getpid(2)."""
        return os.getpid()

    def mount(self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
        """mount(2)."""
        libc.mount(source, target, fstype, flags, data)

    def umount2(self, target: str, flags: int) -> None:
        """umount2(2)."""
        libc.umount2(target, flags)

    def pivot_root(self, new_root: str, put_old: str) -> None:
        """pivot_root(2)."""
        libc.pivot_root(new_root, put_old)

    def chroot(self, path: str) -> None:
        """chroot(2)."""
        os.chroot(path)

    def chdir(self, path: str | int) -> None:
        """chdir(2), or fchdir(2) of a descriptor."""
        os.chdir(path)

    def statfs_magic(self, path: str | int) -> int:
        """The magic number of the file system that holds `path`, a name or a descriptor (statfs(2))."""
        return libc.statfs_magic(path)

    def open_directory(self, path: str) -> int:
        """open(2) with O_DIRECTORY and O_CLOEXEC."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """close(2)."""
        os.close(fd)

    def read_mountinfo(self) -> str:
        """/proc/self/mountinfo (proc(5))."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read()

    def open_below(self, directory: int | None, name: str) -> int:
        """openat(2) of a directory, O_PATH: a symbolic link is ENOTDIR. `name` is below `directory`, or absolute."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, dir_fd=directory)

    def make_directory(self, directory: int, name: str) -> None:
        """mkdirat(2), mode 0755."""
        os.mkdir(name, 0o755, dir_fd=directory)

    def execve(self, path: str, argv: "tuple[str, ...]", environment: "Mapping[str, str]") -> None:
        """execve(2); returns only by raising OSError."""
        os.execve(path, argv, environment)
