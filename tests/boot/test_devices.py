# SPDX-License-Identifier: MIT
"""Full discovery finds the root: on each kind of disk, under each of its names, among many disks, and never by guessing."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import SERIES, fetch_kernel
from rootfall_qemu.machine import Disk, Interface, Machine
from tests.boot import device_disks, matrix
from tests.boot.booted import Booted
from tests.boot.device_disks import LABEL, PARTUUIDS, UUID
from tests.boot.failure import report
from tests.guest.report import parse

pytestmark = pytest.mark.vm

Boot = Callable[[Machine], Booted]
Start = Callable[..., Booted]

FULL = os.environ.get("ROOTFALL_MATRIX") == "full"
# Names of the second partition as the disk's kind has them; each is what udevd makes (tests/unit/data/udev-links).
NAMES: dict[Interface, str] = {
    "virtio-blk": "/dev/disk/by-id/virtio-rootfall-1-part2",
    "virtio-scsi": "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_rootfall-1-part2",
    "nvme": "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_rootfall-1-part2",
    "ahci": "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2",
    "usb": "/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_rootfall-1-0:0-part2",
    "usb-ehci": f"LABEL={LABEL}",
    "sd": f"PARTLABEL={LABEL}",
}


@pytest.fixture
def start(boot: Boot, image: Callable[..., Path]) -> Start:
    """`start(series, root, *disks)` is the record of a boot of the discovery image with this root=."""

    def run(
        series: str, root: str, *disks: Disk, append: str = "", config: str = matrix.DISCOVERY, **more: object
    ) -> Booted:
        kernel = fetch_kernel(series)
        append = f'console=ttyS0 panic=-1 "root={root}" {append}'
        return boot(Machine(kernel.image, image(kernel, config), append, memory=384, disks=disks, **more))  # type: ignore[arg-type]

    return run


def root_of(record: Booted) -> str:
    return next(mount.source for mount in parse(record.console).mounts or () if mount.point == "/")


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("kind", matrix.KINDS)
@pytest.mark.parametrize("way", matrix.WAYS)
def test_the_only_disk_is_found_whatever_its_kind(
    way: str, kind: Interface, series: str, start: Start, shared: Path
) -> None:
    always = matrix.ALWAYS if way == "alone" else matrix.ALWAYS_WITH_UDEVD
    if not FULL and always.get(kind) != series:
        pytest.skip(
            "set ROOTFALL_MATRIX=full for every kind of disk under every kernel, with and without the hook udevd"
        )
    disk = Disk(device_disks.named(shared), interface=kind, serial="" if kind == "sd" else "rootfall-1", snapshot=True)
    record = start(series, NAMES[kind], disk, config=matrix.configuration(shared, way))
    assert matrix.reached(record)
    assert root_of(record).endswith("2")
    assert ("hook: undo udevd: stopped" in record.console) == (way == "udevd")


@pytest.mark.parametrize(
    ("series", "root"),
    [
        ("6.1", f"PARTUUID={PARTUUIDS[0]}/PARTNROFF=1"),
        ("7", f"PARTUUID={PARTUUIDS[1]}"),
        ("6.12", "/dev/disk/by-label/Wurzel\\x20é\\x20№"),
    ],
)
def test_a_partition_is_found_by_odd_names(series: str, root: str, start: Start, shared: Path) -> None:
    record = start(series, root, Disk(device_disks.named(shared), snapshot=True))
    assert root_of(record) == "/dev/vda2"


@pytest.mark.parametrize(
    ("make", "root", "node"),
    [
        (device_disks.bare, f"UUID={UUID}", "/dev/vda"),
        (device_disks.large_sectors, "PARTLABEL=large", "/dev/vda1"),
    ],
    ids=["no table", "GPT"],
)
def test_a_disk_with_sectors_of_4_kib_is_found(
    make: Callable[[Path], Path], root: str, node: str, start: Start, shared: Path
) -> None:
    disk = Disk(make(shared), snapshot=True, logical_block_size=4096, physical_block_size=4096)
    assert root_of(start("6.1", root, disk)) == node


@pytest.mark.parametrize(("count", "series"), [(16, "6.12"), (64, "6.1")])
def test_the_last_of_many_disks_is_found(count: int, series: str, start: Start, shared: Path) -> None:
    idle = [Disk(device_disks.idle(shared), interface="virtio-scsi", snapshot=True) for _ in range(count - 1)]
    root = Disk(device_disks.bare(shared), interface="virtio-scsi", serial="the-last", snapshot=True)
    record = start(series, f"UUID={UUID}", *idle, root, append="quiet")
    assert matrix.reached(record)
    assert re.fullmatch(r"/dev/sd[a-z]+", root_of(record))


def test_two_disks_with_one_uuid_are_both_named_and_none_is_taken(start: Start, shared: Path) -> None:
    twins = [Disk(device_disks.bare(shared), snapshot=True) for _ in range(2)]
    record = start("6.1", f"UUID={UUID}", *twins)
    assert record.end == "guest-reset"
    text = str(report(record.console))
    assert "/dev/vda and /dev/vdb" in text
    assert "REAL-ROOT" not in record.console


def test_the_root_is_found_by_the_type_of_its_partition(start: Start, shared: Path) -> None:
    disk = device_disks.discoverable(shared, UUID, PARTUUIDS[0], "GUID:60")
    record = start(
        "6.12", "auto", Disk(device_disks.idle(shared), snapshot=True), Disk(disk, snapshot=True), append="rw"
    )
    seen = parse(record.console)
    assert [(m.source, m.options.split(",")[0]) for m in seen.mounts or () if m.point == "/"] == [("/dev/vdb3", "ro")]


def test_of_two_disks_with_root_partitions_none_is_taken_without_a_word_from_the_boot_loader(
    start: Start, shared: Path
) -> None:
    disks = [
        Disk(device_disks.discoverable(shared, name, esp), snapshot=True)
        for name, esp in zip((UUID, device_disks.OTHER_UUID), PARTUUIDS, strict=True)
    ]
    record = start("7", "auto", *disks)
    text = str(report(record.console))
    assert "/dev/vda3" in text
    assert "/dev/vdb3" in text
    assert record.end == "guest-reset"
