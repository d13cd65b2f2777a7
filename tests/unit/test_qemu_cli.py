# SPDX-License-Identifier: MIT
from pathlib import Path

import click
import pytest

from rootfall_qemu.cli import own_lines, parse_disk
from rootfall_qemu.machine import Disk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a,b.img"
    path.touch()
    return path


def test_a_disk_is_not_written_to_unless_asked_for(file: Path) -> None:
    assert parse_disk(str(file)) == Disk(file, snapshot=True)
    assert parse_disk(str(file), write=True) == Disk(file, snapshot=False)


def test_a_disk_takes_options_after_a_name_with_a_comma(file: Path) -> None:
    disk = parse_disk(f"{file},if=nvme,format=qcow2,serial=S")
    assert disk == Disk(file, "qcow2", "nvme", "S", snapshot=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [("if=floppy", "'floppy' is none of virtio-blk"), ("format=vdi", "'vdi'"), ("size=1", "unknown size; known: if")],
)
def test_a_disk_option_that_is_not_known_is_named(file: Path, options: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        parse_disk(f"{file},{options}")


def test_a_disk_that_is_not_there_is_named() -> None:
    with pytest.raises(click.BadParameter, match="/no/such: no such file"):
        parse_disk("/no/such")


def test_the_lines_of_rootfall_are_told_from_the_kernels() -> None:
    log = "[    0.1] Run /init\n[    1.250000] rootfall: root mounted\nrootfall: plain\nnot rootfall: x\n"
    assert own_lines(log) == ({"time": 1.25, "text": "root mounted"}, {"time": None, "text": "plain"})
