# SPDX-License-Identifier: MIT
"""The disks that the boot tests hand over to, or fail to: small GPT disks with an ext4, good and damaged ones."""

import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from rootfall_qemu.cache import made_once
from rootfall_qemu.disk import ALIGNMENT, MIB, SECTOR, Partition, ext4, gpt
from tests.guest.material import HERE, compile_static

UUID = "5d0c3f0e-7a52-4b8e-9e0b-2f1d6c3a9b47"
PARTUUID = "b7e0d3c4-1f26-4a85-8d5b-90c2e7f6a318"
LABEL = "the real root"
PARTLABEL = "first partition"
MOUNT_POINTS = ("dev", "proc", "sys", "run", "sbin", "etc", "bin", "tmp")

Fill = Callable[[Path], None]


def disk(
    directory: Path, name: str, fill: Fill, damage: Callable[[Path], None] = lambda _: None, size: int = 34
) -> Path:
    """A disk of `size` MiB whose ext4 holds what `fill` puts into a directory; made below `directory`, once a `name`."""

    def make(place: Path) -> dict[str, object]:
        tree = place / "tree"
        for point in MOUNT_POINTS:
            (tree / point).mkdir(parents=True)
        fill(tree)
        content = ext4(place / "root.ext4", 32 * MIB, uuid=UUID, label=LABEL, tree=tree)
        gpt(place / "disk.img", (Partition(content, (size - 2) * MIB, PARTUUID, PARTLABEL),), uuid=UUID)
        damage(place / "disk.img")
        content.unlink()
        return {"name": name}

    return made_once(directory / f"disk-{name}", make) / "disk.img"


def witness(tree: Path) -> None:
    """/sbin/init is the witness; it has other names, too."""
    compile_static(HERE / "witness.c", tree / "sbin/init")
    (tree / "sbin/other").symlink_to("../bin/third")
    (tree / "bin/third").symlink_to("/sbin/init")


def nothing(_tree: Path) -> None:
    """No init at all."""


def unusable_inits(tree: Path) -> None:
    """Each place where the kernel looks for an init holds one that cannot be executed, each for another reason."""
    _program(tree / "sbin/script", b"#!/usr/bin/nowhere -x\n")
    _program(tree / "sbin/init", elf(machine=183))
    _program(tree / "etc/init", elf(interpreter=b"/lib64/ld-elsewhere.so.9"))
    _program(tree / "bin/init", elf(), mode=0o644)
    (tree / "bin/sh").symlink_to("/usr/bin/gone")


def elf(machine: int = 62, interpreter: bytes = b"") -> bytes:
    """The start of a 64-bit little-endian program by elf(5): its header, and PT_INTERP when there is an interpreter."""
    count = 1 if interpreter else 0
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x400000, 64, 0, 0, 64, 56, count, 0, 0, 0)
    text = interpreter + b"\0"
    table = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(text), len(text), 1) if interpreter else b""
    return header + table + text


def _program(path: Path, content: bytes, mode: int = 0o755) -> None:
    path.write_bytes(content)
    path.chmod(stat.S_IFREG | mode)


def overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    """Damage: write `data` at an offset of the file system."""

    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(ALIGNMENT + offset)
            file.write(data)

    return damage


def cut_short(path: Path) -> None:
    """Damage: the partition ends in the middle of the file system (a copy that did not fit)."""
    half = 16 * MIB // SECTOR
    table = f"label: gpt\nlabel-id: {UUID}\nstart={ALIGNMENT // SECTOR}, size={half}, uuid={PARTUUID}\n"
    sfdisk = ["/usr/sbin/sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=never", str(path)]
    subprocess.run(sfdisk, input=table, text=True, check=True)
