# SPDX-License-Identifier: MIT
"""The timeline is JSON whatever is in it."""

import json
import threading
import time

from hypothesis import example, given
from hypothesis import strategies as st

from rootfall.timeline import Span, Timeline, quote

TEXT = st.text(st.characters(codec=None))


@given(TEXT)
@example('\x00\x1f\x7f"\\/\u2028\udcff')
def test_any_text_is_a_json_string(text: str) -> None:
    whole = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert json.loads(quote(text)) == whole
    quote(text).encode()


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_the_timeline_is_read_back(spans: list[tuple[str, str]]) -> None:
    timeline = Timeline()
    before = time.monotonic_ns()
    for name, detail in spans:
        timeline.add(name, before, detail)
    found = json.loads(timeline.to_json())
    assert (found["clock"], found["unit"]) == ("monotonic", "ns")
    assert [(s["start"], s["end"]) for s in found["spans"]] == [(s.start, s.end) for s in timeline.spans]
    assert all(before <= s["end"] <= time.monotonic_ns() for s in found["spans"])


def test_the_kernels_log_gets_each_span_with_its_start_and_end() -> None:
    timeline = Timeline()
    timeline.spans = [Span(f"s{n}", n * 10**9, n * 10**9 + 5 * 10**6) for n in range(13)]
    first, second = timeline.lines()
    assert first.split(", ")[3] == "s3 3.000-3.005"
    assert second == "s12 12.000-12.005"


def test_threads_lose_no_span() -> None:
    timeline = Timeline()

    def add() -> None:
        for _ in range(200):
            timeline.add("x", 0)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert len(timeline.spans) == 1600
    assert isinstance(timeline.spans[0], Span)
