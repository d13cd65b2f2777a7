# SPDX-License-Identifier: MIT
"""`rootfall analyze` on the timelines of real boots, and the laws of the critical path on any.

data/timeline-one-cpu.json is what a boot left under QEMU's instruction clock; data/timeline-two-cpus.console is the
console of another with two processors, cut to the lines around the file.
"""

import io
import json
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall.timeline import Timeline as Recorder
from rootfall_build import timeline_svg
from rootfall_build.cli import main
from rootfall_build.comparison import compare
from rootfall_build.critical_path import Segment, analyze, critical_path
from rootfall_build.timeline import BEFORE, Span, Timeline, TimelineError, make, parse, read

DATA = Path(__file__).with_name("data")
ONE, TWO = str(DATA / "timeline-one-cpu.json"), str(DATA / "timeline-two-cpus.console")

MOMENTS = st.integers(0, 40)
NAMES = st.sampled_from(["find root", "mount root", "module ext4", "module jbd2", BEFORE])
SPANS = st.builds(
    lambda name, one, other: Span(name, min(one, other), max(one, other)), NAMES, MOMENTS, MOMENTS
)  # of any overlap, also equal ones, also of no length
TIMELINES = st.lists(SPANS, min_size=1, max_size=12).map(lambda spans: make("any", tuple(spans)))


def names(path: tuple[Segment, ...]) -> list[str]:
    return [segment.span.name if segment.span else "(gap)" for segment in path]


def of(*spans: tuple[str, int, int]) -> Timeline:
    return make("test", tuple(Span(*span) for span in spans))


@given(TIMELINES)
def test_the_path_is_contiguous_from_0_to_the_end_without_overlap(timeline: Timeline) -> None:
    path = critical_path(timeline)
    edges = [0, *(segment.end for segment in path)]
    assert [segment.start for segment in path] == edges[:-1]
    assert all(segment.duration > 0 for segment in path)
    assert edges[-1] == max((span.end for span in timeline.spans if span.duration), default=0)


@given(TIMELINES)
def test_each_segment_lies_within_its_span_and_a_gap_has_no_step_running(timeline: Timeline) -> None:
    for segment in critical_path(timeline):
        if segment.span:
            assert segment.span.start <= segment.start < segment.end <= segment.span.end
        else:
            steps = (span for span in timeline.spans if span.duration and not span.is_module)
            assert not any(step.start < segment.end and step.end > segment.start for step in steps)


@given(TIMELINES)
def test_the_shares_and_the_gaps_add_up_to_the_path(timeline: Timeline) -> None:
    analysis = analyze(timeline)
    assert sum(row.share for row in analysis.rows) + analysis.gaps == sum(each.duration for each in analysis.path)


@given(TIMELINES, TIMELINES)
def test_anything_can_be_drawn_as_xml_and_compared(here: Timeline, there: Timeline) -> None:
    ElementTree.fromstring(timeline_svg.svg([analyze(here), analyze(there)]))
    pairs = compare(here, there)
    assert len([pair for pair in pairs if pair.here is not None]) == len(here.spans)
    assert len([pair for pair in pairs if pair.there is not None]) == len(there.spans)


def test_a_step_that_waits_for_a_module_owes_it_the_time_until_the_module_was_in() -> None:
    timeline = of(
        (BEFORE, 0, 10),
        ("find root", 10, 50),
        ("module jbd2", 20, 39),
        ("module crc16", 20, 30),
        ("module ext4", 40, 90),
        ("mount root", 50, 100),
    )
    path = critical_path(timeline)
    assert names(path) == [BEFORE, "find root", "module jbd2", "find root", "module ext4", "mount root"]
    assert [segment.start for segment in path] == [0, 10, 20, 39, 40, 90]


def test_time_in_which_nothing_ran_is_a_gap() -> None:
    path = critical_path(of(("make the plan", 5, 10), ("find root", 12, 20)))
    assert names(path) == ["(gap)", "make the plan", "(gap)", "find root"]


def test_in_a_real_boot_the_mount_waits_for_ext4_which_waits_for_jbd2() -> None:
    for file in (ONE, TWO):
        found = names(critical_path(read(file)))
        assert found[0] == BEFORE
        last = {name: number for number, name in enumerate(found)}
        at = [last[name] for name in ("module jbd2", "module ext4", "mount root", "switch_root")]
        assert at == sorted(at)


def test_what_pid_1_writes_is_what_is_read() -> None:
    recorder = Recorder()
    recorder.add("mount root", recorder.started, 'odd "detail" \\ \n ü')
    timeline = parse(recorder.to_json().encode(), "memory")
    assert [span.name for span in timeline.spans] == [BEFORE, "mount root"]
    assert timeline.spans[1].detail == 'odd "detail" \\ \n ü'


def test_the_table_has_each_span_its_share_and_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", ONE]) == 0
    out = capsys.readouterr().out.splitlines()
    timeline = read(ONE)
    for span in timeline.spans:
        line = next(line for line in out if f" {span.name} " in f"{line} ")
        assert line.split()[:2] == [f"{span.start / 1e6:.1f}", f"{span.duration / 1e6:.1f}"]
    assert "█" in next(line for line in out if "module ext4" in line)
    assert any(line.split()[-2:] == [f"{timeline.total / 1e6:.1f}", "total"] for line in out)


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 160])
def test_the_table_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["analyze", TWO]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title
    assert max(map(len, lines)) <= columns


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # room for the last column, whatever the machine's uptime
    recorder = Recorder()
    recorder.add("a\x1b[2Jb", recorder.started, "[red]\x07")
    file = tmp_path / "timeline.json"
    file.write_text(recorder.to_json())
    assert main(["analyze", str(file)]) == 0
    out = capsys.readouterr().out
    assert "a\\x1b[2Jb" in out
    assert "[red]\\x07" in out
    ElementTree.fromstring(timeline_svg.svg([analyze(read(str(file)))]))


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(ONE).read_bytes())))
    assert main(["analyze", "-"]) == 0
    assert capsys.readouterr().out.startswith("standard input: ")


def test_the_drawing_is_xml_with_each_span_and_a_diamond_for_each_on_the_path(tmp_path: Path) -> None:
    drawing = tmp_path / "boot.svg"
    assert main(["analyze", ONE, "--svg", str(drawing)]) == 0
    root = ElementTree.parse(drawing).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    analysis = analyze(read(ONE))
    assert all(row.span.name in texts for row in analysis.rows)
    assert texts.count("◆") == len([row for row in analysis.rows if row.share])
    assert "prefers-color-scheme: dark" in drawing.read_text()
    assert "href" not in drawing.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["boot.svg"]
    assert stat.S_IMODE(drawing.stat().st_mode) & 0o111 == 0


def test_two_boots_are_compared_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    here = of(("make the plan", 0, 5_000_000), ("find root", 5_000_000, 45_000_000), ("unlock", 50_000_000, 60_000_000))
    there = of(("make the plan", 0, 5_000_001), ("find root", 6_000_000, 9_000_000), ("resume", 9_000_000, 9_500_000))
    assert [(pair.name, pair.difference, pair.mark) for pair in compare(here, there)] == [
        ("make the plan", -1, ""),
        ("find root", 37_000_000, "slower 1"),
        ("unlock", 10_000_000, "only here"),
        ("resume", -500_000, "only there"),
    ]
    assert main(["analyze", TWO, "--against", ONE]) == 0
    out = capsys.readouterr().out
    assert "◀ worst" in out
    assert "module ext4" in out


def test_a_boot_against_itself_has_no_difference() -> None:
    assert {(pair.difference, pair.mark) for pair in compare(read(ONE), read(ONE))} == {(0, "")}


def test_json_says_the_same_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", ONE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["critical_path"][0]["start"] == 0
    assert found["critical_path"][-1]["end"] == found["total"] == read(ONE).total
    assert [span["name"] for span in found["spans"]] == [span.name for span in read(ONE).spans]
    assert main(["analyze", ONE, "--against", TWO, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == {"this": read(ONE).total, "other": read(TWO).total}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "an empty file"),
        (b"\x7fELF\x00\xff", ":1:1; seen: no JSON"),
        (b'{"clock": "monotonic",\n "spans": [}', ":2:12; seen: no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"spans": ' + b"1" * 10_000 + b"}", "no JSON"),
        (b"[]", 'without "spans"'),
        (b'{"spans": []}', '"clock" is null'),
        (b'{"clock": "monotonic", "unit": "ms", "spans": []}', '"unit" is "ms"'),
        (b'{"clock": "monotonic", "unit": "ns", "spans": []}', "no span"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [7]}', "spans[0] is 7"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [{"start": 1, "end": 2}]}', "spans[0] has no name"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [{"name": "x", "start": -1, "end": 2}]}', "spans[0].start"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [{"name": "x", "start": 1, "end": 1.5}]}', "spans[0].end"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [{"name": "x", "start": 3, "end": 2}]}', "ends before"),
        (b'{"clock": "monotonic", "unit": "ns", "spans": [{"name": "x", "start": NaN, "end": 2}]}', "NaN"),
        (b'boot\nwitness: {"file": ["timeline.json", "{\\"clock', "cut short"),
    ],
)
def test_what_is_no_timeline_is_refused_with_the_file_and_the_place(
    text: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, drawing = tmp_path / "bad.json", tmp_path / "boot.svg"
    file.write_bytes(text)
    assert main(["analyze", str(file), "--svg", str(drawing)]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(file) in message
    assert words in message
    assert not drawing.exists()


def test_a_drawing_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", ONE, "--svg", str(tmp_path / "none" / "x.svg")]) == 1
    assert str(tmp_path / "none" / "x.svg") in capsys.readouterr().err
    assert main(["analyze", ONE, "--svg", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_timeline_or_a_clear_refusal(data: bytes) -> None:
    try:
        timeline = parse(data, "any")
    except TimelineError:
        return
    assert timeline.spans


@pytest.mark.parametrize(
    "command", [["timeline-one-cpu.json"], ["timeline-two-cpus.console", "--against", "timeline-one-cpu.json"]]
)
def test_the_output_in_the_documents_is_what_the_program_prints(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "96")
    monkeypatch.chdir(DATA)
    assert main(["analyze", *command]) == 0
    shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    document = Path(__file__).parents[2] / "docs/timeline.md"
    assert f"$ rootfall analyze {' '.join(command)}\n{shown}\n" in document.read_text()
