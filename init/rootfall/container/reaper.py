# SPDX-License-Identifier: MIT
"""PID 1 of a container: reaps what becomes its child, passes signals on to the command, ends with the command's status.

When it ends the kernel kills whatever is left in the namespace (pid_namespaces(7)). Its signals are blocked from before it
was started, so none is lost: one that is blocked is not ignored, not even for PID 1. It executes nothing and opens nothing.
"""

import os

from rootfall.linux import signals

# What a terminal would send to all of its foreground process group, and what goes to the command alone.
_TO_GROUP = {signals.SIGINT, signals.SIGQUIT, signals.SIGWINCH, signals.SIGCONT, signals.SIGTSTP}


def reap(command: int, children: int = -1) -> int:
    """Wait for `command`, a child that leads a session of its own; returns its exit status, as a shell has it.

    `children` is open on /proc/self/task/TID/children where there is no PID namespace that would end with us.
    """
    waited = {signals.SIGCHLD, signals.LAUNCHER_GONE, *signals.FORWARDED}
    status = None
    while status is None:
        number = signals.wait(waited)
        if number == signals.SIGCHLD:
            status = reaped(command)
        elif number == signals.LAUNCHER_GONE:
            status = 128 + signals.SIGKILL
        else:
            pass_on(command, number)
    if children >= 0:
        kill_all(children)
    return status


def reaped(command: int) -> int | None:
    """Reap all that has ended; the command's exit status, if it has."""
    ended, status = os.waitpid(-1, os.WNOHANG)
    while ended and ended != command:
        ended, status = os.waitpid(-1, os.WNOHANG)
    return signals.exit_status(status) if ended else None


def kill_all(children: int) -> None:
    """Kill our children, and theirs, who become ours (PR_SET_CHILD_SUBREAPER), until there is none."""
    while pids := os.pread(children, 65536, 0).split():
        for pid in pids:
            os.kill(int(pid), signals.SIGKILL)
        os.waitpid(-1, 0)


def pass_on(command: int, number: int) -> None:
    """Send a signal to the command, or to its process group.

    To stop is an order here: the default of SIGTSTP is to do nothing where, as in here, no shell is left that could continue.
    """
    sent = signals.SIGSTOP if number == signals.SIGTSTP else number
    if number in _TO_GROUP:
        try:
            os.killpg(command, sent)
            return
        except ProcessLookupError:
            pass  # it has only just been forked, and leads no group yet: it alone
    os.kill(command, sent)  # if it has ended: it is there until it is reaped, which ends us
