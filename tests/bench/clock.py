# SPDX-License-Identifier: MIT
"""One boot under QEMU's instruction clock: 1 "ms" is 10^6 guest instructions, whatever else the machine does.

It measures images that hand over to tests/guest/witness.c. `init` runs from the kernel's "Run /init" to the first
instruction of the real init, both on the kernel log's clock; `total` from the kernel's start, on CLOCK_MONOTONIC.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.guest.material import UUID
from tests.guest.report import Witness, parse

QEMU = (
    "qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -machine q35 -m 512 -display none -serial stdio"
    # One instruction is one nanosecond; erms off, as TCG counts a whole `rep movsb` as one instruction.
    " -accel tcg,thread=single -icount shift=0,sleep=off -smp 1 -cpu max,la57=off,erms=off"
)
# Without idle=poll the clock jumps to the next timer whenever the guest waits for the disk.
APPEND = f"console=ttyS0 quiet idle=poll panic=-1 root=UUID={UUID} ro"
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
    drive = f"file={disk},format=raw,if=none,id=root,snapshot=on"
    device = ("-drive", drive, "-device", "virtio-blk-pci,drive=root")
    command = [*QEMU.split(), "-kernel", str(kernel), "-initrd", str(image), *device, "-append", append]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=True)
        console = done.stdout
    except subprocess.TimeoutExpired as late:
        console = late.stdout or b""
    return parse(console.decode("utf-8", "replace"))


def measure(name: str, kernel: Path, image: Path, disk: Path) -> Boot:
    """One boot of the image as a row of the table."""
    witness = boot(kernel, image, disk)
    start, entered = witness.logged("Run /init as init process"), witness.logged("witness: entered")
    if start is None or entered is None:
        raise ValueError(f"{image}: the kernel log lacks a moment: {witness.kmsg}")
    total = witness.monotonic_ns / 1e6
    return Boot(name, image.stat().st_size, (entered - start) * 1e3, total, witness.memory["Reclaimable"])
