# SPDX-License-Identifier: MIT
"""What the boot did and when: spans on CLOCK_MONOTONIC, which counts from the kernel's start.

Written as JSON by hand: the json module costs more than the rest of this program's own code.
"""

import time

from rootfall.record import NamedTuple

_TO_A_LINE = 12  # spans in one record of the kernel's log


class Span(NamedTuple):
    """One thing that took time: nanoseconds since the kernel started; `detail` says with what outcome."""

    name: str
    start: int
    end: int
    detail: str = ""


class Timeline:
    """The spans of this boot, in the order in which they ended."""

    def __init__(self) -> None:
        """Start empty, now."""
        self.spans: list[Span] = []
        self.started = time.monotonic_ns()

    def add(self, name: str, start: int, detail: str = "") -> None:
        """A span that began at `start` (time.monotonic_ns()) and ends now."""
        self.spans.append(Span(name, start, time.monotonic_ns(), detail))

    def lines(self) -> tuple[str, ...]:
        """For the kernel's log, whose records are short: the spans, start and end in seconds since the kernel started."""
        words = [f"{s.name} {s.start / 1e9:.3f}-{s.end / 1e9:.3f}" for s in self.spans]
        return tuple(", ".join(words[i : i + _TO_A_LINE]) for i in range(0, len(words), _TO_A_LINE))

    def to_json(self) -> str:
        """`{"clock": "monotonic", "unit": "ns", "started", "spans": [{"name", "start", "end", "detail"}, …]}`.

        `started` is when this program's main began: before it came the kernel, unpacking the image, starting Python.
        """
        spans = ",\n  ".join(
            f'{{"name": {quote(s.name)}, "start": {s.start}, "end": {s.end}, "detail": {quote(s.detail)}}}'
            for s in self.spans
        )
        return f'{{"clock": "monotonic", "unit": "ns", "started": {self.started}, "spans": [\n  {spans}\n]}}\n'


def quote(text: str) -> str:
    """A JSON string (RFC 8259); lone surrogates, the undecodable bytes of names, become `?`."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    safe = "".join(c if c >= " " else f"\\u{ord(c):04x}" for c in text)
    return '"' + safe.encode(errors="replace").decode() + '"'
