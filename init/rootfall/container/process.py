# SPDX-License-Identifier: MIT
"""The command of a container: privileges given up, then executed by a reaper that is PID 1, or as PID 1 itself.

Nothing of the host's reaches it but the descriptors 0 to 2 and those that are asked for; its environment is exactly the one in
the record. It always leads a session of its own: in the caller's, it could type into his terminal (TIOCSTI, CVE-2017-5226).
"""

import os

from rootfall.container import failure, namespaces, privileges, program, reaper
from rootfall.container.model import Process
from rootfall.errors import ContainerError
from rootfall.linux import namespaces as calls
from rootfall.linux import signals
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_EBADF = 9


class Ties(NamedTuple):
    """What the first process has of the host: the launcher's two pipes, its own executable, a tty, a seccomp program.

    `children` is what `reaper.reap` wants, or -1.
    """

    go: int
    say: int
    own: os.stat_result
    tty: int = -1
    bpf: bytes | None = None
    children: int = -1


def complete_descriptors(preserve: int) -> None:
    """Open /dev/null for those of 0 to 2 that are closed, before anything else gets their numbers.

    Raises ContainerError where one of the `preserve` that are to be passed on is closed.
    """
    for fd in range(3 + preserve):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno != _EBADF:
                raise
            if fd > 2:
                hint = f"--preserve-fds {preserve} passes on 3 to {2 + preserve}: each must be open"
                raise ContainerError("pass on", f"descriptor {fd}", seen="it is not open", hint=hint) from None
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # the lowest number that is free


def adjust_oom_score(pid: int, score: int | None) -> None:
    """Write /proc/PID/oom_score_adj (proc(5)). Raises ContainerError."""
    if score is None:
        return
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError as error:
        hint = "from -1000 to 1000; below the caller's own takes root"
        raise ContainerError("set", "oom_score_adj", errno=error.errno or 0, seen=str(score), hint=hint) from error


def hand_over(process: Process, ties: Ties) -> int:
    """Become the command, or fork it and reap until it ends; returns the exit status for PID 1. Raises ContainerError."""
    if process.as_pid1:
        execute(process, ties)
    command = os.fork()
    if command == 0:
        try:
            os.setsid()
            execute(process, ties)
        except BaseException as error:
            failure.tell(ties.say, error)
            os._exit(getattr(error, "status", ContainerError.status))
    # Who reads from the command is to see its end, not ours.
    calls.close_range(0, ties.children - 1 if ties.children >= 0 else calls.LAST)
    calls.close_range(ties.children + 1)
    privileges.give_up_all_but_kill()
    return reaper.reap(command, ties.children)


def execute(process: Process, ties: Ties) -> "NoReturn":
    """Give up privileges and execute the command. Raises ContainerError with status 126 or 127 where it cannot be executed."""
    if ties.tty >= 0:
        take_terminal(ties.tty, control=not process.consoles)  # an init leaves that to its gettys
    early, late = (None, ties.bpf) if process.no_new_privileges else (ties.bpf, None)
    privileges.give_up(process, early)
    if process.as_pid1:
        namespaces.tie_to_launcher(ties.go)  # a change of ids undid it
    # The pipe `say` is left, to tell what goes wrong; execve(2) closes it.
    calls.close_range(3 + process.preserve_fds, ties.say - 1)
    calls.close_range(ties.say + 1)
    enter_directory(process.cwd)
    signals.reset()
    program.execute(process.args, dict(each.split("=", 1) for each in process.env), ties.own, late)


def take_terminal(tty: int, *, control: bool) -> None:
    """The tty as descriptors 0 to 2 and, to `control`, as controlling terminal (login_tty(3))."""
    from rootfall.linux import tty as terminals

    if control:
        terminals.control(tty)
    for fd in range(3):
        os.dup2(tty, fd)


def enter_directory(path: str) -> None:
    """chdir(2), and a look whether that is inside of the root (CVE-2024-21626). Raises ContainerError."""
    try:
        os.chdir(path)
        os.getcwd()
    except OSError as error:
        hint = "it must be a directory of the container's root that its user may enter"
        raise ContainerError("enter", f"the working directory {path}", errno=error.errno or 0, hint=hint) from error
