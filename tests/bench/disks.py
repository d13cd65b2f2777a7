# SPDX-License-Identifier: MIT
"""What an idle disk costs a boot, on the instruction clock: `python tests/bench/disks.py [COUNT…]` (`make bench-disks`).

Virtio disks, as many as COUNT with the root (1, 16 and 64 by default); a blank one beside the root is the worst case:
nothing short of a probe tells that it is not the root. Rows are the root on the first disk or the last, by UUID, by PARTUUID
and by its node, with full discovery; and the static C control, which takes the first disk that it sees.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Run as a file, Python looks beside this file only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rootfall_build.build import Request, build, cache_directory
from rootfall_build.freeze import freeze
from rootfall_build.progress import Silent
from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.disk import MIB, Partition, blank, ext4, gpt
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.bench.control import MODULES, build_control_image
from tests.guest.material import UUID, witness_tree
from tests.guest.report import parse

PARTUUID = "7d1e5f40-2c83-4b96-a0d7-93f4c6e8b215"
CONFIG = "version: 1\nimage: {drivers: [storage], filesystems: [ext4], compress: zstd}\n"
FUNCTIONS = 8  # of one PCI slot
FIRST_SLOT = 16  # of the idle disks
FIRST, LAST = 15, 30
DEADLINE = 600.0


def idle_disks(file: Path, count: int) -> Iterator[str]:
    """Virtio disks that share one read-only file, eight to a slot: q35 has not slots enough for 64."""
    for number in range(count):
        slot, function = divmod(number, FUNCTIONS)
        drive = f"if=none,id=idle{number},file={file},format=raw,readonly=on"
        place = f"addr={FIRST_SLOT + slot:#x}.{function},multifunction=on"
        yield from ("-drive", drive, "-device", f"virtio-blk-pci,drive=idle{number},{place}")


def init_ms(kernel: DebianKernel, image: Path, root: Path, append: str, slot: int, idle: Sequence[str]) -> float:
    """From "Run /init" to the first instruction of the real init; the root is in this PCI slot."""
    drive = f"if=none,id=root,file={root},format=raw,snapshot=on"
    disk = ("-drive", drive, "-device", f"virtio-blk-pci,drive=root,addr={slot:#x}")
    append = f"quiet panic=-1 ro {append}"
    machine = Machine(kernel.image, image, append, accel="tcg", instruction_clock=True, extra=(*disk, *idle))
    with VM(machine) as vm:
        vm.wait_off(DEADLINE)
        witness = parse(vm.console.log)
    start, entered = witness.logged("Run /init as init process"), witness.logged("witness: entered")
    if start is None or entered is None:
        raise ValueError(f"{image}: the kernel log lacks a moment")
    return (entered - start) * 1e3


def images(kernel: DebianKernel, place: Path) -> dict[str, tuple[Path, str, int]]:
    """The rows: image, root= and the root's slot."""
    config = place / "rootfall.yaml"
    config.write_text(CONFIG)
    request = Request(config, kernel.version, kernel.modules, place / "rootfall.img")
    build(request, freeze, cache_directory(), Silent())
    control = build_control_image(kernel, MODULES, "zstd", place / "control.img")
    return {
        "C control": (control, f"root=UUID={UUID}", FIRST),
        "UUID, first": (request.output, f"root=UUID={UUID}", FIRST),
        "UUID, last": (request.output, f"root=UUID={UUID}", LAST),
        "PARTUUID, last": (request.output, f"root=PARTUUID={PARTUUID}", LAST),
        "node, first": (request.output, "root=/dev/vda1", FIRST),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="what an idle disk costs")
    parser.add_argument("count", nargs="*", type=int, default=[1, 16, 64])
    parser.add_argument("--row", nargs="+", help="only rows that begin so")
    parser.add_argument("--kernel", default="6.1", help="a series of rootfall_qemu.debian (default: 6.1)")
    options = parser.parse_args(arguments)
    kernel = fetch_kernel(options.kernel)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        content = ext4(place / "root.ext4", 64 * MIB, uuid=UUID, tree=witness_tree(place / "root"))
        root, empty = gpt(place / "root.img", (Partition(content, uuid=PARTUUID),)), blank(place / "idle.img", MIB)
        print(
            f"Linux {kernel.version}: init, ms\n{'disks':16}" + "".join(f"{n:9}" for n in options.count) + "  ms/disk"
        )
        for name, (image, append, slot) in images(kernel, place).items():
            if options.row and not name.startswith(tuple(options.row)):
                continue
            row = [init_ms(kernel, image, root, append, slot, list(idle_disks(empty, n - 1))) for n in options.count]
            slope = (row[-1] - row[0]) / max(1, options.count[-1] - options.count[0])
            print(f"{name:16}" + "".join(f"{value:9.1f}" for value in row) + f"{slope:9.2f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
