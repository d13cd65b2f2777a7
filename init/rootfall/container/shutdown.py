# SPDX-License-Identifier: MIT
"""How an init that was started as a container comes to its end: asked first, killed after a while, or when asked once more.

It is asked by a signal to PID 1, another one for each init; by whoever ends the launcher (SIGTERM, SIGINT, SIGHUP, SIGQUIT), or
types Ctrl-] three times within a second at its terminal. What else the launcher is sent is not for an init.
"""

import sys
import time

from rootfall.container.model import Stop
from rootfall.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.wait import First

_END = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)
_ESCAPE = 0x1D  # Ctrl-]
_TIMES, _WITHIN = 3, 1.0


class Shutdown:
    """What the launcher of an init does about signals and keys; SIGALRM must be held with the others."""

    def __init__(self, first: "First", stop: Stop) -> None:
        """Nothing is asked for yet."""
        self._first, self._stop = first, stop
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
        signals.send(self._first.pid, self._first.pidfd, self._stop.signal)
        signals.alarm(self._stop.seconds)

    def _kill(self, why: str) -> None:
        print(f"\r\nrootfall: the container is killed: {why}\r", file=sys.stderr)
        signals.send(self._first.pid, self._first.pidfd, signals.SIGKILL)
