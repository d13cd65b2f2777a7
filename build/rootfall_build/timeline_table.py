# SPDX-License-Identifier: MIT
"""The timeline of a boot, or two compared, as tables for a terminal (rich); colour never says what nothing else says."""

import io
import os
import sys
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rootfall_build.comparison import Mark, Pair
from rootfall_build.critical_path import Analysis, Row
from rootfall_build.timeline import BEFORE, MODULE, Timeline

_NUMBERS = 3 * 10  # columns of the three numbers, with what is between them
_WIDE = 120  # columns, where there is no terminal to ask
_LEAST_BAR, _LEAST_DETAIL = 16, 24


def terminal() -> Console:
    """Standard output; as wide as the terminal or as COLUMNS says, else wide enough for everything."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the locale cannot show is no reason to show nothing
    console = Console(highlight=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(highlight=False, width=_WIDE)


def printable(text: str) -> str:
    """`text` with what could steer a terminal written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def milliseconds(nanoseconds: int) -> str:
    """With a tenth."""
    return f"{nanoseconds / 1e6:.1f}"


def draw(analysis: Analysis, console: Console) -> None:
    """A row for each span by start: when, how long, how much of the critical path, a bar, what, and how it ended."""
    timeline = analysis.timeline
    names = [f"{'  ' if row.parent else ''}{printable(row.span.name)}" for row in analysis.rows]
    bar, detail = _widths(console.width, max(map(len, names)))
    table = _table(bar, detail, _overflow(console))
    for row, name in zip(analysis.rows, names, strict=True):
        cells = [
            Text(milliseconds(row.span.start)),
            Text(milliseconds(row.span.duration)),
            Text(milliseconds(row.share) if row.share else "", "bold"),
            _bar(row, analysis, bar, _glyphs(console)),
            Text(name, "bold" if row.share else "dim"),
        ]
        table.add_row(*cells, *([Text(printable(row.span.detail), "dim")] if detail else []))
    if analysis.gaps:
        table.add_row("", "", milliseconds(analysis.gaps), "", Text("(nothing recorded)", "dim"))
    table.add_row("", "", Text(milliseconds(timeline.total), "bold"), "", Text("total", "bold"))
    console.print(Text(f"{printable(timeline.source)}: {milliseconds(timeline.total)} ms", "bold"))
    console.print(table)
    full, light = _glyphs(console)
    console.print(Text(f"{full} critical path  {light} meanwhile", "dim"))


def _table(bar: int, detail: int, overflow: Literal["crop", "ellipsis"]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("start ms", "took ms", "path ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", width=bar, no_wrap=True)
    table.add_column("what", no_wrap=True, overflow=overflow)
    if detail:
        table.add_column("outcome", width=detail, no_wrap=True, overflow=overflow)
    return table


def _widths(width: int, name: int) -> tuple[int, int]:
    """The columns for the bar and for the outcome, which gives way (0) on a narrow terminal."""
    rest = max(width - _NUMBERS - name - 2, _LEAST_BAR)
    if rest < _LEAST_BAR + _LEAST_DETAIL:
        return rest, 0
    bar = rest * 3 // 5
    return bar, rest - bar


def _ascii(console: Console) -> bool:
    return not (console.encoding or "").lower().startswith("utf")


def _overflow(console: Console) -> Literal["crop", "ellipsis"]:
    return "crop" if _ascii(console) else "ellipsis"


def _glyphs(console: Console) -> tuple[str, str]:
    """What fills a bar on the critical path, and off it."""
    return ("#", "-") if _ascii(console) else ("█", "░")


def _bar(row: Row, analysis: Analysis, width: int, glyphs: tuple[str, str]) -> Text:
    """The span on a scale from PID 1's start to the end; at least one cell, full where it is on the critical path."""
    origin, full = analysis.origin, glyphs[0]
    if row.span.name == BEFORE and row.span.end <= origin:
        words = "before the bars begin"
        return Text(words if len(words) <= width else "before", "dim")
    scale = width / max(analysis.timeline.total - origin, 1)
    first, last = _cells(row.span.start - origin, row.span.end - origin, scale, width)
    cells = [glyphs[1]] * (last - first)
    for segment in row.segments:
        begin, stop = _cells(segment.start - origin, segment.end - origin, scale, width)
        # A whole cell for a sliver of a long span would tell a lie.
        if segment.duration * scale >= 0.5 or len(cells) == 1:
            cells[begin - first : stop - first] = [full] * (min(stop, last) - begin)
    bar = Text(" " * first)
    for cell in cells:
        bar.append(cell, "red" if cell == full else "dim")
    return bar


def _cells(start: int, end: int, scale: float, width: int) -> tuple[int, int]:
    """The first cell and the one after the last; a span that ended before the scale begins is in the first."""
    first = min(max(int(start * scale), 0), width - 1)
    return first, max(min(round(end * scale), width), first + 1)


def draw_comparison(here: Timeline, there: Timeline, pairs: tuple[Pair, ...], console: Console) -> None:
    """A row for each span of both boots, and the totals."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("what", no_wrap=True, overflow=_overflow(console))
    for heading in ("other ms", "this ms", "difference", "%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for pair in pairs:
        style = "bold red" if pair.mark.startswith("slower") else "dim" if pair.mark else ""
        name = f"{'  ' if pair.name.startswith(MODULE) else ''}{printable(pair.name)}"
        table.add_row(*_compared(name, pair.there, pair.here, _words(pair.mark, console)), style=style)
    table.add_row(*_compared("total", there.total, here.total, ""), style="bold")
    console.print(Text(f"this:  {printable(here.source)}\nother: {printable(there.source)}"))
    console.print(table)


def _words(mark: Mark, console: Console) -> str:
    """The mark of a pair as it is printed."""
    rank = {"slower 1": "worst", "slower 2": "2nd", "slower 3": "3rd"}.get(mark)
    return mark if rank is None else f"{'<' if _ascii(console) else '◀'} {rank}"


def _compared(name: str, there: int | None, here: int | None, words: str) -> tuple[Text, ...]:
    difference = (here or 0) - (there or 0)
    percent = f"{100 * difference / there:+.0f}" if there and here is not None else ""
    return (
        Text(name),
        Text("-" if there is None else milliseconds(there)),
        Text("-" if here is None else milliseconds(here)),
        Text(f"{difference / 1e6:+.1f}"),
        Text(percent),
        Text(words),
    )
