# SPDX-License-Identifier: MIT
"""A machine's whole life: booted once in a test run, whoever asks, and looked at by as many tests as like."""

from dataclasses import dataclass
from pathlib import Path

from rootfall_qemu.cache import made_once
from rootfall_qemu.errors import MachineError
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.boot.images import digest

# Under TCG on a busy machine; a boot takes five seconds on an idle one.
DEADLINE = 150.0


@dataclass(frozen=True)
class Booted:
    """What was on the console, and how the machine ended: `guest-shutdown`, `guest-reset`, or what went wrong."""

    console: str
    end: str


def snapshots(*disks: Path) -> tuple[Disk, ...]:
    """Disks that the machine may write to and that stay as they are."""
    return tuple(Disk(disk, snapshot=True) for disk in disks)


def boot_once(directory: Path, machine: Machine) -> Booted:
    """Run `machine` to its end, or take the record of a run of the very same machine below `directory`."""

    def make(place: Path) -> dict[str, object]:
        with VM(machine) as vm:
            try:
                end = vm.wait_off(DEADLINE)
            except MachineError as failure:  # recorded too: the next test that asks need not wait for it again
                end = str(failure)
        (place / "console").write_text(vm.console.log, encoding="utf-8", newline="")
        (place / "end").write_text(end)
        return {"machine": repr(machine)}

    record = made_once(directory / f"boot-{digest(machine)}", make)
    with (record / "console").open(encoding="utf-8", newline="") as console:
        return Booted(console.read(), (record / "end").read_text())
