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
    """Ignored signals survive execve(2), and Python ignores SIGPIPE and SIGXFSZ: init gets the kernel's defaults."""
    for number in (c_signal.SIGPIPE, c_signal.SIGXFSZ, c_signal.SIGINT):
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
