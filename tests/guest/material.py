# SPDX-License-Identifier: MIT
"""The small parts that boot tests are made of: static C programs and a disk with the witness as its init."""

import subprocess
import tempfile
from pathlib import Path

from rootfall_qemu.disk import MIB, Partition, ext4, gpt

UUID = "5d0c3f0e-7a52-4b8e-9e0b-2f1d6c3a9b47"
HERE = Path(__file__).parent


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


def witness_disk(disk: Path, *, uuid: str = UUID) -> Path:
    """A GPT disk with one ext4 that has this UUID, on which the witness is /sbin/init."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as scratch:
        tree = witness_tree(Path(scratch) / "root")
        return gpt(disk, (Partition(ext4(Path(scratch) / "root.ext4", 64 * MIB, uuid=uuid, tree=tree)),))
