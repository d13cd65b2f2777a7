# SPDX-License-Identifier: MIT
"""Reads the timeline that PID 1 leaves in /run/rootfall/timeline.json: what the boot did and when, on CLOCK_MONOTONIC.

That clock counts from the kernel's start (clock_gettime(2)), so 0 is the beginning of every timeline. A console log in
which the file is framed as tests/guest/witness.c prints it will do as well. Refuses what is neither, and says where.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rootfall.errors import RootfallError

BEFORE = "kernel, unpacking, Python"
MODULE = "module "
_LIMIT = 16 << 20  # bytes; a timeline has about 100 for each span
_LATEST = 1 << 63  # the clock is a signed 64-bit number of nanoseconds
_FRAME = '{"file": ["timeline.json", '


class TimelineError(RootfallError):
    """A file that is no timeline, or a drawing that cannot be written; nothing was written."""


@dataclass(frozen=True, slots=True)
class Span:
    """One thing that took time, in nanoseconds since the kernel's start."""

    name: str
    start: int
    end: int
    detail: str = ""

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return self.end - self.start

    @property
    def is_module(self) -> bool:
        """Whether this is a module being loaded, in a thread of its own: it waits for nothing once it has begun."""
        return self.name.startswith(MODULE)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The spans of one boot by start, of two that start together the longer first; there is at least one."""

    source: str
    spans: tuple[Span, ...]

    @property
    def total(self) -> int:
        """Nanoseconds from the kernel's start to the end of the last span."""
        return max(span.end for span in self.spans)


def make(source: str, spans: tuple[Span, ...]) -> Timeline:
    """A timeline of spans in any order."""
    return Timeline(source, tuple(sorted(spans, key=lambda span: (span.start, -span.end))))


def read(path: str) -> Timeline:
    """The timeline in a file; `-` is standard input. Raises TimelineError."""
    source = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(_LIMIT + 1)
    except OSError as error:
        raise TimelineError("read the timeline", source, errno=error.errno or 0) from None
    if len(data) > _LIMIT:
        raise _no_timeline(source, f"more than {_LIMIT >> 20} MiB")
    return parse(data, source)


def parse(data: bytes, source: str) -> Timeline:
    """The timeline in the text of a file; `source` names it in messages. Raises TimelineError."""
    text = data.decode("utf-8", "replace")
    frame = _framed(text, source)
    return _timeline(_loads(text if frame is None else frame, source), source)


def _framed(console: str, source: str) -> str | None:
    """The file that a witness printed on a console, as latin-1 escapes; None when there is none."""
    for line in console.splitlines():
        _, found, rest = line.partition(_FRAME)
        if found:
            text, _ = _decoded(rest, source)
            return text.encode("latin-1", "replace").decode("utf-8", "replace") if isinstance(text, str) else ""
    return None


def _decoded(text: str, source: str) -> tuple[object, int]:
    try:
        return json.JSONDecoder().raw_decode(text)
    except ValueError:
        raise _no_timeline(source, "a console log in which the line with timeline.json is cut short") from None


def _loads(text: str, source: str) -> object:
    if not text.strip():
        raise _no_timeline(source, "an empty file")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _no_timeline(f"{source}:{error.lineno}:{error.colno}", f"no JSON ({error.msg})") from None
    except (ValueError, RecursionError):  # a number of 5000 digits; brackets 1000 deep
        raise _no_timeline(source, "no JSON that can be read") from None


def _timeline(value: object, source: str) -> Timeline:
    if not isinstance(value, dict) or "spans" not in value:
        raise _no_timeline(source, 'JSON without "spans"')
    for key, want in (("clock", "monotonic"), ("unit", "ns")):
        if value.get(key) != want:
            raise _no_timeline(source, f'"{key}" is {_shown(value.get(key))}, not "{want}"')
    records = value["spans"]
    if not isinstance(records, list) or not records:
        raise _no_timeline(source, '"spans" holds no span')
    spans = tuple(_span(record, f"spans[{n}]", source) for n, record in enumerate(records))
    if "started" in value:
        started = _moment(value["started"], '"started"', source)
        spans = (Span(BEFORE, 0, started, "until PID 1's main began"), *spans)
    return make(source, spans)


def _span(record: Any, place: str, source: str) -> Span:
    if not isinstance(record, dict):
        raise _no_timeline(source, f"{place} is {_shown(record)}, not an object")
    name, detail = record.get("name"), record.get("detail", "")
    if not isinstance(name, str) or not isinstance(detail, str):
        raise _no_timeline(source, f"{place} has no name, or a detail that is no text")
    start = _moment(record.get("start"), f"{place}.start", source)
    end = _moment(record.get("end"), f"{place}.end", source)
    if end < start:
        raise _no_timeline(source, f"{place} ({_shown(name)}) ends before it starts")
    return Span(name, start, end, detail)


def _moment(value: object, place: str, source: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LATEST:
        raise _no_timeline(source, f"{place} is {_shown(value)}, not nanoseconds")
    return value


def _shown(value: object) -> str:
    """A value of the file, cut to fit a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _no_timeline(source: str, seen: str) -> TimelineError:
    hint = "a timeline is /run/rootfall/timeline.json of a machine that rootfall booted"
    return TimelineError("read a timeline from", source, seen=seen, hint=hint)
