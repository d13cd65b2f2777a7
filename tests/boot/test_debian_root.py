# SPDX-License-Identifier: MIT
"""A real Debian under the static C control: what rootfall's own hand-over to the same root is compared with."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.debian_root import DISK_UUID, debian_disk
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.bench.control import MODULES, build_control_image

pytestmark = pytest.mark.vm
ASK = "echo failed=$(systemctl list-units --failed --plain --no-legend | wc -l) pid1=$(cat /proc/1/comm)\n"


@pytest.mark.parametrize(("suite", "series"), [("bookworm", "6.1"), ("sid", "7")])
def test_debian_reaches_its_login_without_failed_units_and_powers_off(
    suite: str, series: str, vm: Callable[[Machine], VM], tmp_path: Path
) -> None:
    kernel = fetch_kernel(series)
    image = build_control_image(kernel, MODULES, "lz4", tmp_path / "control.img")
    disks = (Disk(debian_disk(suite), snapshot=True),)
    guest = vm(Machine(kernel.image, image, f"root=UUID={DISK_UUID} rw", memory=1024, disks=disks))
    guest.console.expect("debian login: ", 300, "the login prompt")
    guest.console.send("root\n")
    guest.console.expect("root@debian:~# ", 60, "a shell")
    guest.console.send(ASK)
    failed = guest.console.expect(re.compile(r"failed=(\d+) pid1=(\w+)\n"), 60, "the number of failed units")
    assert failed.groups() == ("0", "systemd")
    guest.console.send("systemctl poweroff\n")
    assert guest.wait_off(120) == "guest-shutdown"
