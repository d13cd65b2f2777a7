# SPDX-License-Identifier: MIT
"""`rootfall analyze`: where the time of a boot went, as a table, a drawing, a comparison of two boots, or JSON."""

import json
from pathlib import Path

import click

from rootfall_build import timeline
from rootfall_build.comparison import Pair, compare
from rootfall_build.critical_path import Analysis
from rootfall_build.critical_path import analyze as analysis_of


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file")
@click.option("--against", metavar="OTHER", help="Compare FILE with the timeline of another boot.")
@click.option("--svg", "drawing", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw it into a file, too.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def analyze(file: str, against: str | None, drawing: Path | None, as_json: bool) -> None:
    """Show where the time of a boot went.

    FILE is /run/rootfall/timeline.json of a machine that rootfall booted; - is standard input.
    """
    if file == against == "-":
        raise click.UsageError("standard input cannot be both timelines")
    here = analysis_of(timeline.read(file))
    there = analysis_of(timeline.read(against)) if against is not None else None
    if drawing is not None:
        from rootfall_build import timeline_svg

        timeline_svg.write(drawing, timeline_svg.svg([here] if there is None else [here, there]))
    pairs = compare(here.timeline, there.timeline) if there else ()
    if as_json:
        print(json.dumps(_comparison(here, there, pairs) if there else _record(here), indent=1))
        return
    from rootfall_build import timeline_table

    console = timeline_table.terminal()
    if there:
        timeline_table.draw_comparison(here.timeline, there.timeline, pairs, console)
    else:
        timeline_table.draw(here, console)


def _record(analysis: Analysis) -> dict[str, object]:
    spans = [
        {
            "name": row.span.name,
            "start": row.span.start,
            "end": row.span.end,
            "detail": row.span.detail,
            "during": row.parent or None,
            "path": row.share,
        }
        for row in analysis.rows
    ]
    path = [
        {"name": segment.span.name if segment.span else None, "start": segment.start, "end": segment.end}
        for segment in analysis.path
    ]
    timeline = analysis.timeline
    return {"file": timeline.source, "unit": "ns", "total": timeline.total, "spans": spans, "critical_path": path}


def _comparison(here: Analysis, there: Analysis, pairs: tuple[Pair, ...]) -> dict[str, object]:
    spans = [
        {
            "name": pair.name,
            "this": pair.here,
            "other": pair.there,
            "difference": pair.difference,
            "mark": pair.mark or None,
        }
        for pair in pairs
    ]
    totals = {"this": here.timeline.total, "other": there.timeline.total}
    return {"unit": "ns", "files": [here.timeline.source, there.timeline.source], "total": totals, "spans": spans}
