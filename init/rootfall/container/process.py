# SPDX-License-Identifier: MIT
"""The command of a container: privileges given up, then executed by a reaper that is PID 1, or as PID 1 itself.

The launcher's half waits for it, passes signals on, and turns how it ended into an exit status.
"""

import os

from rootfall.container import failure
from rootfall.container.model import Process
from rootfall.errors import ContainerError
from rootfall.linux import namespaces, signals

_SIGKILL = 9
NOT_EXECUTABLE, NOT_FOUND = 126, 127


class Terminal:
    """The pseudoterminal of a container with `terminal`."""


def open_terminal(process: Process) -> Terminal | None:
    """Open a pty for the command, where it wants one."""
    return None


def die_with_parent() -> None:
    """PR_SET_PDEATHSIG: when the launcher goes, PID 1 goes, and everything in its namespace with it."""
    namespaces.prctl(namespaces.PR_SET_PDEATHSIG, _SIGKILL)


def hand_over(process: Process, say: int, go: int, terminal: Terminal | None) -> int:
    """Become the command, or fork it and reap until it ends; returns the exit status for PID 1. Raises ContainerError."""
    if process.as_pid1:
        execute(process)
    pid = os.fork()
    if pid == 0:
        try:
            execute(process)
        except ContainerError as error:
            failure.tell(say, error)
            os._exit(error.status)
    os.close(say)
    while True:
        ended, status = os.wait()
        if ended == pid:
            return exit_status(status)


def execute(process: Process) -> None:
    """Give up privileges and execute the command. Raises ContainerError with status 126 or 127."""
    namespaces.close_on_exec_from(3 + process.preserve_fds)
    namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(process.cwd)
    signals.reset()
    environment = dict(each.split("=", 1) for each in process.env)
    errno = 2
    for path in candidates(process.args[0], environment.get("PATH", "")):
        try:
            os.execve(path, process.args, environment)
        except OSError as error:
            if error.errno not in (2, 20):
                errno = error.errno or 0
    fault = ContainerError("execute", process.args[0], errno=errno)
    fault.status = NOT_FOUND if errno == 2 else NOT_EXECUTABLE
    raise fault


def candidates(name: str, path: str) -> tuple[str, ...]:
    """The files that execvp(3) would try; not os.execvpe, which imports, and the root is another one by now."""
    return (name,) if "/" in name else tuple(f"{each or '.'}/{name}" for each in path.split(":"))


def wait(pid: int, pidfd: int, let_go: int, terminal: Terminal | None, started: bool) -> int:
    """In the launcher: wait for the first process; the exit status of the command."""
    return exit_status(os.waitpid(pid, 0)[1])


def exit_status(status: int) -> int:
    """What a shell would say: the exit status, or 128 + the signal's number."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
