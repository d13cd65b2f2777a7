# SPDX-License-Identifier: MIT
"""What the configuration and the command line say of modules, as the running kernel shows it: options, more of them, fewer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import images
from tests.boot.booted import Booted, snapshots
from tests.boot.failure import report
from tests.boot.roots import UUID

pytestmark = pytest.mark.vm

LIMIT = 180.0
CONFIG = images.PLAIN.replace("  on_failure", "  module_options: [loop.max_loop=3, loop.max_part=7]\n  on_failure")
CONFIG = (
    CONFIG.replace("[virtio_pci, virtio_blk, ext4]", "[loop]") + "  drivers: [virtio, nvme]\n  filesystems: [ext4]\n"
)


def test_options_reach_their_module_the_command_lines_last_and_more_modules_are_loaded(
    vm: Callable[[Machine], VM], image: Callable[..., Path], witness_root: Path
) -> None:
    kernel = fetch_kernel("6.12")
    words = f"root=UUID={UUID} loop.max_loop=5 rd.driver.pre=nvme,not-in-the-image rd.break"
    made = image(kernel, f"{CONFIG}  shell: busybox\n")
    guest = vm(Machine(kernel.image, made, f"console=ttyS0 quiet {words}", disks=snapshots(witness_root)))
    guest.console.expect("rootfall# ", LIMIT)
    guest.console.send("cd /sys/module; echo options $(cat loop/parameters/max_loop loop/parameters/max_part)\n")
    guest.console.expect("options 5 7\n", LIMIT)
    guest.console.expect("rootfall# ", LIMIT)
    guest.console.send("grep -c ^nvme' ' /proc/modules; exit\n")
    guest.console.expect("\n1\n", LIMIT)
    guest.console.expect("REAL-ROOT init pid=1", LIMIT)


def test_a_driver_that_is_blacklisted_is_not_loaded_and_the_report_says_why_there_is_no_disk(
    boot: Callable[[Machine], Booted], image: Callable[..., Path], witness_root: Path
) -> None:
    kernel = fetch_kernel("6.12")
    append = f"console=ttyS0 quiet root=UUID={UUID} rootwait=1 modprobe.blacklist=virtio-blk"
    record = boot(Machine(kernel.image, image(kernel, CONFIG), append, disks=snapshots(witness_root)))
    assert record.end == "guest-reset"
    seen = report(record.console)
    assert seen["remedy"][0].startswith("virtio_blk would drive a disk here, but is blacklisted: see boot.blacklist")
    assert seen["seen"] == ("no block device at all",)
