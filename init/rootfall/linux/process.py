# SPDX-License-Identifier: MIT
"""Programs that PID 1 runs, without `import subprocess`: posix_spawn(3), pidfd_open(2), waitpid(2).

Each is the leader of a session of its own, so that it can be ended with all that it started; its input is /dev/null. Every
wait has an end. Imported by hooks only.
"""

import os
import select
import time

from rootfall.cmdline import Cmdline, init_environment
from rootfall.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_GRACE = 5.0  # seconds that a killed process may take to end
_LOOK = 0.01  # seconds between two looks at processes that have been killed
_MOST_WORDS = 2000  # bytes of a program's words that are kept: its last


class Process:
    """A running child of PID 1 that leads a session."""

    def __init__(self, pid: int) -> None:
        """Raises OSError where there is none."""
        self.pid = pid
        self.status: int | None = None
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        """Readable when it has ended (poll(2))."""
        return self._fd

    def wait(self, timeout: float) -> int | None:
        """Its exit status (minus the signal's number) when it ends within `timeout` seconds; None when it runs on."""
        if self.status is None:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if poll.poll(timeout * 1000):
                self._reap()
        return self.status

    def stop(self, timeout: float) -> bool:
        """Ask it to end (SIGTERM); kill it with its whole session after `timeout` seconds. Whether it ended by itself."""
        signals.send(self.pid, -1, signals.SIGTERM)
        by_itself = self.wait(timeout) is not None
        signals.send(-self.pid, -1, signals.SIGKILL)  # what it left behind
        self.wait(_GRACE)
        self._reap_session()
        return by_itself

    def _reap_session(self) -> None:
        """PID 1 inherits what a killed program leaves; what hangs in the kernel is left to the next PID 1."""
        end = time.monotonic() + _GRACE
        try:
            while time.monotonic() < end:
                if os.waitpid(-self.pid, os.WNOHANG)[0] == 0:
                    select.poll().poll(_LOOK * 1000)
        except ChildProcessError:
            pass  # none is left

    def _reap(self) -> None:
        try:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # the emergency shell reaps whatever ends
            self.status = 0
        os.close(self._fd)


def start(argv: "Sequence[str]", environment: "Mapping[str, str] | None" = None, output: int = -1) -> Process:
    """Start a program; what it prints goes to the descriptor `output`, or nowhere. Raises OSError: there is none, above all."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        target = null if output < 0 else output
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), *((os.POSIX_SPAWN_DUP2, target, fd) for fd in (1, 2))]
        given = init_environment(os.environ, Cmdline()) | {"PATH": PATH} | dict(environment or {})
        return Process(os.posix_spawn(argv[0], list(argv), given, file_actions=actions, setsid=True, setsigmask=()))
    finally:
        os.close(null)


def run(
    argv: "Sequence[str]", timeout: float, environment: "Mapping[str, str] | None" = None
) -> tuple[int | None, str]:
    """Run a program to its end: the exit status (None: it was killed after `timeout` seconds), and its last words."""
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        process = start(argv, environment, output)
        status = process.wait(timeout)
        if status is None:
            process.stop(0)
        size = os.fstat(output).st_size
        words = os.pread(output, _MOST_WORDS, max(0, size - _MOST_WORDS))
    finally:
        os.close(output)
    return status, " ".join(words.decode(errors="replace").split())
