# SPDX-License-Identifier: MIT
"""Each kind of disk under each kernel, found by full discovery: `python -m tests.boot.matrix` boots all and prints two tables.

An image with drivers for storage and no list of modules must find the machine's only disk and hand over to the root on it,
by rootfall alone and with a systemd-udevd in the image (the hook udevd). `--kind`, `--kernel` and `--way` choose. The exit
status is 1 when a boot did not reach the real init.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from rootfall_qemu.debian import SERIES, DebianKernel, fetch_kernel
from rootfall_qemu.machine import Disk, Interface, Machine
from tests.boot import images, roots, udev_root
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
# The same with the hook udevd, which brings all that the search without it has to do itself.
ALWAYS_WITH_UDEVD = {"virtio-blk": "7", "nvme": "6.12", "ahci": "6.1", "usb": "7"}
WAYS = ("alone", "udevd")
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


def configuration(place: Path, way: str) -> str:
    """That of an image which finds disks one way or the other."""
    if way == "alone":
        return DISCOVERY
    return udev_root.with_hook(DISCOVERY, udev_root.made(place))


def machine(kind: Interface, kernel: DebianKernel, image: Path, disk: Path) -> Machine:
    """A machine whose only disk is of this kind."""
    only = (Disk(disk, interface=kind, snapshot=True),)
    return Machine(kernel.image, image, f"console=ttyS0 panic=-1 root=UUID={roots.UUID}", memory=384, disks=only)


def reached(record: Booted) -> bool:
    """Whether the real init ran, as PID 1, and powered the machine off."""
    return "REAL-ROOT init pid=1" in record.console and record.end == "guest-shutdown"


def table(kinds: Sequence[str], kernels: Sequence[str], cell: Callable[[str, str], str], corner: str = "disk") -> str:
    """Kinds as rows, kernels as columns, in Markdown."""

    def row(first: str, cells: Iterable[str]) -> str:
        return f"| {first:12} | {' | '.join(f'{cell:6}' for cell in cells)} |"

    rule = f"|{'-' * 14}|{'--------|' * len(kernels)}"
    return "\n".join(
        [row(corner, kernels), rule, *(row(kind, (cell(kind, each) for each in kernels)) for kind in kinds)]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Boot, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.boot.matrix", description="disks under kernels, as a table")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kernel", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS), help="without and with the hook udevd")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep images, disks and consoles there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        place = (options.keep or Path(scratch)).absolute()
        place.mkdir(exist_ok=True)
        cells = {}
        for way, kernel, kind in itertools.product(options.way, options.kernel, options.kind):
            good = reached(_boot(place, kind, fetch_kernel(kernel), way))
            cells[way, kind, kernel] = "ok" if good else "FAILED"
            print(f"{way} {kind} {kernel}: {cells[way, kind, kernel]}", file=sys.stderr, flush=True)
    for way in options.way:
        print(table(options.kind, options.kernel, lambda kind, kernel: cells[way, kind, kernel], way), end="\n\n")  # noqa: B023
    return int("FAILED" in cells.values())


def _boot(place: Path, kind: Interface, kernel: DebianKernel, way: str) -> Booted:
    disk = roots.disk(place, "witness-64", roots.witness, size=64)
    return boot_once(place, machine(kind, kernel, images.built(place, kernel, configuration(place, way)), disk))


if __name__ == "__main__":
    raise SystemExit(main())
