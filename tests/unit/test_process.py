# SPDX-License-Identifier: MIT
"""Programs that PID 1 runs: started with a clean environment, waited for with an end, ended with all that they started."""

import os
import select
from pathlib import Path

import pytest

from rootfall.linux.process import PATH, Process, run, start


def test_a_program_runs_to_its_end_and_its_words_are_kept() -> None:
    assert run(["/bin/sh", "-c", "echo one; echo two >&2; exit 3"], 60) == (3, "one two")


def test_of_many_words_the_last_are_kept() -> None:
    status, words = run(["/bin/sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9; do printf '%0300d ' $i; done; echo last"], 60)
    assert status == 0
    assert words.endswith("9 last")
    assert 1900 < len(words) <= 2000


def test_a_program_that_does_not_end_is_killed_with_what_it_started() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        assert run(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 60; done & wait"], 0.1)[0] is None
    finally:
        os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert select.select([pipe], [], [], 60)[0], "the descriptor is closed when the last of them has ended"
        assert pipe.read() == b""


def test_a_program_that_is_asked_to_end_may_do_so() -> None:
    process = start(["/bin/sleep", "600"])
    assert process.wait(0) is None
    assert process.stop(60)
    assert process.status == -15


def test_it_gets_the_environment_of_a_fresh_start_and_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/rootfall/_internal")
    monkeypatch.setenv("PATH", "/nowhere")
    text = 'echo "$PATH $LD_LIBRARY_PATH $MORE"'
    assert run(["/bin/sh", "-c", text], 60, {"MORE": "x"}) == (0, f"{PATH} x")


def test_its_input_is_empty_and_no_descriptor_of_ours_is_open_in_it(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w"):
        other = start(["/bin/sleep", "600"])
        status, words = run(["/bin/sh", "-c", "cat; ls -l /proc/self/fd"], 60)
        other.stop(60)
    assert status == 0
    assert "/dev/null" in words
    assert "ours" not in words
    assert "pidfd" not in words


def test_a_program_that_is_not_there_is_an_error_with_its_name() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere/at/all"):
        start(["/nowhere/at/all"])


def test_a_process_that_somebody_else_reaped_counts_as_ended() -> None:
    process = start(["/bin/true"])
    select.select([process], [], [], 60)
    os.waitpid(process.pid, 0)
    assert process.wait(0) == 0


def test_a_process_that_there_is_can_be_taken_over() -> None:
    first = start(["/bin/sleep", "600"])
    again = Process(first.pid)
    assert again.stop(60)
    assert first.wait(60) == 0
