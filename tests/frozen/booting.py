# SPDX-License-Identifier: MIT
"""Boots an image without a virtual machine: the frozen program as PID 1 of a PID namespace, its root a tmpfs with the image.

What is real: the frozen program, its YAML and pyudev, the devices of this machine, a disk on a loop device, the mounts, the
hand-over (by pivot_root(2), as from Linux 7.0 on) and execve(2). What is not, and is for tests/boot in QEMU: kernel modules,
devtmpfs, the command line (a file bound over /proc/cmdline; PID 1 mounts only what is not mounted yet), and MS_MOVE.
This machine is not touched: what PID 1 writes to, the console, /dev/kmsg and printk_devkmsg, is bound over as well.
"""

import os
import select
import shutil
import signal
import stat
import time
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rootfall.linux import libc
from rootfall_build import cpio, rootfs
from tests.kernel import namespace

LIMIT = 60.0  # seconds for a boot that takes less than one


@dataclass(frozen=True)
class Booted:
    """What was on the console (the log, too), and how PID 1 ended: its exit status, or minus the signal's number."""

    console: str
    status: int

    def facts(self, name: str) -> list[str]:
        """What tests/frozen/init.c said about `name`."""
        return [line.removeprefix(f"{name}: ") for line in self.console.splitlines() if line.startswith(f"{name}: ")]


def unpack(image: bytes, directory: Path) -> Path:
    """Write the files of an image, device nodes excepted."""
    for path, member in sorted(rootfs.unpack(cpio.read(image)).items()):
        target = directory / path
        if stat.S_ISDIR(member.mode):
            target.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(member.mode):
            target.symlink_to(os.fsdecode(bytes(member.data)))
        elif stat.S_ISREG(member.mode):
            target.write_bytes(member.data)
            target.chmod(stat.S_IMODE(member.mode))
    return directory


def boot(tree: Path, scratch: Path, device: str, cmdline: str, environment: Mapping[str, str], *argv: str) -> Booted:
    """Run /init of an unpacked image as PID 1; `device` is the one block device node that it finds in /dev."""
    files = {"cmdline": cmdline + "\n", "printk_devkmsg": "on\n"}
    for name, text in files.items():
        (scratch / name).write_text(text)

    def setup(slave: str) -> None:
        root = namespace.tmpfs(scratch / "initramfs")
        shutil.copytree(tree, root, symlinks=True, dirs_exist_ok=True)
        libc.mount("proc", f"{root}/proc", "proc")
        libc.mount(str(scratch / "cmdline"), f"{root}/proc/cmdline", None, libc.MS_BIND)
        libc.mount(str(scratch / "printk_devkmsg"), f"{root}/proc/sys/kernel/printk_devkmsg", None, libc.MS_BIND)
        libc.mount("tmpfs", f"{root}/dev", "tmpfs")
        for name, number in (("null", os.makedev(1, 3)), ("urandom", os.makedev(1, 9))):
            os.mknod(f"{root}/dev/{name}", 0o666 | stat.S_IFCHR, number)
        if device:
            os.mknod(f"{root}{device}", 0o600 | stat.S_IFBLK, Path(device).stat().st_rdev)
        for name in ("console", "kmsg"):
            Path(f"{root}/dev/{name}").touch()
            libc.mount(slave, f"{root}/dev/{name}", None, libc.MS_BIND)
        namespace.become_root(root)

    return run(setup, ["/init", *argv], environment)


def run(setup: Callable[[str], None], argv: list[str], environment: Mapping[str, str], typed: bytes = b"") -> Booted:
    """Execute a program as PID 1 of new namespaces once `setup` (given the terminal's name) has made its root.

    `typed` is what a person has typed on the console by then.
    """
    master, slave = os.openpty()
    tty.setraw(slave)
    os.write(master, typed)
    read, write = os.pipe()

    def pid_1() -> None:
        name = os.ttyname(slave)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        setup(name)
        os.closerange(3, 4096)
        os.setsid()
        os.execve(argv[0], argv, environment)

    def outer() -> None:
        namespace.enter()
        _, status = os.waitpid(namespace.fork(pid_1), 0)
        os.write(write, str(os.waitstatus_to_exitcode(status)).encode())

    child = namespace.fork(outer)
    os.close(write)
    try:
        console, status = _listen(master, read)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for fd in (master, slave, read):
            os.close(fd)
    return Booted(console.decode(errors="replace"), status)


def _listen(master: int, read: int) -> tuple[bytes, int]:
    console, ended, deadline = b"", b"", time.monotonic() + LIMIT
    while not ended:
        ready, _, _ = select.select([master, read], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"PID 1 did not end within {LIMIT:g} s; its console: {console.decode(errors='replace')}"
        if read in ready:
            ended = os.read(read, 16) or b"-9"
        elif master in ready:
            console += os.read(master, 65536)
    while select.select([master], [], [], 0)[0]:
        console += os.read(master, 65536)
    return console, int(ended)
