# SPDX-License-Identifier: MIT
"""The critical path of a boot: to what each moment between the kernel's start and the last span's end is owed.

It is read backwards from the end of the span that ended last, by these rules and by nothing but the times, as the file
does not say who waited for whom:

- A step is taken to have waited for whatever ended last while it ran: the path is the step's own back to that moment,
  and goes on in what ended there. (mount root, which waits for ext4's module, goes over to that module.)
- A module waits for nothing once it has begun: the path is the module's own back to its start.
- Before a span's start the path belongs to the step that was running then (the innermost); if there was none, to what
  had ended last before; the time between the two is a gap, in which nothing was recorded.

So the path is contiguous from 0 to the end, no two of its segments overlap, and their durations add up to the total.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rootfall_build.timeline import BEFORE, Span, Timeline


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time and the span that it is owed to; None: nothing was recorded then."""

    span: Span | None
    start: int
    end: int

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


def critical_path(timeline: Timeline) -> tuple[Segment, ...]:
    """The segments of the critical path in the order of time; empty when no span took any time."""
    spans = [span for span in timeline.spans if span.duration]
    path: list[Segment] = []
    moment = max((span.end for span in spans), default=0)
    while moment:
        holder = _holder(spans, moment)
        if holder is None or holder.end < moment:  # nobody ran: a gap back to whatever ended last
            begin = holder.end if holder else 0
            path.append(Segment(None, begin, moment))
        else:
            begin = _begin(holder, spans, moment)
            path.append(Segment(holder, begin, moment))
        moment = begin
    return tuple(reversed(path))


def _holder(spans: Iterable[Span], moment: int) -> Span | None:
    """To what the time just before `moment` is owed: what ended then, else the step running, else what ended last."""
    before = [span for span in spans if span.start < moment]
    running = [span for span in before if span.end >= moment and (span.end == moment or not span.is_module)]
    ended = [span for span in running if span.end == moment]
    if ended or running:
        return max(ended or running, key=lambda span: span.start)
    return max((span for span in before if span.end < moment), key=lambda span: (span.end, span.start), default=None)


def _begin(holder: Span, spans: Iterable[Span], moment: int) -> int:
    """Back to when the time before `moment` is the holder's own."""
    if holder.is_module:
        return holder.start
    return max((span.end for span in spans if holder.start < span.end < moment), default=holder.start)


@dataclass(frozen=True, slots=True)
class Row:
    """A span as it is drawn: where it is on the critical path, and whether it began within a step (its `parent`)."""

    span: Span
    segments: tuple[Segment, ...]
    parent: str

    @property
    def share(self) -> int:
        """How much of the critical path is this span's, in nanoseconds."""
        return sum(segment.duration for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Analysis:
    """A timeline with its critical path: the rows by start, and the gaps of the path."""

    timeline: Timeline
    path: tuple[Segment, ...]
    rows: tuple[Row, ...]

    @property
    def gaps(self) -> int:
        """How much of the critical path nothing was recorded in, in nanoseconds."""
        return sum(segment.duration for segment in self.path if segment.span is None)

    @property
    def origin(self) -> int:
        """When PID 1 began, as far as the file says: there the bars begin, as the kernel's time dwarfs them."""
        return next((span.end for span in self.timeline.spans if span.name == BEFORE), 0)


def analyze(timeline: Timeline) -> Analysis:
    """Everything that is drawn of one boot."""
    path = critical_path(timeline)
    owned: dict[int, list[Segment]] = {}  # by identity: two spans may be equal
    for segment in path:
        owned.setdefault(id(segment.span), []).append(segment)
    rows = tuple(Row(span, tuple(owned.get(id(span), ())), _parent(span, timeline)) for span in timeline.spans)
    return Analysis(timeline, path, rows)


def _parent(span: Span, timeline: Timeline) -> str:
    """The step that was running when a module began; empty for a step itself."""
    if not span.is_module:
        return ""
    steps = [step for step in timeline.spans if not step.is_module and step.start <= span.start < step.end]
    return max(steps, key=lambda step: step.start).name if steps else ""
