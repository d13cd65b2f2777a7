# SPDX-License-Identifier: MIT
"""`make demo`: a kernel of Debian, an image, a disk; they boot in QEMU, and the real init tells how it was handed over.

What is made stays in demo/, for `rootfall list` and `rootfall boot`. The exit status is 1 when the hand-over did not
come about; then the guest's whole console is printed.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rootfall.errors import RootfallError
from rootfall_build.cli import main as rootfall
from rootfall_qemu.accel import usable_accelerator
from rootfall_qemu.cache import default_cache
from rootfall_qemu.cli import run
from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.machine import Disk, Machine
from tests.guest.material import witness_disk
from tests.guest.report import Witness, parse

CONFIG = Path(__file__).parents[2] / "examples/demo.yaml"
SERIES = "6.1"
TIMEOUT = 180.0
SHOWN = ("Run /init as init process", "rootfall: ", "REAL-ROOT ")
BAR = 24
OUTCOME = 32


def say(text: str) -> None:
    """One line of progress, at once."""
    print(f"demo: {text}", flush=True)


def kernel_in(directory: Path) -> DebianKernel:
    """Debian's kernel, with `vmlinuz` and `modules` in `directory` that lead to it."""
    if not (default_cache() / "kernels" / SERIES).exists():
        say(f"fetch Debian's kernel {SERIES} (about 70 MB, once; it is unpacked into {default_cache()}, not installed)")
    kernel = fetch_kernel(SERIES)
    for name, target in (("vmlinuz", kernel.image), ("modules", kernel.modules)):
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)
    return kernel


def prepare(directory: Path) -> DebianKernel:
    """Fill `directory`: vmlinuz, modules, initramfs.img, root.img. Raises RootfallError."""
    directory.mkdir(exist_ok=True)
    kernel = kernel_in(directory)
    say(f"build an image for {kernel.version} (the first time, PID 1 is frozen: about half a minute)")
    image, modules = directory / "initramfs.img", directory / "modules"
    words = ["--config", CONFIG, "--kernel", kernel.version, "--modules", modules, "--output", image]
    if rootfall(["build", *map(str, words)]):
        raise RootfallError("build", str(image))
    say("make a disk whose ext4 holds nothing but a small init that reports")
    witness_disk(directory / "root.img")
    return kernel


def boot(directory: Path) -> tuple[Witness, str]:
    """Boot what `prepare` made; the real init's report, and the console. Raises RootfallError with the console."""
    kernel = (directory / "vmlinuz").resolve()
    say(f"boot it in QEMU ({usable_accelerator(kernel)})")
    disk = Disk(directory / "root.img", snapshot=True)
    console = bytearray()
    machine = Machine(kernel, initrd=directory / "initramfs.img", disks=(disk,), append="panic=-1")
    end = run(machine, TIMEOUT, "", console.extend)
    text = console.decode(errors="replace").replace("\r\n", "\n")
    try:
        return parse(text), text
    except ValueError:
        print(text)
        raise RootfallError("hand over", str(machine.initrd), seen=end.message or end.outcome) from None


def phases(witness: Witness) -> Iterator[tuple[str, float, float, str]]:
    """Name, start, end (ms since the kernel's start) and detail of what happened, in the order of the starts."""
    started = (witness.logged("Run /init as init process") or 0.0) * 1e3
    yield "kernel", 0.0, started, "until it runs /init"
    spans = json.loads(witness.files["timeline.json"] or "")["spans"]
    first = min(span["start"] for span in spans) / 1e6
    yield "Python", started, first, "until the first line of PID 1"
    for span in sorted(spans, key=lambda span: span["start"]):
        yield span["name"], span["start"] / 1e6, span["end"] / 1e6, span["detail"]


def table(witness: Witness) -> Iterator[str]:
    """The boot as lines with bars; the kernel's own time is not drawn, only what follows it."""
    rows = list(phases(witness))
    origin, length = rows[0][2], witness.monotonic_ns / 1e6 - rows[0][2]
    name_width = max(len(row[0]) for row in rows)
    yield f"{'what':{name_width}} {'at ms':>6} {'took ms':>8}  {'':{BAR}}  outcome"
    for name, start, end, detail in rows:
        drawn = "" if end <= origin else bar((start - origin) / length, (end - origin) / length)
        outcome = detail if len(detail) <= OUTCOME else detail[: OUTCOME - 1] + "…"
        yield f"{name:{name_width}} {start:6.0f} {end - start:8.1f}  {drawn:{BAR}}  {outcome}"
    yield f"{'the real init':{name_width}} {origin + length:6.0f}"


def bar(start: float, end: float) -> str:
    """A line from `start` to `end`, parts of BAR characters; never shorter than one."""
    left = min(int(start * BAR), BAR - 1)
    return " " * left + "━" * max(1, round(end * BAR) - left)


def main(directory: Path = Path("demo")) -> int:
    """All of it; the exit status."""
    begin = time.monotonic()
    try:
        prepare(directory)
        witness, console = boot(directory)
    except RootfallError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    lines = (line for line in console.splitlines() if any(word in line for word in SHOWN))
    print("", *(line for line in lines if "witness: " not in line), "", sep="\n")
    print("\n".join(line.rstrip() for line in table(witness)))
    size = (directory / "initramfs.img").stat().st_size
    print(f"\ndemo: the image is {size / 1e6:.2f} MB; all this took {time.monotonic() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
