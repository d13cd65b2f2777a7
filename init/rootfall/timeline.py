# SPDX-License-Identifier: MIT
"""What the boot did and when: spans on CLOCK_MONOTONIC, which counts from the kernel's start.

Written as JSON by hand: the json module costs more than the rest of this program's own code.
"""

import time

from rootfall.record import NamedTuple


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
