# SPDX-License-Identifier: MIT
"""The launcher while its container starts and runs: it waits, passes signals on, stops and continues together with it.

Signals are blocked from before there is anything to clean up until the end, and read from a descriptor (signalfd(2)): none is
lost, and none ends the launcher with its work undone but SIGKILL, which the container does not outlive (PR_SET_PDEATHSIG).
"""

import os
import select
import sys

from rootfall.container import failure
from rootfall.errors import ContainerError
from rootfall.linux import libc, signals
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.shutdown import Shutdown

_END = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
_SIGINFO = 128  # bytes of struct signalfd_siginfo, which begins with the signal's number


class First(NamedTuple):
    """The first process of a container: its pid, a pidfd or -1, whether it was born in its cgroup, and how it is stopped."""

    pid: int
    pidfd: int
    in_cgroup: bool = False
    stop: int = signals.SIGTSTP  # the reaper knows what is meant; an init would not even be stopped by it
    shutdown: "Shutdown | None" = None  # of an init: what becomes of the signals that the launcher gets


def hold_signals() -> int:
    """Block what is passed on, and SIGCHLD; returns the descriptor to read them from. What was ignored stays ignored."""
    ours = (signals.SIGCHLD, signals.SIGALRM)
    numbers = (*ours, *(each for each in signals.FORWARDED if not signals.ignored(each)))
    signals.set_default(signals.SIGCHLD)  # ignored, it would take the exit status with it
    signals.block((*ours, *signals.FORWARDED))
    return libc.signalfd(numbers)


def next_signal(held: int) -> int:
    """The next signal; waits for it."""
    return int.from_bytes(os.read(held, _SIGINFO)[:4], sys.byteorder)


def until_started(first: First, hear: int, held: int) -> ContainerError | None:
    """Wait until the command is executed, or is not, and say why. A signal that ends, during set-up, ends the container."""
    poll = select.poll()
    poll.register(hear, select.POLLIN)
    poll.register(held, select.POLLIN)
    said, ended_by = b"", 0
    while True:
        if hear in dict(poll.poll()):
            data = os.read(hear, 65536)
            if not data:
                break
            said += data
            continue
        number = next_signal(held)
        if number in _END and not failure.is_set_up(said):
            ended_by = number
            signals.send(first.pid, first.pidfd, signals.SIGKILL)
        else:
            pass_on(first, number)  # pending there until somebody waits for it
    os.close(hear)
    fault = failure.parse(said)
    if ended_by:
        fault = ContainerError("start", "the container", seen=f"signal {ended_by} while it was set up")
        fault.status = 128 + ended_by
    return fault


def until_ended(first: First, held: int) -> int:
    """Wait for the first process, passing signals on; returns its exit status."""
    while True:
        if (status := ended(first)) is not None:
            return status
        pass_on(first, next_signal(held))


def pass_on(first: First, number: int) -> None:
    """What the launcher does about a signal: the first process gets it, or is told what it means to an init."""
    if number == signals.SIGTSTP:
        stop_together(first)
    elif first.shutdown is not None and number != signals.SIGCHLD:
        first.shutdown.signalled(number)
    elif number != signals.SIGCHLD:
        signals.send(first.pid, first.pidfd, number)


def ended(first: First) -> int | None:
    """The exit status of the first process, once it has ended."""
    pid, status = os.waitpid(first.pid, os.WNOHANG)
    return signals.exit_status(status) if pid else None


def stop_together(first: First) -> None:
    """Ctrl-Z: the container stops, then we do; whoever continues us continues it.

    Where nobody could (an orphaned process group) the kernel does not stop us, and the container goes on at once.
    """
    signals.send(first.pid, first.pidfd, first.stop)
    os.kill(os.getpid(), signals.SIGTSTP)
    signals.unblock((signals.SIGTSTP,))  # here we stop
    signals.block((signals.SIGTSTP,))
    signals.send(first.pid, first.pidfd, signals.SIGCONT)
