# SPDX-License-Identifier: MIT
"""One boot under QEMU's instruction clock: 1 "ms" is 10^6 guest instructions, whatever else the machine does.

It measures images that hand over to tests/guest/witness.c. `init` runs from the kernel's "Run /init" to the first
instruction of the real init, both on the kernel log's clock; `total` from the kernel's start, on CLOCK_MONOTONIC.
"""

from dataclasses import dataclass
from pathlib import Path

from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.guest.material import UUID
from tests.guest.report import Witness, parse

APPEND = f"quiet panic=-1 root=UUID={UUID} ro"
DEADLINE = 180.0


@dataclass(frozen=True)
class Boot:
    """What one boot cost; memory in KiB, as the witness counts it once everything late is done."""

    image: str
    bytes: int
    init_ms: float
    total_ms: float
    memory_kib: int


def boot(kernel: Path, image: Path, disk: Path, append: str = APPEND) -> Witness:
    """Boot the image on the instruction clock and read the witness's report; ValueError when there is none."""
    disks = (Disk(disk, snapshot=True),)
    with VM(Machine(kernel, image, append, disks=disks, accel="tcg", instruction_clock=True)) as vm:
        vm.wait_off(DEADLINE)
        return parse(vm.console.log)


def measure(name: str, kernel: Path, image: Path, disk: Path) -> Boot:
    """One boot of the image as a row of the table."""
    witness = boot(kernel, image, disk)
    start, entered = witness.logged("Run /init as init process"), witness.logged("witness: entered")
    if start is None or entered is None:
        raise ValueError(f"{image}: the kernel log lacks a moment: {witness.kmsg}")
    total = witness.monotonic_ns / 1e6
    return Boot(name, image.stat().st_size, (entered - start) * 1e3, total, witness.memory["Reclaimable"])
