# SPDX-License-Identifier: MIT
"""root=auto: which partition is the root by the Discoverable Partitions Specification, as tables."""

from pathlib import Path

import pytest

from rootfall import dps
from rootfall.dps import NO_AUTO, READ_ONLY, ROOT_TYPES, Candidate
from rootfall.errors import DeviceError

ROOT = ROOT_TYPES["x86_64"]
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BOOTED = "aaaaaaaa-0000-4000-8000-000000000001"


def part(disk: str, number: int, kind: str = ROOT, flags: int = 0, uuid: str = "") -> Candidate:
    tags = {"PARTN": str(number), "PARTTYPE": kind, "PARTUUID": uuid or f"{disk}-{number}"}
    if flags:
        tags["PARTFLAGS"] = hex(flags)
    return Candidate(f"/dev/{disk}{number}", tags, f"/sys/devices/x/{disk}/{disk}{number}")


@pytest.mark.parametrize(
    ("parts", "esp", "chosen"),
    [
        ([], "", ""),
        ([part("sda", 1, ESP)], "", ""),
        ([part("sda", 1, ESP), part("sda", 2)], "", "/dev/sda2"),
        ([part("sda", 10), part("sda", 9)], "", "/dev/sda9"),
        ([part("sda", 1, flags=NO_AUTO), part("sda", 2, flags=READ_ONLY)], "", "/dev/sda2"),
        ([part("sda", 1, ROOT_TYPES["aarch64"]), part("sdb", 1)], "", "/dev/sdb1"),
        ([part("sda", 1), part("sdb", 1, ESP, uuid=BOOTED.upper()), part("sdb", 2)], BOOTED, "/dev/sdb2"),
        ([part("sda", 1), part("sdb", 1, ESP)], BOOTED, ""),
    ],
)
def test_the_root_is_chosen_by_its_type_and_the_booted_disk(parts: list[Candidate], esp: str, chosen: str) -> None:
    assert dps.choose(parts, esp, "x86_64") == chosen


def test_two_disks_with_a_root_are_both_named() -> None:
    with pytest.raises(DeviceError, match="/dev/sda1 and /dev/sdb7"):
        dps.choose([part("sda", 1), part("sdb", 7)], "", "x86_64")


def test_a_machine_without_a_type_is_told_so() -> None:
    with pytest.raises(DeviceError, match="no partition type"):
        dps.choose([], "", "pdp11")


def test_the_read_only_bit_is_read() -> None:
    assert dps.is_read_only(part("sda", 1, flags=READ_ONLY).tags)
    assert not dps.is_read_only(part("sda", 1).tags)


def test_a_loaders_variable_is_read_behind_its_attributes(tmp_path: Path) -> None:
    variable = tmp_path / "variable"
    variable.write_bytes(b"\x06\0\0\0" + f"{BOOTED.upper()}\0".encode("utf-16-le"))
    assert dps.read_variable(str(variable)) == BOOTED
    variable.write_bytes(b"\x06\0\0\0\x41\x42")
    assert dps.read_variable(str(variable)) == ""
    assert dps.read_variable(str(tmp_path / "none")) == ""


@pytest.mark.skipif(Path("/sys/firmware/efi").is_dir(), reason="this machine was booted by EFI")
def test_a_machine_without_efi_has_no_active_esp() -> None:
    assert dps.active_esp() == ""
