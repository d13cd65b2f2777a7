# SPDX-License-Identifier: MIT
"""`rootfall boot`: boot an image in QEMU, show the guest's console, and say with the exit status how it went.

0: the guest powered off, or the text of --until appeared. 1: panic, reboot, deadline, or no machine at all, with one
message that names what was waited for. Disks are not written to unless --write says so.
"""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

import click

from rootfall.errors import RootfallError
from rootfall_qemu.errors import ExpectError, GuestPanic
from rootfall_qemu.machine import Disk, Format, Interface, Machine
from rootfall_qemu.vm import VM

# A line of ours, as printk shows it: an optional time, the name, the text.
OURS = re.compile(r"^(?:\[ *(?P<time>\d+\.\d+)\] )?rootfall: (?P<text>.*)$", re.MULTILINE)
Choice = TypeVar("Choice")
Outcome = Literal["off", "seen", "panic", "reset", "timeout", "failed"]

DISK_KEYS = ("if", "format", "serial")


@dataclass(frozen=True)
class Boot:
    """How a boot went, as --json prints it; `panic` is the kernel's line, `rootfall` what PID 1 said."""

    outcome: Outcome
    seconds: float
    message: str
    panic: str
    rootfall: tuple[dict[str, float | str | None], ...]


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kernel-image", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--disk", "disks", multiple=True, metavar="FILE[,if=…][,format=…][,serial=…]", help="May be repeated.")
@click.option("--append", default="", metavar="STR", help="The kernel command line.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds to wait for the end of the boot.")
@click.option("--memory", default=512, show_default=True, help="MiB.")
@click.option("--cpus", default=1, show_default=True)
@click.option("--until", default="", metavar="TEXT", help="Succeed as soon as TEXT is on the console.")
@click.option("--write", is_flag=True, help="Let the guest change the disks.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; the console goes to stderr.")
def boot(
    image: Path,
    kernel_image: Path,
    disks: tuple[str, ...],
    append: str,
    timeout: float,
    memory: int,
    cpus: int,
    until: str,
    write: bool,
    as_json: bool,
) -> None:
    """Boot IMAGE in QEMU; exit 0 when the guest powers off (or says TEXT), 1 on a panic or at the deadline."""
    records = tuple(parse_disk(text, write=write) for text in disks)
    machine = Machine(kernel_image, initrd=image, append=append, memory=memory, cpus=cpus, disks=records)
    result = run(machine, timeout, until, _mirror(2 if as_json else 1))
    if as_json:
        click.echo(json.dumps(asdict(result)))
    if result.outcome not in ("off", "seen"):
        click.echo(f"rootfall boot: {result.message}", err=True)
        sys.exit(1)


def run(machine: Machine, timeout: float, until: str, mirror: Callable[[bytes], None] | None = None) -> Boot:
    """Boot `machine` and wait for the text `until`, or for its power-off when that is empty."""
    start, vm = time.monotonic(), VM(machine, mirror)
    outcome: Outcome = "failed"
    message, panic = "", ""
    try:
        with vm:
            outcome, message = _wait(vm, timeout, until)
    except GuestPanic as failure:
        outcome, panic = "panic", failure.lines[0]
        message = f"waited for {failure.subject}; the kernel panicked: {panic}"
    except ExpectError as failure:
        outcome = "timeout" if failure.timed_out else "failed"
        message = str(failure)
    except RootfallError as failure:
        message = str(failure)
    seconds = round(time.monotonic() - start, 3)
    log = vm.console.log if hasattr(vm, "console") else ""
    return Boot(outcome, seconds, message, panic, own_lines(log))


def own_lines(log: str) -> tuple[dict[str, float | str | None], ...]:
    """The lines of a console log that begin with `rootfall:`, with the kernel's time where there is one."""
    found = OURS.finditer(log)
    return tuple({"time": float(m["time"]) if m["time"] else None, "text": m["text"]} for m in found)


def parse_disk(text: str, *, write: bool = False) -> Disk:
    """`FILE[,if=…][,format=…][,serial=…]` as a record; click.BadParameter names what cannot be read."""
    words = text.split(",")
    options: dict[str, str] = {}
    while len(words) > 1 and "=" in words[-1]:
        key, _, value = words.pop().partition("=")
        options[key] = value
    file = Path(",".join(words))
    if unknown := set(options) - set(DISK_KEYS):
        raise click.BadParameter(f"{text}: unknown {', '.join(sorted(unknown))}; known: {', '.join(DISK_KEYS)}")
    if not file.is_file() and not file.is_block_device():
        raise click.BadParameter(f"{file}: no such file", param_hint="--disk")
    return Disk(
        file,
        _one_of(options.get("format", "raw"), get_args(Format), text),
        _one_of(options.get("if", "virtio-blk"), get_args(Interface), text),
        serial=options.get("serial", ""),
        snapshot=not write,
    )


def _one_of(value: str, choices: tuple[Choice, ...], text: str) -> Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise click.BadParameter(f"{text}: {value!r} is none of {', '.join(map(str, choices))}", param_hint="--disk")


def _wait(vm: VM, timeout: float, until: str) -> tuple[Outcome, str]:
    if until:
        vm.console.expect(until, timeout)
        return "seen", ""
    reason = vm.wait_off(timeout)
    if reason == "guest-shutdown":
        return "off", ""
    return "reset", f"waited for the guest's power-off; it ended with {reason} instead"


def _mirror(descriptor: int) -> Callable[[bytes], None]:
    stream = (sys.stdout if descriptor == 1 else sys.stderr).buffer

    def write(data: bytes) -> None:
        # Whoever read our output may be gone; the guest must be read on all the same.
        with contextlib.suppress(BrokenPipeError, ValueError):
            stream.write(data)
            stream.flush()

    return write
