# SPDX-License-Identifier: MIT
"""Names below /dev/disk computed from sysfs are those that systemd-udevd has given to the same disks (data/udev-links)."""

from pathlib import Path

import pytest

from rootfall import block_links
from tests.boot.udev_links import Links, parse, plant

RECORD = Path(__file__).parent / "data/udev-links"


@pytest.fixture(scope="module")
def seen() -> Links:
    return parse(RECORD.read_text())


@pytest.fixture(scope="module")
def computed(seen: Links, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of every block device of the record, by its node."""
    sysfs = tmp_path_factory.mktemp("sys")
    plant(seen, sysfs)
    blocks = [path for path, subsystem in seen.subsystems.items() if subsystem == "block"]
    return {f"/dev/{Path(path).name}": block_links.links(str(sysfs / path.removeprefix("/sys/"))) for path in blocks}


def test_every_kind_of_disk_is_in_the_record(seen: Links) -> None:
    assert {"vda", "sda", "nvme0n1", "mmcblk0"} <= {Path(node).name for node in seen.by_node}
    names = " ".join(name for each in seen.by_node.values() for name in each)
    assert all(word in names for word in ("virtio-", "scsi-", "nvme-", "ata-", "usb-", "mmc-"))


def test_all_links_that_udevd_made_are_known(seen: Links, computed: dict[str, set[str]]) -> None:
    nodes = {node: names for node, names in seen.by_node.items() if node in computed}
    missing = {node: names - computed[node] for node, names in nodes.items() if names - computed[node]}
    assert missing == {}
    assert len(nodes) > 30


def test_no_link_is_given_to_two_devices(computed: dict[str, set[str]]) -> None:
    names = [name for each in computed.values() for name in each]
    # Two disks of the record have one serial number on different buses of one kind; udevd lets one of them win.
    assert {name for name in names if names.count(name) > 1} <= {name for name in names if "/usb-" in name}


def device(base: Path, path: str, subsystem: str, **attributes: str) -> Path:
    place = base / path
    place.mkdir(parents=True)
    (place / "uevent").touch()
    (base / subsystem).mkdir(exist_ok=True)
    (place / "subsystem").symlink_to(base / subsystem)
    for name, value in attributes.items():
        (place / name).write_text(f"{value}\n")
    return place


def page83(*designators: tuple[int, int, bytes]) -> bytes:
    """SCSI's page 0x83 from (code set, kind, content)."""
    body = b"".join(bytes((code, kind, 0, len(content))) + content for code, kind, content in designators)
    return b"\0\x83" + len(body).to_bytes(2, "big") + body


NAA = bytes.fromhex("600508b1001c5e2a")


@pytest.mark.parametrize(
    ("vendor", "page", "names"),
    [
        ("HP", page83((1, 3, NAA)), {"scsi-3600508b1001c5e2a", "wwn-0x600508b1001c5e2a"}),
        ("HP", page83((2, 1, b"HP      X  1")), {"scsi-1HP_X_1"}),
        ("HP", page83((1, 0x13, NAA)), set()),  # of the port, not the disk
        (
            "ATA",
            page83(
                (2, 1, b"ATA     " + b"MAKER  SSD 860".ljust(40) + b"  S3Z8 NB".rjust(20)), (1, 3, b"\x50" + NAA[1:])
            ),
            {"ata-MAKER_SSD_860_S3Z8_NB", "wwn-0x500508b1001c5e2a"},
        ),
        ("ATA", b"\0\x83\0\xff\x02", set()),  # cut short
    ],
)
def test_a_scsi_disk_is_named_by_its_identification_page(
    vendor: str, page: bytes, names: set[str], tmp_path: Path
) -> None:
    scsi = device(
        tmp_path, "devices/pci0000:00/0000:00:1f.2/host0/target0:0:0/0:0:0:0", "scsi", vendor=vendor, model="X"
    )
    (scsi / "vpd_pg83").write_bytes(page)
    disk = device(tmp_path, f"{scsi.relative_to(tmp_path)}/block/sda", "block")
    assert block_links.links(str(disk)) == {f"/dev/disk/by-id/{name}" for name in names}


def test_a_device_mapper_device_has_its_name(tmp_path: Path) -> None:
    disk = device(tmp_path, "devices/virtual/block/dm-0", "block")
    device(tmp_path, "devices/virtual/block/dm-0/dm", "block", name="vg-root", uuid="LVM-abc")
    assert {"/dev/mapper/vg-root", "/dev/disk/by-id/dm-uuid-LVM-abc"} <= block_links.links(str(disk))


def test_what_is_not_there_has_no_links(tmp_path: Path) -> None:
    assert block_links.links(str(tmp_path / "devices/gone/block/sda")) == set()
