# SPDX-License-Identifier: MIT
"""PID 1 of a container: reaps what becomes its child, passes signals on to the command, ends with the command's status.

When it ends the kernel kills whatever is left in the namespace (pid_namespaces(7)). Its signals are blocked from before it
was started, so none is lost: one that is blocked is not ignored, not even for PID 1. It executes nothing and opens nothing.
"""

import os

from rootfall.linux import signals

# What a terminal would send to all of its foreground process group, and what goes to the command alone.
_TO_GROUP = {signals.SIGINT, signals.SIGQUIT, signals.SIGWINCH, signals.SIGCONT, signals.SIGTSTP}


def reap(command: int) -> int:
    """Wait for `command`, a child that leads a session of its own; returns its exit status, as a shell has it."""
    waited = {signals.SIGCHLD, *signals.FORWARDED}
    while True:
        number = signals.wait(waited)
        if number != signals.SIGCHLD:
            pass_on(command, number)
            continue
        ended, status = os.waitpid(-1, os.WNOHANG)
        while ended:
            if ended == command:
                return signals.exit_status(status)
            ended, status = os.waitpid(-1, os.WNOHANG)


def pass_on(command: int, number: int) -> None:
    """Send a signal to the command, or to its process group.

    To stop is an order here: the default of SIGTSTP is to do nothing where, as in here, no shell is left that could continue.
    """
    try:
        if number in _TO_GROUP:
            os.killpg(command, signals.SIGSTOP if number == signals.SIGTSTP else number)
        else:
            os.kill(command, number)
    except ProcessLookupError:
        pass  # it has ended: SIGCHLD is on its way
