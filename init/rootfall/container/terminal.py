# SPDX-License-Identifier: MIT
"""`--tty`: a pseudoterminal for the command, and the launcher's half of it: what is typed goes in, what is shown comes out.

The pty is the container's own where that has a devpts, so that its /dev/pts/N is there, else the host's (pts(4)). Its other end
is taken from the open descriptor (TIOCGPTPEER), never by name (CVE-2025-52565). One loop, no threads; the caller's terminal is
raw meanwhile, and as it was again whichever way this ends.
"""

import _socket
import os
import select
import sys

from rootfall.container import wait
from rootfall.container.model import Container
from rootfall.container.wait import First
from rootfall.errors import ContainerError
from rootfall.linux import libc, signals, tty

_PTMX = (5, 2)  # its device numbers, as all the world knows them
_CHUNK = 4096  # what a pipe takes without blocking, if it takes anything
_END_OF_FILE = b"\x04"  # VEOF, as a terminal has it


class Line:
    """The way of a pty from the first process to the launcher: one end is each's."""

    def __init__(self) -> None:
        """Open it; close-on-exec."""
        self.launcher, self.container = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)

    def send(self, *fds: int) -> None:
        """Pass descriptors on (unix(7), SCM_RIGHTS)."""
        data = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        self.container.sendmsg([b"t"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])
        self.container.close()

    def receive(self, count: int) -> list[int]:
        """The descriptors that were sent."""
        _, messages, _, _ = self.launcher.recvmsg(1, _socket.CMSG_SPACE(4 * count), _socket.MSG_CMSG_CLOEXEC)
        data = b"".join(data for _, _, data in messages)
        return [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)]


def is_inside(container: Container) -> bool:
    """Whether the container has a devpts of its own."""
    return any(each.type in ("dev", "devpts") for each in container.mounts)


def give(line: Line, inside: bool, uid: int) -> int:
    """In the first process: open a pty and send it to the launcher; returns the command's end. Raises ContainerError."""
    path = "/dev/pts/ptmx" if inside else "/dev/ptmx"
    try:
        master, slave = open_pty(path, inside)
    except OSError as error:
        hint = "the container's /dev/pts must be a devpts: mount one, or --dev" if inside else ""
        raise ContainerError(
            "open a terminal by", path, errno=error.errno or 0, seen=error.strerror or "", hint=hint
        ) from error
    try:
        os.fchown(slave, uid, -1)  # so that its user can open it by name
    except OSError:
        pass  # an id that is not mapped: descriptors 0 to 2 are open all the same
    tty.copy_size(_callers(), slave)  # before anybody can ask for it
    line.send(master, slave)
    os.close(master)
    return slave


def _callers() -> int:
    """That of descriptors 0 to 2 which is the caller's terminal, or -1."""
    return next((fd for fd in range(3) if os.isatty(fd)), -1)


def open_pty(path: str, devpts: bool) -> tuple[int, int]:
    """Both ends of a new pseudoterminal (ptmx(4)), close-on-exec. Raises OSError; EXDEV where `path` is something else."""
    master = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    number = os.fstat(master).st_rdev
    if (os.major(number), os.minor(number)) != _PTMX or (
        devpts and libc.statfs_magic(master) != libc.DEVPTS_SUPER_MAGIC
    ):
        os.close(master)
        raise OSError(18, "this is no devpts", path)
    return master, tty.open_peer(master)


def relay(first: First, line: Line, held: int) -> int:
    """In the launcher: relay between the caller's terminal and the pty until the container ends; returns its exit status."""
    line.container.close()
    master, slave = line.receive(2)
    caller = tty.Raw(_callers())
    try:
        caller.enter()
        status = _until_ended(first, master, held, caller)
        os.close(slave)  # it was open so that the pty did not hang up between two users of it
        _drain(master)
        return status
    finally:
        caller.leave()


def _until_ended(first: First, master: int, held: int, caller: tty.Raw) -> int:
    typed, shown, more = b"", b"", True
    status = wait.ended(first)
    while status is None:
        ready = _poll(held, master, wanted=more and not typed, typed=typed, shown=shown)
        if held in ready:
            status = _on_signal(first, wait.next_signal(held), master, caller)
        if 0 in ready:
            typed = _read(0)
            more = bool(typed)
            if first.shutdown is not None:
                first.shutdown.typed(typed)
            typed = typed or _END_OF_FILE
        if 1 in ready:
            shown = _show(shown)
        if ready.get(master, 0) & select.POLLOUT:
            typed = _type(master, typed)
        if ready.get(master, 0) & select.POLLIN:
            shown = _read(master)
    while shown:
        shown = _show(shown)
    return status


def _poll(held: int, master: int, *, wanted: bool, typed: bytes, shown: bytes) -> dict[int, int]:
    """What is ready: one chunk is under way in each direction, and nothing is read before the last one is written."""
    poll = select.poll()
    poll.register(held, select.POLLIN)
    poll.register(master, (0 if shown else select.POLLIN) | (select.POLLOUT if typed else 0))
    if wanted:
        poll.register(0, select.POLLIN)
    if shown:
        poll.register(1, select.POLLOUT)
    return dict(poll.poll())


def _on_signal(first: First, number: int, master: int, caller: tty.Raw) -> int | None:
    """The exit status, if that is what the signal was about."""
    if number == signals.SIGCHLD:
        return wait.ended(first)
    if number == signals.SIGWINCH:
        tty.copy_size(caller.fd, master)
    elif number == signals.SIGTSTP:
        caller.leave()
        wait.stop_together(first)
        caller.enter()
    else:
        wait.pass_on(first, number)
    if number == signals.SIGCONT:
        caller.enter()  # the shell that continued us has its own idea of the terminal
    return None


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # EIO: the terminal is gone; EAGAIN: somebody else was quicker
        return b""


def _type(master: int, data: bytes) -> bytes:
    """Write to the pty; returns what is left."""
    try:
        return data[os.write(master, data) :]
    except BlockingIOError:
        return data


def _show(data: bytes) -> bytes:
    """Write to descriptor 1, waiting until it takes some; returns what is left. What nobody reads any more is dropped."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    poll.poll()
    try:
        return data[os.write(1, data) :]
    except BlockingIOError:
        return data
    except OSError:
        return b""


def _drain(master: int) -> None:
    """What was written before the end, and is not shown yet."""
    while data := _read(master):
        while data:
            data = _show(data)
