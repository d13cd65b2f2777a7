# SPDX-License-Identifier: MIT
"""The guest's serial console: all of it kept, waited on with a deadline and a name.

A thread reads whatever the guest writes, at once, so that a guest is never held up by a reader who is busy elsewhere,
and so that nothing is lost when the guest goes away. "Kernel panic" ends every wait. Line ends become "\\n".
"""

import codecs
import contextlib
import io
import re
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from rootfall_qemu.errors import ExpectError, GuestPanic

Seen = TypeVar("Seen")

PANIC = "Kernel panic - not syncing"
END_OF_PANIC = "---[ end Kernel panic"
# After its first line a panicking kernel prints registers and a call trace, which takes a loaded machine a moment.
PANIC_TEXT_SECONDS = 3.0
LINES_SHOWN = 30


class Console:
    """The console on a connected socket. `mirror`, if given, is called in the reader with the bytes as they come."""

    def __init__(self, connection: socket.socket, mirror: Callable[[bytes], None] | None = None) -> None:
        """Reading starts now; the socket is the console's to close."""
        self._socket = connection
        self._mirror = mirror
        self._chunks: list[str] = []
        self._position = 0
        self._panicked = False
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="guest console", daemon=True)
        self._thread.start()

    @property
    def log(self) -> str:
        """Everything that the guest has written so far."""
        with self._news:
            self._chunks = ["".join(self._chunks)]
            return self._chunks[0]

    @property
    def ended(self) -> bool:
        """Whether the other side (QEMU) is gone; `log` is complete then."""
        return self._ended

    @property
    def panic(self) -> tuple[str, ...]:
        """What the kernel has said from the line with "Kernel panic" on; empty when it did not panic."""
        log = self.log
        found = log.find(PANIC)
        return tuple(log[log.rfind("\n", 0, found) + 1 :].splitlines()) if found >= 0 else ()

    def expect(self, pattern: str | re.Pattern[str], timeout: float, what: str = "") -> re.Match[str]:
        """Wait until `pattern` (a plain string, or a compiled regular expression) is on the console, and pass it.

        The search goes on where the last one ended. Raises GuestPanic, or ExpectError after `timeout` seconds or when
        QEMU is gone; `what` names the thing in these errors (else the pattern does).
        """
        regex = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        found = self._wait(lambda: regex.search(self.log, self._position), timeout)
        if found is None:
            raise self._failure(what or repr(pattern if isinstance(pattern, str) else pattern.pattern), timeout)
        self._position = found.end()
        return found

    def wait_end(self, timeout: float, what: str = "the end of the machine") -> None:
        """Wait until QEMU is gone; raises as `expect` does, and GuestPanic for a panic before the end too."""
        self._wait(lambda: None, timeout)
        if self._panicked or not self._ended:
            raise self._failure(what, timeout)

    def send(self, text: str) -> None:
        """Type `text` at the guest's console, as it is: a newline is the caller's to give."""
        self._socket.sendall(text.encode())

    def tail(self, lines: int = LINES_SHOWN) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.splitlines()[-lines:])

    def close(self) -> None:
        """Read what is left of a QEMU that is gone (or stop reading one that is not); the log stays."""
        self._thread.join(PANIC_TEXT_SECONDS if self._thread.is_alive() else None)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
        last = ""
        while data := self._received():
            if self._mirror:
                self._mirror(data)
            text = decoder.decode(data)
            with self._news:
                self._chunks.append(text)
                self._panicked = self._panicked or PANIC in last + text
                self._news.notify_all()
            last = (last + text)[-len(PANIC) :]
        with self._news:
            self._chunks.append(decoder.decode(b"", final=True))
            self._ended = True
            self._news.notify_all()

    def _received(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:  # a killed QEMU resets the connection
            return b""

    def _wait(self, look: Callable[[], Seen | None], timeout: float) -> Seen | None:
        """What `look` sees, as soon as it sees something; None at the deadline, a panic or the end."""
        seen: Seen | None = None

        def over() -> bool:
            nonlocal seen
            seen = look()
            return seen is not None or self._panicked or self._ended

        with self._news:
            self._news.wait_for(over, timeout)
        return seen

    def _failure(self, what: str, timeout: float) -> ExpectError | GuestPanic:
        if self._panicked:
            with self._news:
                self._news.wait_for(lambda: self._ended or END_OF_PANIC in self.log, PANIC_TEXT_SECONDS)
            return GuestPanic(what, self.panic)
        why = "the machine was gone first" if self._ended else f"not within {timeout:g} s"
        seen = f"the last lines of the console:\n{self.tail()}" if self.log else "nothing at all on the console"
        return ExpectError(f"{what} ({why})", seen=seen, timed_out=not self._ended)
