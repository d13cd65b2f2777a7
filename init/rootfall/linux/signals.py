# SPDX-License-Identifier: MIT
"""Signals without `import signal`, which brings enum for the sake of pretty names: the C module underneath (signal(7))."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as c_signal
    from collections.abc import Callable
else:
    import _signal as c_signal

SIGKILL, SIGTERM = 9, 15  # the same on all architectures


def reset() -> None:
    """All signals back to the default action, also those ignored by who started us: what is ignored survives execve(2)."""
    for number in range(1, c_signal.NSIG):
        # What was ignored when Python started is in its table, too: this asks no kernel.
        if c_signal.getsignal(number) not in (c_signal.SIG_DFL, None):
            c_signal.signal(number, c_signal.SIG_DFL)
    c_signal.pthread_sigmask(c_signal.SIG_SETMASK, ())


def handle(number: int, function: "Callable[[int, object], None]") -> None:
    """sigaction(2): call `function` when the signal comes; execve(2) undoes it."""
    c_signal.signal(number, function)


def send(pid: int, number: int) -> None:
    """kill(2) of a process, or of the group `-pid`; one that has gone is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def pause() -> None:
    """pause(2)."""
    c_signal.pause()
