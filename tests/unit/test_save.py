# SPDX-License-Identifier: MIT
"""Where the report of a failed boot may be written, and that the attempt ends whatever becomes of it."""

import os
import threading
from pathlib import Path

import pytest

from rootfall import console, save, shell
from rootfall.devices import BlockDevice
from rootfall.errors import DeviceError
from rootfall.model import DeviceRef
from tests.unit.failed_boot import boot

ESP = DeviceRef("ESP", "esp")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on fork(2) with threads


def partition(node: str, kind: str) -> BlockDevice:
    return BlockDevice(node, "8:1", 512, {"PARTN": "1", "PARTTYPE": kind})


@pytest.mark.parametrize("kind", [save.SYSTEM_PARTITION[0].upper(), "0xef"])
def test_the_only_system_partition_is_taken(kind: str) -> None:
    assert save.choose([partition("/dev/a1", "0x83"), partition("/dev/a2", kind)]) == "/dev/a2"


def test_of_two_system_partitions_none_is_taken() -> None:
    two = [partition(node, save.SYSTEM_PARTITION[0]) for node in ("/dev/a1", "/dev/b1")]
    with pytest.raises(DeviceError) as caught:
        save.choose(two)
    assert caught.value.seen == "/dev/a1 and /dev/b1 are two"


def test_a_disk_that_hangs_and_a_child_that_dies_are_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "disk")
    monkeypatch.setattr(save, "_LIMIT", 0.1)
    monkeypatch.setattr(save, "place", lambda *_: str(tmp_path / "disk"))
    monkeypatch.setattr(save, "check", lambda node: os.open(node, os.O_RDONLY))  # nobody writes: it never opens
    assert save._in_a_child(ESP, "", {}) == ("not saved", "the disk did not answer in 0.1 s")
    monkeypatch.setattr(save, "_LIMIT", 60.0)
    monkeypatch.setattr(save, "check", lambda node: os.kill(os.getpid(), 9))
    assert save._in_a_child(ESP, "", {}) == ("not saved", "the process that should do it ended without a word")


def test_what_goes_wrong_before_the_disk_is_touched_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(shell, "load_drivers", broken)
    assert save.save(ESP, {}, boot()) == ("not saved", "MemoryError('no more')")


def test_a_file_that_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    name = "x" * 250  # with its ending of the kernel's 255 bytes, and longer while it is not finished
    with pytest.raises(OSError, match="File name too long"):
        save.write_in(str(tmp_path), {name: "text"})
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_hangs_is_waited_for_no_longer_than_was_said() -> None:
    never = threading.Event()
    assert not console.within(0.05, never.wait)
    never.set()
    assert console.within(60.0, lambda: os.close(-1))  # an error is an answer
