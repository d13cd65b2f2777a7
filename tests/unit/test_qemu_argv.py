# SPDX-License-Identifier: MIT
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rootfall_qemu.errors import MachineError
from rootfall_qemu.machine import Disk, Firmware, Interface, Machine, argv, kernel_command_line

KERNEL = Path("/k/vmlinuz")
PLAIN = Machine(KERNEL, accel="tcg")


def command(machine: Machine) -> list[str]:
    return argv(machine, console=7, qmp=9)


def values(machine: Machine, option: str) -> list[str]:
    words = command(machine)
    return [words[index + 1] for index, word in enumerate(words) if word == option]


def devices(machine: Machine) -> list[dict[str, object]]:
    return [json.loads(text) for text in values(machine, "-device") if text.startswith("{")]


def test_nothing_is_in_a_machine_that_its_record_does_not_name() -> None:
    assert "-nodefaults" in command(PLAIN)
    assert values(PLAIN, "-device") == []
    assert values(PLAIN, "-vga") == ["none"]


def test_a_reset_ends_the_machine() -> None:
    assert "-no-reboot" in command(PLAIN)


def test_console_and_qmp_use_the_sockets_given() -> None:
    assert values(PLAIN, "-chardev") == ["socket,id=console,fd=7", "socket,id=qmp,fd=9"]


def test_the_kernel_speaks_on_the_serial_line_unless_told_otherwise() -> None:
    real = replace(PLAIN, accel="kvm")
    assert kernel_command_line(replace(real, append="root=UUID=1 ro")) == "console=ttyS0 root=UUID=1 ro"
    assert kernel_command_line(replace(real, append="console=tty0")) == "console=tty0"
    assert kernel_command_line(replace(real, append="netconsole=@/")) == "console=ttyS0 netconsole=@/"


def test_an_emulated_timer_is_not_tested_by_the_kernel() -> None:
    assert kernel_command_line(replace(PLAIN, append="ro")) == "console=ttyS0 no_timer_check ro"


def test_the_instruction_clock_is_the_one_of_the_speed_reference() -> None:
    machine = Machine(KERNEL, append="ro", instruction_clock=True)
    assert values(machine, "-accel") == ["tcg,thread=single"]
    assert values(machine, "-icount") == ["shift=0,sleep=off"]
    assert values(machine, "-smp") == ["1"]
    assert values(machine, "-cpu") == ["max,la57=off,erms=off"]
    assert values(machine, "-append") == ["console=ttyS0 idle=poll ro"]


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Machine(KERNEL), "auto"),
        (Machine(KERNEL, accel="kvm", instruction_clock=True), "KVM has no instruction clock"),
        (Machine(KERNEL, cpus=2, instruction_clock=True), "runs one CPU, not 2"),
        (Machine(None, accel="tcg", append="quiet"), "need a kernel"),
        (Machine(KERNEL, accel="tcg", disks=(Disk(Path("d"), interface="ahci"),) * 7), "7 ahci disks on 6 ports"),
        (Machine(KERNEL, accel="tcg", disks=(Disk(Path("d"), interface="sd", serial="1"),)), "SD card"),
    ],
)
def test_a_machine_that_cannot_be_is_refused_with_the_reason(machine: Machine, why: str) -> None:
    with pytest.raises(MachineError, match=why):
        command(machine)


def test_a_comma_in_a_file_name_stays_in_the_name() -> None:
    machine = replace(PLAIN, disks=(Disk(Path("/a,b"), format="qcow2", snapshot=True, readonly=True),))
    assert values(machine, "-drive") == ["if=none,id=disk0,file=/a,,b,format=qcow2,readonly=on,snapshot=on"]


@pytest.mark.parametrize(
    ("interface", "driver", "bus"),
    [
        ("virtio-blk", "virtio-blk-pci", None),
        ("virtio-scsi", "scsi-hd", "scsi.0"),
        ("nvme", "nvme", None),
        ("ahci", "ide-hd", "ide.0"),
        ("usb", "usb-storage", "xhci.0"),
        ("usb-ehci", "usb-storage", "ehci.0"),
        ("sd", "sd-card", None),
    ],
)
def test_each_interface_has_its_driver_and_bus(interface: Interface, driver: str, bus: str | None) -> None:
    (device,) = devices(replace(PLAIN, disks=(Disk(Path("d"), interface=interface),)))
    assert (device["driver"], device.get("bus")) == (driver, bus)


def test_two_scsi_disks_share_one_controller_and_two_ahci_disks_have_a_port_each() -> None:
    scsi, ahci = Disk(Path("s"), interface="virtio-scsi"), Disk(Path("a"), interface="ahci")
    machine = replace(PLAIN, disks=(scsi, ahci, scsi, ahci))
    assert values(machine, "-device").count("virtio-scsi-pci,id=scsi") == 1
    assert [device["bus"] for device in devices(machine)] == ["scsi.0", "ide.0", "scsi.0", "ide.1"]


def test_serial_and_block_sizes_reach_the_device() -> None:
    disk = Disk(Path("d"), serial="S1", logical_block_size=4096, physical_block_size=4096)
    (device,) = devices(replace(PLAIN, disks=(disk,)))
    assert device["serial"] == "S1"
    assert device["logical_block_size"] == device["physical_block_size"] == 4096


def test_an_nvme_disk_has_a_serial_number_even_when_none_was_given() -> None:
    (device,) = devices(replace(PLAIN, disks=(Disk(Path("d"), interface="nvme"),)))
    assert device["serial"] == "disk0"


def test_firmware_variables_are_never_changed_on_the_host() -> None:
    machine = Machine(None, accel="tcg", firmware=Firmware(Path("CODE"), Path("VARS")))
    assert values(machine, "-drive") == [
        "if=pflash,format=raw,readonly=on,file=CODE",
        "if=pflash,format=raw,snapshot=on,file=VARS",
    ]
    assert "-append" not in command(machine)


def test_extra_arguments_come_last() -> None:
    assert command(replace(PLAIN, extra=("-device", "virtio-rng-pci")))[-2:] == ["-device", "virtio-rng-pci"]
