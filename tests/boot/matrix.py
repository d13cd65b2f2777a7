# SPDX-License-Identifier: MIT
"""Each kind of disk under each kernel, found by full discovery: `python -m tests.boot.matrix` boots all and prints a table.

An image with drivers for storage and no list of modules must find the machine's only disk and hand over to the root on it.
`--kind` and `--kernel` choose rows and columns. The exit status is 1 when a boot did not reach the real init.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from rootfall_qemu.debian import SERIES, DebianKernel, fetch_kernel
from rootfall_qemu.machine import Disk, Interface, Machine
from tests.boot import images, roots
from tests.boot.booted import Booted, boot_once

KINDS: tuple[Interface, ...] = get_args(Interface)
# What the whole suite always boots: each kind once, each kernel at least twice. ROOTFALL_MATRIX=full boots all.
ALWAYS = {
    "virtio-blk": "6.12",
    "virtio-scsi": "6.1",
    "nvme": "7",
    "ahci": "6.1",
    "usb": "6.12",
    "usb-ehci": "6.1",
    "sd": "7",
}
# The root comes on the command line; drivers for all storage, and no module is named.
DISCOVERY = """\
version: 1
boot:
  root: {timeout: 60s}
  on_failure: {action: reboot}
image:
  drivers: [storage]
  filesystems: [ext4]
"""


def machine(kind: Interface, kernel: DebianKernel, image: Path, disk: Path) -> Machine:
    """A machine whose only disk is of this kind."""
    only = (Disk(disk, interface=kind, snapshot=True),)
    return Machine(kernel.image, image, f"console=ttyS0 panic=-1 root=UUID={roots.UUID}", memory=384, disks=only)


def reached(record: Booted) -> bool:
    """Whether the real init ran, as PID 1, and powered the machine off."""
    return "REAL-ROOT init pid=1" in record.console and record.end == "guest-shutdown"


def table(kinds: Sequence[str], kernels: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """Kinds as rows, kernels as columns, in Markdown."""

    def row(first: str, cells: Iterable[str]) -> str:
        return f"| {first:12} | {' | '.join(f'{cell:6}' for cell in cells)} |"

    rule = f"|{'-' * 14}|{'--------|' * len(kernels)}"
    return "\n".join(
        [row("disk", kernels), rule, *(row(kind, (cell(kind, each) for each in kernels)) for kind in kinds)]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Boot, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.matrix", description="disks under kernels, as a table")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kernel", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep images, disks and consoles there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        place = (options.keep or Path(scratch)).absolute()
        place.mkdir(exist_ok=True)
        cells = {}
        for kernel in options.kernel:
            for kind in options.kind:
                cells[kind, kernel] = "ok" if reached(_boot(place, kind, fetch_kernel(kernel))) else "FAILED"
                print(f"{kind} {kernel}: {cells[kind, kernel]}", file=sys.stderr, flush=True)
    print(table(options.kind, options.kernel, lambda kind, kernel: cells[kind, kernel]))
    return int("FAILED" in cells.values())


def _boot(place: Path, kind: Interface, kernel: DebianKernel) -> Booted:
    disk = roots.disk(place, "witness-64", roots.witness, size=64)
    return boot_once(place, machine(kind, kernel, images.built(place, kernel, DISCOVERY), disk))


if __name__ == "__main__":
    raise SystemExit(main())
