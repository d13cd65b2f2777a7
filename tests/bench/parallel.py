# SPDX-License-Identifier: MIT
"""Modules loaded in parallel against one after another, two CPUs: `python tests/bench/parallel.py` (`make bench-parallel`).

The same image on the same machine, in turns: as it is, and with rootfall_sequential=1 on the command line. A row is the time
from the first module's start to the last one's end on the guest's clock (timeline.json), the least of all rounds. The
instruction clock has one CPU only, so this is wall time: only the ratio within one run means something.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# Run as a file, Python looks beside this file only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rootfall_build.build import Request, build, cache_directory
from rootfall_build.freeze import freeze
from rootfall_build.progress import Silent
from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.guest.material import UUID, witness_disk
from tests.guest.report import parse

CONFIG = "version: 1\nimage: {modules: [virtio_pci, virtio_blk, nvme, ahci, sd_mod, usb_storage, xhci_pci, ext4]}\n"
DEADLINE = 300.0


def loading_ms(machine: Machine) -> float:
    """How long the modules of one boot took."""
    with VM(machine) as vm:
        vm.wait_off(DEADLINE)
        timeline = json.loads(parse(vm.console.log).files["timeline.json"] or "{}")
    spans = [span for span in timeline["spans"] if span["name"].startswith("module ")]
    return float(max(span["end"] for span in spans) - min(span["start"] for span in spans)) / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 1 when loading in parallel was no faster."""
    parser = argparse.ArgumentParser(description="modules in parallel against one after another")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernel", default="6.1", help="a series of rootfall_qemu.debian (default: 6.1)")
    options = parser.parse_args(arguments)
    kernel = fetch_kernel(options.kernel)
    rows: dict[str, list[float]] = {"parallel": [], "sequential": []}
    with tempfile.TemporaryDirectory() as directory:
        config, image = Path(directory) / "rootfall.yaml", Path(directory) / "rootfall.img"
        config.write_text(CONFIG)
        build(Request(config, kernel.version, kernel.modules, image), freeze, cache_directory(), Silent())
        disks = (Disk(witness_disk(Path(directory) / "root.img"), snapshot=True),)
        for _ in range(options.rounds):
            for name, times in rows.items():
                word = "rootfall_sequential=1" if name == "sequential" else ""
                append = f"quiet panic=-1 root=UUID={UUID} {word}"
                times.append(loading_ms(Machine(kernel.image, image, append, cpus=2, disks=disks, accel="tcg")))
    for name, times in rows.items():
        print(f"{name:12}{min(times):8.0f} ms   ({' '.join(f'{each:.0f}' for each in times)})")
    ratio = min(rows["sequential"]) / min(rows["parallel"])
    print(f"Linux {kernel.version}: sequential / parallel = {ratio:.2f}")
    return int(ratio <= 1)


if __name__ == "__main__":
    raise SystemExit(main())
