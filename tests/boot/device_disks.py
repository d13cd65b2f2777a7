# SPDX-License-Identifier: MIT
"""Disks for the search for the root: odd names, 4 KiB sectors, partition types that say what they are. All below 64 MiB."""

import struct
import subprocess
import uuid
import zlib
from pathlib import Path

from rootfall_qemu.cache import made_once
from rootfall_qemu.disk import MIB, Partition, blank, ext4, gpt
from tests.boot.roots import MOUNT_POINTS, witness

UUID = "9f3c1a52-6d84-4e0b-a7c1-58e2b90d4f36"
OTHER_UUID = "0c7e4d19-82b5-4f6a-9d3e-71a5c8b2e604"
PARTUUIDS = ("2b8d6f04-93c1-4a7e-b5d2-e6f1084c9a37", "c51e7a90-4d2f-4b83-8e16-0a9b3d7c5f28")
LABEL = "Wurzel é №"
DISK_UUID = "e4a07b3d-5c19-4862-9f0d-b38c6e21d57a"
ROOT_TYPE = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"  # x86-64, by the Discoverable Partitions Specification
LINUX_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
BLOCK = 4096


def root(place: Path, filesystem_uuid: str = UUID) -> Path:
    """An ext4 of 40 MiB, in blocks that suit sectors of 4 KiB too, on which the witness is /sbin/init."""
    tree = place / "tree"
    for point in MOUNT_POINTS:
        (tree / point).mkdir(parents=True)
    witness(tree)
    return ext4(place / "root.ext4", 40 * MIB, uuid=filesystem_uuid, label=LABEL, tree=tree, block_size=BLOCK)


def named(directory: Path) -> Path:
    """64 MiB, as an SD card must have: an empty partition, then the root, whose names hold spaces and other letters."""

    def make(place: Path) -> dict[str, object]:
        parts = (
            Partition(size=MIB, uuid=PARTUUIDS[0], label="first"),
            Partition(root(place), 61 * MIB, PARTUUIDS[1], LABEL),
        )
        gpt(place / "disk.img", parts, uuid=DISK_UUID)
        return {}

    return made_once(directory / "disk-named", make) / "disk.img"


def bare(directory: Path) -> Path:
    """The root on the disk itself, without a partition table."""

    def make(place: Path) -> dict[str, object]:
        root(place).rename(place / "disk.img")
        return {}

    return made_once(directory / "disk-bare", make) / "disk.img"


def idle(directory: Path) -> Path:
    """A disk with nothing on it."""
    return made_once(directory / "disk-idle", lambda place: {"of": str(blank(place / "disk.img", MIB))}) / "disk.img"


def discoverable(directory: Path, name: str, esp: str, attributes: str = "") -> Path:
    """An ESP, a root partition that is not to be found (no-auto), the root by its type, and one more of that type.

    `name` is the root's file system UUID; `attributes` are sfdisk(8)'s, of the root.
    """

    def make(place: Path) -> dict[str, object]:
        disk = place / "disk.img"
        parts = (
            Partition(size=MIB, uuid=esp, kind="uefi"),
            Partition(size=MIB, kind=ROOT_TYPE),
            Partition(root(place, name), kind=ROOT_TYPE),
            Partition(size=MIB, kind=ROOT_TYPE),
        )
        gpt(disk, parts)
        for number, wanted in ((2, "GUID:63"), (3, attributes)):
            if wanted:
                subprocess.run(["/usr/sbin/sfdisk", "-q", "--part-attrs", str(disk), str(number), wanted], check=True)
        return {}

    return made_once(directory / f"disk-auto-{name}-{attributes}", make) / "disk.img"


def large_sectors(directory: Path) -> Path:
    """A GPT in sectors of 4 KiB, written by hand by the UEFI specification (5.3), with the root as its only partition."""

    def make(place: Path) -> dict[str, object]:
        _gpt_of_large_sectors(place / "disk.img", root(place))
        return {}

    return made_once(directory / "disk-4k", make) / "disk.img"


def _gpt_of_large_sectors(path: Path, content: Path) -> None:
    start, length = 256, content.stat().st_size // BLOCK
    last = start + length + 255
    entry = uuid.UUID(LINUX_TYPE).bytes_le + uuid.UUID(PARTUUIDS[0]).bytes_le
    entry += struct.pack("<QQQ", start, start + length - 1, 0) + "large".encode("utf-16-le").ljust(72, b"\0")
    table = entry.ljust(128 * 128, b"\0")

    def header(own: int, other: int, entries: int) -> bytes:
        def pack(checksum: int) -> bytes:
            first = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, checksum, 0, own, other, 6, last - 5)
            disk = uuid.UUID(DISK_UUID).bytes_le
            return first + disk + struct.pack("<QIII", entries, 128, 128, zlib.crc32(table))

        return pack(zlib.crc32(pack(0)))

    protective = (
        bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, last) + bytes(48) + b"\x55\xaa"
    )
    blank(path, (last + 1) * BLOCK)
    with path.open("r+b") as file:
        places = {0: protective, 1: header(1, last, 2), 2: table, start: content.read_bytes(), last - 4: table}
        for block, data in (places | {last: header(last, 1, last - 4)}).items():
            file.seek(block * BLOCK)
            file.write(data)
