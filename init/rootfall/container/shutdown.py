# SPDX-License-Identifier: MIT
"""How an init that was started as a container comes to its end: asked first, killed after a while, or when asked once more.

It is asked by a signal to PID 1, another one for each init; by whoever ends the launcher (SIGTERM, SIGINT, SIGHUP, SIGQUIT), or
types Ctrl-] three times within a second at its terminal. What else the launcher is sent is not for an init.
"""

import sys
import time

from rootfall.container.model import Stop
from rootfall.linux import signals

_END = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
REBOOT = 133  # systemd-nspawn's
_RESTARTED, _WENT_OFF = 128 + signals.SIGHUP, 128 + signals.SIGINT
_ESCAPE = 0x1D  # Ctrl-]
_TIMES, _WITHIN = 3, 1.0


class Shutdown:
    """What the launcher of an init does about signals and keys; SIGALRM must be held with the others."""

    def __init__(self, pid: int, pidfd: int, stop: Stop) -> None:
        """Nothing is asked for yet of the init, by its pid and a pidfd or -1."""
        self._pid, self._pidfd, self._stop = pid, pidfd, stop
        self._asked = False
        self._escapes: list[float] = []

    def signalled(self, number: int) -> None:
        """A signal came to the launcher."""
        if number in _END:
            self.ask()
        elif number == signals.SIGALRM:
            self._kill(f"it did not end within {self._stop.seconds} s")

    def typed(self, data: bytes) -> None:
        """Somebody typed this; it goes to the container all the same."""
        for byte in data:
            if byte != _ESCAPE:
                self._escapes.clear()
                continue
            now = time.monotonic()
            self._escapes = [each for each in self._escapes if now - each < _WITHIN] + [now]
            if len(self._escapes) == _TIMES:
                self._escapes.clear()
                self.ask()

    def ask(self) -> None:
        """Ask the init to end; the second time, do not ask."""
        if self._asked:
            self._kill("asked twice")
            return
        self._asked = True
        signals.send(self._pid, self._pidfd, self._stop.signal)
        signals.alarm(self._stop.seconds)

    def verdict(self, status: int) -> int:
        """The exit status for one of PID 1: how it ended by reboot(2) is told apart by a signal (pid_namespaces(7))."""
        if status == _RESTARTED and not self._asked:
            return REBOOT
        return 0 if status in (_RESTARTED, _WENT_OFF) else status

    def _kill(self, why: str) -> None:
        print(f"\r\nrootfall: the container is killed: {why}\r", file=sys.stderr)
        signals.send(self._pid, self._pidfd, signals.SIGKILL)
