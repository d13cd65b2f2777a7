# SPDX-License-Identifier: MIT
"""A whole boot, main.main() itself, on the real kernel in a mount namespace, of which one system call fails.

Each call that PID 1 makes through `os`, `open` and rootfall.linux has a number; `Case.fail` is the one that the kernel is said
to have refused, with `Case.errno`. Not real: finit_module(2), the refusal of pivot_root(2), and the ends: execve(2), reboot(2)
and pause(2) end the process with a status instead. Everything is imported before: nothing can be in the new root.
"""

import _thread
import builtins
import ctypes
import os
import pkgutil
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyudev._ctypeslib.utils as pyudev_libraries

import rootfall
from rootfall import config, main, switch_root
from rootfall.linux import blkid, libc, signals, standins, udev
from tests.kernel import namespace

EXECUTED, REBOOTED, STOOD_STILL, RETURNED = 10, 11, 12, 13
ENDS = {EXECUTED: "executed", REBOOTED: "rebooted", STOOD_STILL: "stood still", RETURNED: "returned", -9: "hung"}
LIMIT = 30.0  # seconds for a boot that takes a tenth of one
_CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in (
        "chdir", "chroot", "close", "dup", "dup2", "eventfd", "eventfd_read", "eventfd_write", "execve", "fork", "fstat",
        "listdir", "lstat", "mkdir", "open", "read", "readlink", "rmdir", "scandir", "sched_getaffinity", "set_inheritable",
        "stat", "statvfs", "sync", "uname", "unlink", "wait", "write",
    )),
    *((libc, name) for name in (
        "finit_module", "mount", "openat2", "pivot_root", "reboot", "statfs_magic", "umount2",
    )),
    *((udev.Monitor, name) for name in ("__init__", "present", "poll", "wait")),
    (builtins, "open"), (blkid, "probe"), (_thread, "start_new_thread"),
)  # fmt: skip


class Case(NamedTuple):
    """One boot: which call fails and how; whether pivot_root(2) is refused as on a rootfs before Linux 7.0."""

    fail: int
    errno: int
    pivot: bool = True


class Outcome(NamedTuple):
    """How a boot ended, what was on its console and in its log, and the call that failed; "" when it was not reached."""

    end: str
    console: str
    log: str
    failed: str

    @property
    def report(self) -> str:
        """The report, wherever it could be written."""
        return "".join(text for text in (self.console, self.log) if "THIS BOOT FAILED" in text)


class File:
    """A file whose reads and writes have numbers, too."""

    def __init__(self, file: Any, faults: "Faults") -> None:
        self._file, self._faults = file, faults

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        if name in ("read", "write"):
            self._faults.refuse(f"{name} of {self._file.name}")
        return getattr(self._file, name)


class Faults:
    """Counts the calls of this process and refuses one."""

    def __init__(self, case: Case, note: int) -> None:
        self.case, self.note, self.count, self.armed = case, note, 0, False

    def wrap(self, owner: Any, name: str) -> None:
        """Put this between the program and a function."""
        call = getattr(owner, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.refuse(f"{name}{arguments!r:.100}")
            result = call(*arguments, **more)
            return File(result, self) if owner is builtins else result

        setattr(owner, name, counted)

    def refuse(self, what: str) -> None:
        """Raise when this is the call."""
        if not self.armed:
            return
        self.count += 1
        if self.count == self.case.fail:
            self.armed = False
            _write(self.note, what.encode())
            self.armed = True
            if what.startswith("start_new_thread"):
                raise RuntimeError("can't start new thread")
            raise OSError(self.case.errno, os.strerror(self.case.errno), "(this call was made to fail)")


_write = os.write


def boots(cases: Iterator[Case], files: dict[str, bytes], device: str, scratch: Path) -> Iterator[tuple[Case, Outcome]]:
    """Boot from `files` with the real root on `device`, once for each case. The caller is PID 1 of its own namespaces."""
    for case in cases:
        place = scratch / f"{case.fail}-{case.errno}-{case.pivot}"
        place.mkdir()
        for name in ("console", "kmsg"):
            (place / name).touch()
        read, write = os.pipe()
        child = namespace.fork(lambda: _boot(case, files, device, place, write))  # noqa: B023 - it runs at once
        os.close(write)
        status = _status(child)
        failed = os.read(read, 4096).decode()
        os.close(read)
        console, log = ((place / name).read_text(errors="replace") for name in ("console", "kmsg"))
        yield case, Outcome(ENDS.get(status, f"crashed with status {status}"), console, log, failed)


def _status(child: int) -> int:
    """The exit status of a child, which has LIMIT seconds."""
    watched = os.pidfd_open(child)
    if not select.select([watched], [], [], LIMIT)[0]:
        os.kill(child, 9)
    os.close(watched)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _boot(case: Case, files: dict[str, bytes], device: str, place: Path, note: int) -> None:
    namespace.unshare(namespace.CLONE_NEWNS)
    own = _initramfs(files, device, place)
    delete = switch_root.delete_contents

    def delete_contents(directory: int) -> int:
        assert os.fstat(directory).st_dev == own, "this is not the tmpfs of the test"
        return delete(directory)

    def pivot_root(new_root: str, put_old: str) -> None:
        raise OSError(22, os.strerror(22), new_root)

    switch_root.delete_contents = delete_contents
    if not case.pivot:
        libc.pivot_root = pivot_root
    pyudev_libraries.find_library = standins.SONAMES.get
    libc.finit_module = lambda fd, parameters: None
    end = os._exit
    os.execve = lambda *arguments: end(EXECUTED)
    libc.reboot = lambda command: end(REBOOTED)
    signals.pause = lambda: end(STOOD_STILL)
    os.getpid = lambda: 1
    sys.argv = ["/init"]
    faults = Faults(case, note)
    for owner, name in _CALLS:
        faults.wrap(owner, name)
    faults.armed = True
    main.main()
    end(RETURNED)


def _initramfs(files: dict[str, bytes], device: str, place: Path) -> int:
    """Make a tmpfs with these files this process's root, its /proc and /dev mounted; returns its device number."""
    root = namespace.tmpfs(place / "root")
    for name, content in files.items():
        path = Path(f"{root}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("proc", "dev", "sysroot"):
        os.mkdir(f"{root}/{name}")
    libc.mount("proc", f"{root}/proc", "proc")
    libc.mount(f"{root}/cmdline", f"{root}/proc/cmdline", None, libc.MS_BIND)
    libc.mount("tmpfs", f"{root}/dev", "tmpfs")
    os.mknod(f"{root}{device}", 0o060600, Path(device).stat().st_rdev)
    for name in ("console", "kmsg"):
        Path(f"{root}/dev/{name}").touch()
        libc.mount(str(place / name), f"{root}/dev/{name}", None, libc.MS_BIND)
    settings = f"{root}/proc/sys/kernel/printk_devkmsg"
    libc.mount("/dev/null", settings, None, libc.MS_BIND)
    fd = os.open(place / "console", os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)
    return namespace.become_root(root)


def everything_imported() -> None:
    """Import what a boot imports when it needs it: in the new root there is no Python."""
    for found in pkgutil.walk_packages(rootfall.__path__, "rootfall."):
        if not found.name.endswith(("__main__", "rootfall.prove")):
            __import__(found.name)
    config.parse(b"version: 1\nboot: {root: {device: LABEL=x}}\n", "the import")
    for name in ("udev", "blkid"):
        ctypes.CDLL(standins.SONAMES[name])


Run = Callable[[Callable[[], None]], None]
