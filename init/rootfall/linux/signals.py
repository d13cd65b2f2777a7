# SPDX-License-Identifier: MIT
"""Signals without `import signal`, which brings enum for the sake of pretty names: the C module underneath (signal(7))."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as c_signal
    from collections.abc import Callable, Iterable
else:
    import _signal as c_signal

SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGALRM, SIGTERM = 1, 2, 3, 9, 14, 15
SIGUSR1, SIGUSR2, SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGWINCH = (
    int(each)
    for each in (
        c_signal.SIGUSR1, c_signal.SIGUSR2, c_signal.SIGCHLD, c_signal.SIGCONT, c_signal.SIGSTOP, c_signal.SIGTSTP,
        c_signal.SIGWINCH,
    )
)  # fmt: skip
LAUNCHER_GONE = 34  # SIGRTMIN, which nobody means for us
# What a launcher passes on to who runs in its stead.
FORWARDED = (SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP)


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


def ignored(number: int) -> bool:
    """Whether who started us wants this signal ignored, as nohup does."""
    return c_signal.getsignal(number) == c_signal.SIG_IGN


def set_default(number: int) -> None:
    """Back to the default action."""
    c_signal.signal(number, c_signal.SIG_DFL)


def block(numbers: "Iterable[int]") -> None:
    """Hold these back, in this thread and in its children: they are pending until somebody waits for them."""
    c_signal.pthread_sigmask(c_signal.SIG_BLOCK, numbers)


def unblock(numbers: "Iterable[int]") -> None:
    """Let these come, those first that are pending."""
    c_signal.pthread_sigmask(c_signal.SIG_UNBLOCK, numbers)


def wait(numbers: "Iterable[int]") -> int:
    """sigwait(3): the next of these, which must be blocked."""
    return int(c_signal.sigwait(numbers))


def send(pid: int, pidfd: int, number: int) -> None:
    """pidfd_send_signal(2), or kill(2) where `pidfd` is -1, also of a group (`-pid`); one that has ended is no error."""
    try:
        if pidfd >= 0:
            c_signal.pidfd_send_signal(pidfd, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        pass


def exit_status(status: int) -> int:
    """What a shell makes of a status of wait(2): the exit status, or 128 + the signal's number."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def alarm(seconds: int) -> None:
    """alarm(2): SIGALRM in so many seconds."""
    c_signal.alarm(seconds)


def pause() -> None:
    """pause(2)."""
    c_signal.pause()
