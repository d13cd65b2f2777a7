# SPDX-License-Identifier: MIT
"""The timelines of one boot or two as one SVG 1.1 file that needs nothing else: no script, no font, no other file.

It follows the reader's light or dark scheme. The critical path is told by colour, by the height of its bars and by a
diamond at the name. Bars have their outcome as a tooltip. All boots are drawn on one scale, each from PID 1's start.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from rootfall_build.critical_path import Analysis, Row
from rootfall_build.timeline import BEFORE, TimelineError
from rootfall_build.timeline_table import milliseconds, printable

ROW, HEAD, MARGIN, BARS, TIME = 22, 74, 16, 720, 80  # pixels
_LETTER = 7.3  # of the widest common sans-serif at 13 px, on the average
_LONGEST = 44  # letters of a name that are shown

# Colours by Okabe and Ito, told apart by colour-blind readers; text is at least 4.5:1 on its ground in both schemes.
_STYLE = """\
svg { background: #fff; }
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #222; }
.title { font-size: 17px; font-weight: bold; }
.small { font-size: 11px; fill: #595959; }
.path { font-weight: bold; }
.ground { fill: #fff; }
.stripe { fill: #f3f3f3; }
.grid { stroke: #d0d0d0; stroke-width: 1; }
.span { fill: #56b4e9; stroke: #31708f; stroke-width: 1; }
.critical { fill: #d55e00; stroke: #8a3c00; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  svg { background: #16181b; }
  text { fill: #e6e6e6; }
  .small { fill: #a8a8a8; }
  .ground { fill: #16181b; }
  .stripe { fill: #1f2226; }
  .grid { stroke: #3a3f45; }
  .span { fill: #2f6f96; stroke: #7cc4ee; }
  .critical { fill: #e6782a; stroke: #ffb27a; }
}
"""


def svg(analyses: Sequence[Analysis]) -> str:
    """The drawing, one boot below the other."""
    label = _label_width(analyses)
    width = round(2 * MARGIN + label + BARS + TIME)
    length = max(max(each.timeline.total - each.origin for each in analyses), 1)
    parts: list[str] = []
    top = 0
    for each in analyses:
        parts += _panel(each, top, label, width, length)
        top += HEAD + ROW * len(each.rows) + 2 * MARGIN
    title = escape("boot: " + " and ".join(_text(each.timeline.source) for each in analyses))
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}"'
            ' role="img">',
            f"<title>{title}</title>",
            f"<style>\n{_STYLE}</style>",
            f'<rect class="ground" width="{width}" height="{top}"/>',
            *parts,
            "</svg>\n",
        )
    )


def write(path: Path, drawing: str) -> None:
    """The drawing at `path`, whole or not at all; what was there before stays until then. Raises TimelineError."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise TimelineError("write the drawing", str(path), seen="it is there, and no regular file")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(drawing)
            Path(name).chmod(0o666 & ~_umask())
            Path(name).rename(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TimelineError("write the drawing", str(path), errno=error.errno or 0) from None


def _umask() -> int:
    mask = os.umask(0o077)  # umask(2) tells it only when it is set
    os.umask(mask)
    return mask


def _panel(analysis: Analysis, top: int, label: float, width: int, length: int) -> Iterator[str]:
    timeline, left = analysis.timeline, MARGIN + label
    before = analysis.origin
    own = f", {milliseconds(timeline.total - before)} ms of it since PID 1 began at {milliseconds(before)} ms"
    yield f'<text class="title" x="{MARGIN}" y="{top + 28}">{escape(_text(timeline.source))}</text>'
    total = f"{milliseconds(timeline.total)} ms from the kernel's start{own if before else ''}"
    yield f'<text class="small" x="{MARGIN}" y="{top + 46}">{total}</text>'
    yield _legend(width, top)
    bottom = top + HEAD + ROW * len(analysis.rows)
    for number in range(0, len(analysis.rows), 2):
        y = top + HEAD + ROW * number
        yield f'<rect class="stripe" x="{MARGIN}" y="{y}" width="{width - 2 * MARGIN}" height="{ROW}"/>'
    scale = BARS / length
    for tick in _ticks(length):
        x = left + tick * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="{top + HEAD}" x2="{x:.1f}" y2="{bottom}"/>'
        words = f"{tick / 1e6:g}" if tick else "0 ms"
        yield f'<text class="small" x="{x:.1f}" y="{top + HEAD - 5}" text-anchor="middle">{words}</text>'
    for number, row in enumerate(analysis.rows):
        yield from _row(row, top + HEAD + ROW * number, left, before, scale)


def _legend(width: int, top: int) -> str:
    x, y = width - MARGIN - 250, top + 18
    return (
        f'<rect class="critical" x="{x}" y="{y}" width="24" height="14"/>'
        f'<text class="small" x="{x + 30}" y="{y + 11}">◆ critical path</text>'
        f'<rect class="span" x="{x + 140}" y="{y + 4}" width="24" height="6"/>'
        f'<text class="small" x="{x + 170}" y="{y + 11}">meanwhile</text>'
    )


def _row(row: Row, y: int, left: float, origin: int, scale: float) -> Iterator[str]:
    span = row.span
    tip = escape(f"{_text(span.name)}: {milliseconds(span.duration)} ms. {_text(span.detail)}")
    indent = MARGIN + 16 + (16 if row.parent else 0)
    path = ' class="path"' if row.share else ""
    yield f"<g><title>{tip}</title>"
    if row.share:
        yield f'<text x="{MARGIN}" y="{y + 15}">◆</text>'
    yield f'<text{path} x="{indent}" y="{y + 15}">{escape(_short(span.name))}</text>'
    if span.name == BEFORE and span.end <= origin:
        words = f"{milliseconds(span.duration)} ms, before the bars begin"
        yield f'<text class="small" x="{left + 6:.1f}" y="{y + 15}">{words}</text></g>'
        return
    x, end = left + (span.start - origin) * scale, left + (span.end - origin) * scale
    yield f'<rect class="span" x="{x:.2f}" y="{y + 8}" width="{max(end - x, 1):.2f}" height="6"/>'
    for segment in row.segments:
        begin, size = left + (segment.start - origin) * scale, segment.duration * scale
        yield f'<rect class="critical" x="{begin:.2f}" y="{y + 4}" width="{max(size, 1):.2f}" height="14"/>'
    yield f'<text class="small" x="{max(end, x + 1) + 6:.1f}" y="{y + 15}">{milliseconds(span.duration)} ms</text></g>'


def _ticks(length: int) -> range:
    """About eight moments, at round numbers of nanoseconds."""
    step = 10 ** (len(str(length)) - 1)
    for size in (step // 10, step // 5, step // 4, step // 2, step, step * 2):
        if size and length // size <= 8:
            return range(0, length + 1, size)
    return range(0, length + 1, length)


def _label_width(analyses: Sequence[Analysis]) -> float:
    names = (len(_short(row.span.name)) + (2 if row.parent else 0) for each in analyses for row in each.rows)
    return 16 + _LETTER * max(names) + 12


def _short(name: str) -> str:
    name = _text(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _text(text: str) -> str:
    """What XML 1.0 can hold: controls, surrogates and non-characters as escapes."""
    return "".join(f"\\u{ord(char):04x}" if 0xFFFE <= ord(char) <= 0xFFFF else char for char in printable(text))
