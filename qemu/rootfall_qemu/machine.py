# SPDX-License-Identifier: MIT
"""A virtual machine as a record, and the QEMU command line that starts it. Pure: nothing here looks at the machine.

The command line is whole (`-nodefaults`): what a record does not name is not there. `-no-reboot` makes a guest's reset
an end. It refuses what QEMU would only refuse later, or accept and do otherwise. Rules: qemu-system-x86_64(1).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rootfall_qemu.errors import MachineError

Format = Literal["raw", "qcow2"]
Interface = Literal["virtio-blk", "virtio-scsi", "nvme", "ahci", "usb", "usb-ehci", "sd"]
Accelerator = Literal["auto", "kvm", "tcg"]
Properties = dict[str, str | int | bool]

AHCI_PORTS = 6  # of the ICH9 that is part of q35


@dataclass(frozen=True)
class Disk:
    """One disk of a machine. `snapshot`: what the guest writes is thrown away; block sizes 0 are the device's own.

    A `sd` disk's file must have a power of two as its size, and has no serial number or block sizes to choose.
    """

    file: Path
    format: Format = "raw"
    interface: Interface = "virtio-blk"
    serial: str = ""
    readonly: bool = False
    snapshot: bool = False
    logical_block_size: int = 0
    physical_block_size: int = 0


@dataclass(frozen=True)
class Firmware:
    """UEFI firmware: the code, and the variables the machine starts with (what it changes is thrown away)."""

    code: Path
    variables: Path | None = None


@dataclass(frozen=True)
class Machine:
    """All there is to know to start a machine; `memory` is in MiB.

    `kernel` None boots as the firmware does, from the disks. `append` reaches the kernel as it is, with
    `console=ttyS0` put before it when it names no console. `cpu` "" is the model with all that the accelerator can do.
    More `cpus` than one are safe with KVM; QEMU 7.2's TCG has been seen to run an int3 that a kernel was patching in on another
    CPU, which ends the kernel ("Oops: int3", Debian 7.3.4).
    `hot_plug_slots` are PCI Express ports for `VM.hot_plug`. `screen` adds a VGA card, for `VM.screendump`.
    `instruction_clock`: time is counted in guest instructions, 10^6 of them to the millisecond, one CPU, TCG.
    """

    kernel: Path | None
    initrd: Path | None = None
    append: str = ""
    memory: int = 512
    cpus: int = 1
    disks: tuple[Disk, ...] = ()
    accel: Accelerator = "auto"
    cpu: str = ""
    machine_type: str = "q35"
    firmware: Firmware | None = None
    hot_plug_slots: int = 0
    screen: bool = False
    instruction_clock: bool = False
    extra: tuple[str, ...] = ()


def argv(machine: Machine, *, console: int, qmp: int) -> list[str]:
    """The command that runs `machine`; `console` and `qmp` are connected sockets that QEMU inherits.

    `accel` must be settled: "auto" is a question for `accel.usable_accelerator`.
    """
    _check(machine)
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += ["-machine", machine.machine_type, *_processor(machine), "-m", str(machine.memory)]
    command += _firmware(machine.firmware) if machine.firmware else []
    command += _kernel(machine)
    command += ["-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console"]
    command += ["-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"]
    command += ["-vga", "std" if machine.screen else "none"]
    command += _disks(machine)
    return [*command, *machine.extra]


def kernel_command_line(machine: Machine) -> str:
    """What the guest will read in /proc/cmdline."""
    given = machine.append.split()
    words = [] if any(word.startswith("console=") for word in given) else ["console=ttyS0"]
    # Without idle=poll the instruction clock jumps to the next timer whenever the CPU waits for a disk.
    words += ["idle=poll"] if machine.instruction_clock and "idle=poll" not in given else []
    # On a busy host an emulated timer is late for the kernel's test of it, and the kernel panics ("IO-APIC + timer doesn't
    # work"); with KVM it does not test (the kernel's Documentation/admin-guide/kernel-parameters.txt).
    words += ["no_timer_check"] if machine.accel == "tcg" and not machine.instruction_clock else []
    return " ".join([*words, *([machine.append] if machine.append else [])])


def drive(disk: Disk, name: str) -> str:
    """The file half of `disk`, as `-drive` takes it (and so does the monitor's drive_add)."""
    file = str(disk.file).replace(",", ",,")
    options = f"if=none,id={name},file={file},format={disk.format}"
    options += ",readonly=on" if disk.readonly else ""
    # The file of a snapshot is opened read-only and so shared; what is written goes to an unlinked temporary file.
    return options + (",snapshot=on" if disk.snapshot else "")


def device(disk: Disk, name: str, bus: str = "") -> Properties:
    """The guest's half of `disk`, as `-device` and QMP's device_add take it; `name` is that of its drive."""
    found: Properties = {"driver": _DRIVERS[disk.interface], "drive": name, "id": f"{name}-device"}
    if bus:
        found["bus"] = bus
    # An NVMe controller must have a serial number.
    serial = disk.serial or (name if disk.interface == "nvme" else "")
    sizes = {"logical_block_size": disk.logical_block_size, "physical_block_size": disk.physical_block_size}
    return found | ({"serial": serial} if serial else {}) | {key: size for key, size in sizes.items() if size}


def slot(number: int) -> str:
    """The name of the PCI Express port `number`, from 0, that a disk can be plugged into."""
    return f"slot{number}"


_DRIVERS = {
    "virtio-blk": "virtio-blk-pci",
    "virtio-scsi": "scsi-hd",
    "nvme": "nvme",
    "ahci": "ide-hd",
    "usb": "usb-storage",
    "usb-ehci": "usb-storage",
    "sd": "sd-card",
}
# What each kind of disk hangs on: one controller for all of a kind.
_CONTROLLERS = {"virtio-scsi": "virtio-scsi-pci,id=scsi", "usb": "qemu-xhci,id=xhci", "usb-ehci": "usb-ehci,id=ehci"}
BUSES = {"virtio-scsi": "scsi.0", "usb": "xhci.0", "usb-ehci": "ehci.0"}


def _disks(machine: Machine) -> Iterator[str]:
    for number in range(machine.hot_plug_slots):
        yield from ("-device", f"pcie-root-port,id={slot(number)},chassis={number + 1},slot={number + 1}")
    kinds = dict.fromkeys(disk.interface for disk in machine.disks)
    for kind in kinds:
        if kind in _CONTROLLERS:
            yield from ("-device", _CONTROLLERS[kind])
    ports = iter(range(AHCI_PORTS))
    for number, disk in enumerate(machine.disks):
        name = f"disk{number}"
        if disk.interface == "sd":
            # The card finds the free bus of the controller before it: all of these buses have one name.
            yield from ("-device", f"sdhci-pci,id=sdhci{number}")
        bus = f"ide.{next(ports)}" if disk.interface == "ahci" else BUSES.get(disk.interface, "")
        yield from ("-drive", drive(disk, name), "-device", json.dumps(device(disk, name, bus)))


def _processor(machine: Machine) -> list[str]:
    # la57: TCG walks a fifth level of page tables for each miss.
    model = machine.cpu or ("max,la57=off,erms=off" if machine.instruction_clock else "max,la57=off")
    common = ["-smp", str(machine.cpus), "-cpu", model]
    if machine.instruction_clock:
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", *common]
    return ["-accel", machine.accel, *common]


def _kernel(machine: Machine) -> list[str]:
    if machine.kernel is None:
        return []
    initrd = ["-initrd", str(machine.initrd)] if machine.initrd else []
    return ["-kernel", str(machine.kernel), *initrd, "-append", kernel_command_line(machine)]


def _firmware(firmware: Firmware) -> list[str]:
    flash = f"if=pflash,format=raw,readonly=on,file={str(firmware.code).replace(',', ',,')}"
    if firmware.variables is None:
        return ["-drive", flash]
    variables = f"if=pflash,format=raw,snapshot=on,file={str(firmware.variables).replace(',', ',,')}"
    return ["-drive", flash, "-drive", variables]


def _check(machine: Machine) -> None:
    for wrong, why in _mistakes(machine):
        if wrong:
            raise MachineError("make the machine", str(machine.kernel or "without a kernel"), seen=why)


def _mistakes(machine: Machine) -> Iterator[tuple[bool, str]]:
    clock = machine.instruction_clock
    yield machine.accel == "auto" and not clock, "accel is still auto: settle it with usable_accelerator()"
    yield machine.accel == "kvm" and clock, "KVM has no instruction clock: use accel tcg"
    yield machine.cpus != 1 and clock, f"the instruction clock runs one CPU, not {machine.cpus}"
    yield machine.kernel is None and bool(machine.initrd or machine.append), "initrd and append need a kernel"
    ahci = sum(disk.interface == "ahci" for disk in machine.disks)
    yield ahci > AHCI_PORTS, f"{ahci} ahci disks on {AHCI_PORTS} ports"
    for disk in machine.disks:
        fixed = disk.serial or disk.logical_block_size or disk.physical_block_size
        yield bool(disk.interface == "sd" and fixed), f"{disk.file}: an SD card has no serial or block sizes to choose"
