# SPDX-License-Identifier: MIT
"""Images against the static C control, on the instruction clock: `python tests/bench/bench.py IMAGE…` (`make bench`).

Each image must hold the modules of the control and hand over to the witness's disk (root=UUID=… comes on the command
line). An image is compared with the control under the same compressor. The exit status is 1 when an image breaks
tests/bench/budget.json.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# Run as a file, Python looks beside this file only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from tests.bench.clock import Boot, measure
from tests.bench.control import MODULES, build_control_image
from tests.guest.material import witness_disk

BUDGET = Path(__file__).with_name("budget.json")
MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"0707": "none"}


def compressor_of(image: Path) -> str:
    """The compressor of an image by its first bytes; the control has no others."""
    with image.open("rb") as start:
        magic = start.read(4)
    if magic not in MAGIC:
        raise ValueError(f"{image}: begins with {magic!r}, not one of {', '.join(MAGIC.values())}")
    return MAGIC[magic]


def controls(kernel: DebianKernel, compressors: Sequence[str], disk: Path, work: Path) -> Mapping[str, Boot]:
    """The control under each compressor, measured."""
    rows = {}
    for compress in compressors:
        image = build_control_image(kernel, MODULES, compress, work / f"control-{compress}.img")
        rows[compress] = measure(f"control {compress}", kernel.image, image, disk)
    return rows


def broken(row: Boot, control: Boot, budget: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """The limits of the budget that an image breaks, in words; an image has the limits of the kind that it is named after."""
    limits = next((limits for kind, limits in budget.items() if kind in row.image), budget["named modules"])
    got = {
        "init_ratio": row.init_ms / control.init_ms,
        "total_ratio": row.total_ms / control.total_ms,
        # For images as zstd packs them: lz4 trades size for time.
        "zstd_bytes": row.bytes if control.image.endswith("zstd") else 0,
        "memory_kib": abs(control.memory_kib - row.memory_kib),
    }
    return tuple(
        f"{row.image}: {name} {got[name]:g} > {limit:g}" for name, limit in limits.items() if got[name] > limit
    )


def table(rows: Sequence[tuple[Boot, Boot]]) -> str:
    """Rows of (image, its control) as text for a terminal or a commit message."""
    lines = [f"{'image':32} {'KiB':>7} {'init ms':>8} {'x':>6} {'total ms':>9} {'x':>6} {'memory KiB':>11} {'±':>6}"]
    for row, control in rows:
        init, total = row.init_ms / control.init_ms, row.total_ms / control.total_ms
        memory = row.memory_kib - control.memory_kib
        lines.append(
            f"{row.image:32} {row.bytes // 1024:7} {row.init_ms:8.1f} {init:6.3f} {row.total_ms:9.1f} {total:6.3f}"
            f" {row.memory_kib:11} {memory:+6}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table (and write JSON), and say what breaks the budget."""
    parser = argparse.ArgumentParser(description="initramfs images against the static C control")
    parser.add_argument("image", nargs="*", type=Path)
    parser.add_argument("--kernel", default="6.1", help="a series of rootfall_qemu.debian (default: 6.1)")
    parser.add_argument("--compress", nargs="+", default=["zstd", "lz4"], help="controls to run (default: zstd lz4)")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(arguments)
    kernel = fetch_kernel(options.kernel)
    wanted = dict.fromkeys([*options.compress, *map(compressor_of, options.image)])
    with tempfile.TemporaryDirectory() as directory:
        disk = witness_disk(Path(directory) / "root.img")
        floor = controls(kernel, list(wanted), disk, Path(directory))
        rows = [(row, row) for row in floor.values()]
        for image in options.image:
            rows.append((measure(image.name, kernel.image, image, disk), floor[compressor_of(image)]))
    print(f"Linux {kernel.version}\n{table(rows)}")
    if options.json:
        record = {"kernel": kernel.version, "rows": [dataclasses.asdict(row) for row, _ in rows]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    budget = json.loads(BUDGET.read_text())
    problems = [problem for row, control in rows if row is not control for problem in broken(row, control, budget)]
    print("\n".join(f"over budget: {problem}" for problem in problems) or "within budget")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
