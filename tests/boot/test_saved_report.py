# SPDX-License-Identifier: MIT
"""boot.on_failure.save: the report of a failed boot on the EFI system partition, read back from the disk's file afterwards."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.disk import ALIGNMENT, MIB, Partition, blank, gpt
from rootfall_qemu.machine import Disk, Firmware, Machine
from rootfall_qemu.vm import VM
from tests.boot import images
from tests.boot.device_disks import PARTUUIDS
from tests.boot.failure import HEAD, report
from tests.boot.test_devices_efi import CODE, VARIABLES, with_variable

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not shutil.which("mcopy"), reason="no mtools (Debian: apt install mtools)"),
]

LIMIT = 180.0
APPEND = "console=ttyS0 quiet root=LABEL=lost rootwait=1"
DIRTY = {16: 0x25, 32: 0x41}  # where the boot sector of FAT16 and FAT32 has its state
Start = Callable[[Machine], VM]


def config(action: str, place: str = "esp") -> str:
    return images.PLAIN.replace("action: reboot", f"action: {action}, save: {place}").replace(", ext4", "")


def mtools(program: str, disk: Path, *words: str) -> bytes:
    """mtools(1) on the first partition of a disk; its errors are the test's."""
    where = f"{disk}@@{ALIGNMENT}"
    return subprocess.run([program, "-i", where, *words], check=True, capture_output=True).stdout


def system_disk(path: Path, width: int, files: dict[str, bytes], scratch: Path, uuid: str = "") -> Path:
    """A disk whose only partition is an EFI system partition (FAT16 or FAT32) with these files in /rootfall."""
    fat = blank(scratch / "fat", (36 if width == 32 else 8) * MIB)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-F", str(width), "-s", "1", fat], check=True, capture_output=True)
    gpt(path, (Partition(fat, uuid=uuid, kind="uefi"),))
    mtools("mmd", path, "::/rootfall")
    for name, content in files.items():
        (scratch / "content").write_bytes(content)
        mtools("mcopy", path, str(scratch / "content"), f"::/rootfall/{name}")
    return path


def names(disk: Path) -> list[str]:
    """What is in /rootfall."""
    return sorted(line.rpartition("/")[2] for line in mtools("mdir", disk, "-b", "::/rootfall").decode().split())


def fsck(disk: Path, scratch: Path) -> str:
    """What fsck.vfat has to complain about on the first partition."""
    fat = scratch / "checked"
    content = disk.read_bytes()
    fat.write_bytes(content[ALIGNMENT : len(content) - ALIGNMENT])
    return subprocess.run(["/usr/sbin/fsck.vfat", "-n", fat], capture_output=True, text=True).stdout


@pytest.mark.parametrize(("series", "width"), [("6.1", 32), ("7", 16)])
def test_the_report_is_on_the_system_partition_and_the_oldest_of_six_is_gone(
    series: str, width: int, vm: Start, image: Callable[..., Path], tmp_path: Path
) -> None:
    kernel = fetch_kernel(series)
    old = {f"report-{number:04}.{ending}": b"old" for number in (3, 4, 5, 6, 7) for ending in ("txt", "json")}
    disk = system_disk(tmp_path / "disk", width, old | {"report-of-mine.txt": b"not yours"}, tmp_path)
    machine = Machine(kernel.image, image(kernel, config("reboot")), APPEND, disks=(Disk(disk),))
    guest = vm(machine)
    assert guest.wait_off(LIMIT) == "guest-reset"
    assert "saved     rootfall/report-0008.txt and .json on /dev/vda1, for the next good" in guest.console.log
    kept = {f"report-{number:04}.{ending}" for number in (4, 5, 6, 7, 8) for ending in ("txt", "json")}
    assert set(names(disk)) == kept | {"report-of-mine.txt"}
    text = mtools("mtype", disk, "::/rootfall/report-0008.txt").decode()
    assert text.startswith(HEAD)
    assert report(text)["failed"][0].startswith("cannot find the root device LABEL=lost in ")
    assert json.loads(mtools("mtype", disk, "::/rootfall/report-0008.json"))["goal"]["root"] == "LABEL=lost"
    assert "dirty" not in fsck(disk, tmp_path).lower()


def full(disk: Path, scratch: Path) -> None:
    """Not a cluster is left."""
    free = re.search(r"([\d ]+) bytes free", mtools("mdir", disk, "::/").decode())
    assert free
    (scratch / "filling").write_bytes(bytes(int(free[1].replace(" ", ""))))
    mtools("mcopy", disk, str(scratch / "filling"), "::/filling")


def dirty(disk: Path, _scratch: Path) -> None:
    """As after a power failure while it was mounted."""
    with disk.open("r+b") as file:
        file.seek(ALIGNMENT + DIRTY[16])
        file.write(b"\x01")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (full, "not saved on /dev/vda1: No space left on device"),
        (dirty, "not saved on /dev/vda1: it was not unmounted cleanly; fsck.vfat mends it"),
    ],
)
def test_a_system_partition_that_cannot_take_the_report_is_left_as_it_was(
    damage: Callable[[Path, Path], None], said: str, vm: Start, image: Callable[..., Path], tmp_path: Path
) -> None:
    kernel = fetch_kernel("6.1")
    disk = system_disk(tmp_path / "disk", 16, {"report-0001.txt": b"old"}, tmp_path)
    damage(disk, tmp_path)
    before = hashlib.sha256(disk.read_bytes()).digest()
    guest = vm(Machine(kernel.image, image(kernel, config("reboot")), APPEND, disks=(Disk(disk),)))
    assert guest.wait_off(LIMIT) == "guest-reset"
    assert said in guest.console.log
    assert names(disk) == ["report-0001.txt"]
    if damage is dirty:
        assert hashlib.sha256(disk.read_bytes()).digest() == before


def test_where_there_is_no_system_partition_one_line_says_so_and_the_shell_comes(
    vm: Start, image: Callable[..., Path], tmp_path: Path
) -> None:
    kernel = fetch_kernel("6.1")
    disk = Disk(blank(tmp_path / "disk", MIB))
    guest = vm(Machine(kernel.image, image(kernel, config("shell")), APPEND, disks=(disk,)))
    guest.console.expect("not saved on the EFI system partition: no partition has its type\n", LIMIT)
    guest.console.expect("rootfall> ", LIMIT)
    guest.console.send("report\n")
    guest.console.expect("not saved on the EFI system partition: no partition has its type\n", LIMIT)


@pytest.mark.skipif(not CODE.exists(), reason="no OVMF (Debian: apt install ovmf)")
def test_of_two_system_partitions_the_one_that_the_boot_loader_came_from_is_taken(
    vm: Start, image: Callable[..., Path], tmp_path: Path
) -> None:
    kernel = fetch_kernel("6.1")
    disks = [system_disk(tmp_path / f"disk-{uuid}", 16, {}, tmp_path, uuid) for uuid in PARTUUIDS]
    variables = tmp_path / "variables.fd"
    variables.write_bytes(with_variable(VARIABLES.read_bytes(), "LoaderDevicePartUUID", PARTUUIDS[1].upper()))
    made = image(kernel, config("reboot"))
    machine = Machine(kernel.image, made, APPEND, disks=tuple(map(Disk, disks)), firmware=Firmware(CODE, variables))
    guest = vm(machine)
    assert guest.wait_off(LIMIT) == "guest-reset"
    assert [names(disk) for disk in disks] == [[], ["report-0001.json", "report-0001.txt"]]
