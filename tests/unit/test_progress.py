# SPDX-License-Identifier: MIT
"""What goes on without a uevent: arrays by the text of /proc/mdstat, questions by the files of those who ask."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import devices, hardware, progress
from rootfall.devices import Search
from rootfall.errors import DeviceError
from rootfall.model import DeviceRef
from rootfall.progress import Sync, Watch, Work
from tests.unit.test_devices import Script, Silent

STUCK = 120.0
MDSTAT = """\
Personalities : [raid1] [raid6] [raid5] [raid4]
md127 : active (auto-read-only) raid1 vde[1] vdd[0]
      30656 blocks super 1.2 [2/2] [UU]
      \tresync=PENDING
md0 : active raid1 vdb[1] vda[0]
      30656 blocks [2/2] [UU]
      [==>..................]  resync = {percent} ({done}/30656) finish=0.4min speed=1000K/sec

unused devices: <none>
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """A directory in the place of /, with /proc and where the questions are."""
    for name in ("proc", "run/systemd/ask-password", "run/rootfall/asking"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def mdstat(guest: Path, done: int) -> None:
    (guest / "proc/mdstat").write_text(MDSTAT.format(percent=f"{done * 100 / 30656:5.1f}%", done=done))


def process(guest: Path, pid: int, state: str = "S") -> None:
    (guest / f"proc/{pid}").mkdir(exist_ok=True)
    (guest / f"proc/{pid}/stat").write_text(f"{pid} (an (odd) Z name) {state} 1 {pid} {pid} 0 -1\n")


def ask(guest: Path, pid: int, message: str, more: str = "") -> None:
    text = f"[Ask]\nPID={pid}\nSocket=/run/systemd/ask-password/sck.1\nEcho=0\nMessage={message}\n{more}"
    (guest / "run/systemd/ask-password/ask.1").write_text(text)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[>....]  resync =  0.0% (0/9) finish=1min speed=1K/sec", Sync("md0", "resync", 0, 9)),
        ("[=>...]  recovery = 37.1% (371/1000) finish=1min", Sync("md0", "recovery", 371, 1000)),
        ("[=>...]  reshape = 37.1% (371/1000) finish=1min", Sync("md0", "reshape", 371, 1000)),
        ("[====]  check =100.0% (1000/1000) finish=0min", Sync("md0", "check", 1000, 1000)),
    ],
)
def test_an_array_that_is_synchronized_is_read_with_its_position(line: str, expected: Sync) -> None:
    text = f"Personalities : [raid1]\nmd0 : active raid1 vda[0] vdb[1]\n      9 blocks [2/2] [UU]\n      {line}\n"
    assert progress.parse(text) == (expected,)


@pytest.mark.parametrize("line", ["resync=DELAYED", "resync=PENDING", "bitmap: 1/8 pages [4KB], 65536KB chunk", ""])
def test_an_array_that_waits_or_rests_is_none(line: str) -> None:
    assert progress.parse(f"md0 : active raid1 vda[0] vdb[1]\n      9 blocks [2/2] [UU]\n      {line}\n") == ()


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    progress.parse(text)


def test_an_array_that_moves_goes_on_and_one_that_stands_still_does_so_until_it_counts_as_stuck(guest: Path) -> None:
    watch = Watch(STUCK, str(guest))
    assert watch.look(0) == Work()
    mdstat(guest, 11342)
    assert str(watch.look(1)) == "md0 resync 36 %"
    assert watch.look(STUCK).syncs
    assert not watch.look(1 + STUCK).syncs
    mdstat(guest, 11400)
    assert watch.look(2 + STUCK).syncs, "it moves again"
    (guest / "proc/mdstat").write_text("Personalities : [raid1]\nunused devices: <none>\n")
    assert not watch.look(3 + STUCK).syncs


def test_a_question_of_systemds_counts_as_long_as_its_asker_lives(guest: Path) -> None:
    watch = Watch(STUCK, str(guest))
    ask(guest, 77, "Passphrase for \x1b[2Jdisk:\t")
    assert watch.look(1).asked == "", "there is no such process"
    process(guest, 77)
    assert str(watch.look(2)) == "somebody is asked: Passphrase for  [2Jdisk:"
    process(guest, 77, "Z")
    assert watch.look(3).asked == "", "it has ended and is not reaped"


def test_a_question_whose_time_is_over_counts_no_more(guest: Path) -> None:
    watch = Watch(STUCK, str(guest))
    process(guest, 77)
    ask(guest, 77, "PIN", "NotAfter=5000000\n")
    assert watch.look(4).asked == "PIN"
    assert watch.look(6).asked == ""
    ask(guest, 77, "", "NotAfter=0\n")
    assert watch.look(6).asked == "something"


def test_a_question_of_a_hook_is_a_file_of_the_askers_number(guest: Path) -> None:
    watch = Watch(STUCK, str(guest))
    process(guest, 88)
    for name in ("88", "89", "mdstat"):
        (guest / "run/rootfall/asking" / name).write_text("the token's PIN\n")
    assert watch.look(1).asked == "the token's PIN"
    (guest / "run/rootfall/asking/88").unlink()
    assert watch.look(2).asked == ""


def test_what_is_no_text_and_no_file_is_no_question(guest: Path) -> None:
    agents = guest / "run/systemd/ask-password"
    (agents / "ask.directory").mkdir()
    (agents / "ask.bytes").write_bytes(b"\xff\0=\n[Ask\n")
    (agents / "tmp.ask").write_text("PID=77\nMessage=not yet\n")
    process(guest, 77)
    assert Watch(STUCK, str(guest)).look(1) == Work()


class Clock:
    """A clock that moves on by a second at each look at it, and on which things happen."""

    def __init__(self, happens: dict[int, object]) -> None:
        self.now, self._happens = 0, happens

    def __call__(self) -> float:
        self.now += 1
        happens = self._happens.get(self.now)
        if callable(happens):
            happens()
        return float(self.now)


@pytest.fixture
def lines(guest: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console shows while a search looks at `guest`, on a bus that brings no disk."""
    shown: list[str] = []
    monkeypatch.setattr(hardware, "sources", lambda: ())
    monkeypatch.setattr(devices, "status_line", shown.append)
    monkeypatch.setattr(devices, "say", lambda *texts: shown.extend(texts))
    monkeypatch.setattr(progress, "Watch", lambda stuck: Watch(stuck, str(guest)))
    return shown


def fails(monkeypatch: pytest.MonkeyPatch, timeout: float, happens: dict[int, object]) -> tuple[int, str]:
    """When a search for a disk that never comes gives up, and why."""
    clock = Clock(happens)
    monkeypatch.setattr("time.monotonic", clock)
    with pytest.raises(DeviceError) as caught:
        Search(Script([], []), DeviceRef("LABEL", "late")).wait(timeout, Silent())  # type: ignore[arg-type]
    return clock.now, caught.value.subject


def test_the_search_goes_on_while_an_array_moves(
    guest: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    happens: dict[int, object] = {second: lambda second=second: mdstat(guest, second) for second in range(2, 12)}
    happens[12] = (guest / "proc/mdstat").unlink
    end, why = fails(monkeypatch, 3, happens)
    assert end == 13, "two seconds after the last progress, since nothing can come any more"
    assert "no bus can bring a disk" in why
    assert "rootfall: md0 resync 0 %, 4 s, waiting for LABEL=late" in lines
    assert lines[-1] == ""


def test_an_array_that_never_ends_extends_the_time_to_its_most(
    guest: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, why = fails(monkeypatch, 3, {second: lambda second=second: mdstat(guest, second) for second in range(2, 99)})
    assert end == 31
    assert why == "LABEL=late in 30 s, in which there was no end of md0 resync 0 %"


def test_no_time_counts_while_somebody_is_asked_and_it_starts_anew_with_the_answer(
    guest: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "sources", lambda: ("a slot",))
    process(guest, 77)
    ask(guest, 77, "PIN")
    end, why = fails(monkeypatch, 3, {100: (guest / "run/systemd/ask-password/ask.1").unlink})
    assert (end, why) == (103, "LABEL=late in 102 s")
    said = [line for line in lines if "asked" in line]
    assert said == ["rootfall: somebody is asked: PIN; the wait for LABEL=late goes on after it"], "once"
