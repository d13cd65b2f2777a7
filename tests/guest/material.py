# SPDX-License-Identifier: MIT
"""The small parts that boot tests are made of: static C programs and a disk with the witness as its init."""

import subprocess
import tempfile
from pathlib import Path

UUID = "5d0c3f0e-7a52-4b8e-9e0b-2f1d6c3a9b47"
HERE = Path(__file__).parent
MIB = 1 << 20


def compile_static(source: Path, output: Path) -> Path:
    """A static program from one C file; warnings are errors."""
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", output, source], check=True)
    return output


def witness_tree(directory: Path) -> Path:
    """A root directory in which /sbin/init is the witness, with the mount points that an init expects."""
    for name in ("dev", "proc", "sys", "run", "sbin", "etc", "tmp"):
        (directory / name).mkdir(parents=True)
    compile_static(HERE / "witness.c", directory / "sbin/init")
    return directory


def ext4_disk(tree: Path, disk: Path, *, uuid: str = UUID, size_mib: int = 64) -> Path:
    """A sparse GPT disk whose one partition is an ext4 with this UUID, filled from `tree`; no root, no mounts."""
    with disk.open("wb") as image:
        image.truncate((size_mib + 2) * MIB)
    table = f"label: gpt\nlabel-id: {UUID}\nstart=2048, size={size_mib * MIB // 512}, uuid={UUID}\n"
    sfdisk = ["/usr/sbin/sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(disk)]
    subprocess.run(sfdisk, input=table, text=True, check=True)
    extended = f"offset={MIB},hash_seed={UUID},root_owner=0:0"
    mke2fs = ["/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-U", uuid, "-E", extended, "-d", str(tree), str(disk)]
    subprocess.run([*mke2fs, f"{size_mib}M"], check=True)
    return disk


def witness_disk(disk: Path, *, uuid: str = UUID) -> Path:
    """A disk on which the witness is /sbin/init."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as tree:
        return ext4_disk(witness_tree(Path(tree) / "root"), disk, uuid=uuid)
