# SPDX-License-Identifier: MIT
"""Runs a function in a child with namespaces of its own, on a tmpfs of its own: this machine's mounts are never at risk.

The child is forked, not started, so that a test is a plain function with a closure. Once the child has left the host's root,
nothing can be imported there: that is the situation of PID 1, and part of what is tested.
"""

import ctypes
import os
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from rootfall.linux import libc

LIMIT = 120.0  # seconds that a child has
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _libc.unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")


def enter() -> None:
    """A mount and a PID namespace (and a user namespace, for a user who is not root); the caller's children are in it."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWNS | CLONE_NEWPID | (CLONE_NEWUSER if uid else 0))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)


def why_not() -> str:
    """Why this machine gives no namespaces; empty when it does."""
    try:
        run(lambda: None)
    except AssertionError as error:
        return str(error).strip().splitlines()[-1]
    return ""


def run(test: Callable[[], None], limit: float = LIMIT) -> None:
    """Run `test` as PID 1 of new namespaces; AssertionError with its traceback when it raises, in `limit` seconds."""
    read, write = os.pipe()
    child = fork(lambda: _in_namespaces(test, write))
    os.close(write)
    said = _read(read, child, limit)
    os.close(read)
    _, status = os.waitpid(child, 0)
    if said != b"done":
        raise AssertionError(said.decode(errors="replace") or f"the child ended with status {status}")


def _in_namespaces(test: Callable[[], None], write: int) -> None:
    try:
        enter()
    except OSError:
        os.write(write, traceback.format_exc().encode())
        return
    _, status = os.waitpid(fork(lambda: _report(test, write)), 0)
    if status:
        os.write(write, f"PID 1 of the namespace ended with status {status}".encode())


def _report(test: Callable[[], None], write: int) -> None:
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives the test
    try:
        test()
    except BaseException:
        os.write(write, traceback.format_exc().encode(errors="replace")[:60000])
    else:
        os.write(write, b"done")


def fork(work: Callable[[], None]) -> int:
    """Fork a child that does this and ends, with a traceback on its standard error where it fails; returns its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on fork(2) with threads; ours hold no locks
        pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def _read(fd: int, child: int, limit: float) -> bytes:
    said = b""
    while select.select([fd], [], [], limit)[0]:
        data = os.read(fd, 65536)
        if not data:
            return said
        said += data
    os.kill(child, signal.SIGKILL)
    return said + f"\nno answer within {limit:g} s".encode()


def tmpfs(where: Path | str) -> str:
    """Mount an empty tmpfs and return where."""
    Path(where).mkdir(exist_ok=True)
    libc.mount("tmpfs", str(where), "tmpfs", 0, "mode=0755")
    return str(where)


def become_root(directory: str) -> int:
    """Make a mount point the root of this process and let go of the host's; returns its device number."""
    os.chdir(directory)
    libc.pivot_root(".", ".")
    libc.umount2(".", libc.MNT_DETACH)
    os.chdir("/")
    return os.stat("/").st_dev
