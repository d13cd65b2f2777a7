# SPDX-License-Identifier: MIT
"""What a build says while it runs: a live display on a terminal (rich), plain lines otherwise; and its last word.

It writes to standard error. On a terminal the step under way has a spinner; elsewhere each step is one line, so that a
log of a build can be read.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.status import Status


class Progress(Protocol):
    """Told of each step as it begins, and of what is worth knowing in it."""

    def step(self, text: str) -> None:
        """A new step begins, and the one before has ended."""

    def note(self, text: str) -> None:
        """A fact about the step that is under way."""


class Silent:
    """Says nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Lines:
    """A line for each step and note, on `stream`."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is written to line by line."""
        self._stream = stream

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def step(self, text: str) -> None:
        """`text …` on a line of its own."""
        print(f"{text} ...", file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """`text`, indented."""
        print(f"  {text}", file=self._stream, flush=True)


class Terminal:
    """A spinner at the step under way, and a tick with its time at each that is done."""

    def __init__(self) -> None:
        """Import rich only here: a build that no one watches need not pay for it."""
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._text = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        """Begin the display."""
        self._status = self._console.status("")
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """End the display; the last step is done unless there was an error."""
        self._done("[green]✓[/]" if kind is None else "[red]✗[/]")
        if self._status is not None:
            self._status.stop()

    def step(self, text: str) -> None:
        """Tick off the step before, and show this one."""
        self._done("[green]✓[/]")
        self._text, self._began = text, time.monotonic()
        if self._status is not None:
            self._status.update(text)

    def note(self, text: str) -> None:
        """`text` above the spinner."""
        self._console.print(f"  {text}", markup=False)

    def _done(self, mark: str) -> None:
        if self._text:
            self._console.print(f"{mark} {self._text} [dim]{time.monotonic() - self._began:.2f} s[/]")
            self._text = ""


def display() -> Terminal | Lines:
    """The progress display that suits standard error."""
    return Terminal() if sys.stderr.isatty() else Lines(sys.stderr)


def size(count: int) -> str:
    """A number of bytes for a person: 3.4 MiB."""
    if count < 10240:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"
