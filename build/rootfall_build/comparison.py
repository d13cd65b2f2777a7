# SPDX-License-Identifier: MIT
"""Two boots side by side: each span of the one against the span of that name in the other (of two, the n-th)."""

from dataclasses import dataclass
from typing import Literal

from rootfall_build.timeline import Span, Timeline

WORST = 3
_NOTABLE = 1_000_000  # ns: less is noise, however many times the other it is

Mark = Literal["", "only here", "only there", "slower 1", "slower 2", "slower 3"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A span's durations in this boot and in the other, in nanoseconds; None: it is not in that one."""

    name: str
    here: int | None
    there: int | None
    mark: Mark = ""

    @property
    def difference(self) -> int:
        """How much longer it took here; what is in one boot only took no time in the other."""
        return (self.here or 0) - (self.there or 0)


def compare(here: Timeline, there: Timeline) -> tuple[Pair, ...]:
    """All spans of both in the order of `here`, then those that only `there` has; the WORST by difference are marked."""
    ours, theirs = _numbered(here), _numbered(there)
    pairs = [
        Pair(
            key[0],
            ours[key].duration if key in ours else None,
            theirs[key].duration if key in theirs else None,
            "only there" if key not in ours else "only here" if key not in theirs else "",
        )
        for key in {**ours, **theirs}
    ]
    in_both = [pair for pair in pairs if not pair.mark and pair.difference >= _NOTABLE]
    worst = sorted(in_both, key=lambda pair: -pair.difference)[:WORST]
    marks: dict[int, Mark] = dict(zip(map(id, worst), ("slower 1", "slower 2", "slower 3"), strict=False))
    return tuple(Pair(pair.name, pair.here, pair.there, marks.get(id(pair), pair.mark)) for pair in pairs)


def _numbered(timeline: Timeline) -> dict[tuple[str, int], Span]:
    """The spans by name and by how many of that name came before."""
    found: dict[tuple[str, int], Span] = {}
    for span in timeline.spans:
        number = 0
        while (span.name, number) in found:
            number += 1
        found[span.name, number] = span
    return found
