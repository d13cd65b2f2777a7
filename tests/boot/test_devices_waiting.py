# SPDX-License-Identifier: MIT
"""Waiting for the root: as long as something progresses, not when nothing can come, and with one line that says for what."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.boot import device_disks, matrix
from tests.boot.booted import Booted
from tests.boot.device_disks import UUID
from tests.boot.failure import report
from tests.guest.report import parse

pytestmark = pytest.mark.vm

Boot = Callable[[Machine], Booted]
VIRTIO = matrix.DISCOVERY.replace("[storage]", "[virtio]").replace("60s", "30s")
DEADLINE = 180.0


def machine(
    image: Callable[..., Path], append: str, *disks: Disk, config: str = matrix.DISCOVERY, slots: int = 0
) -> Machine:
    kernel = fetch_kernel("6.1")
    append = f"console=ttyS0 panic=-1 {append}"
    return Machine(kernel.image, image(kernel, config), append, memory=384, disks=disks, hot_plug_slots=slots)


def stamps(console: str) -> list[tuple[float, str]]:
    """The kernel's and PID 1's messages with their times."""
    found = re.findall(r"^\[ *(\d+\.\d+)\] (.*)$", console, re.MULTILINE)
    return [(float(time), text) for time, text in found]


def when(console: str, text: str) -> float:
    return next(time for time, line in stamps(console) if text in line)


def test_a_root_that_is_plugged_in_while_something_goes_on_is_found_after_the_timeout(
    vm: Callable[[Machine], VM], image: Callable[..., Path], shared: Path
) -> None:
    guest = vm(machine(image, f"root=UUID={UUID} rootwait=8", Disk(device_disks.idle(shared), snapshot=True), slots=2))
    guest.console.expect(re.compile(r"waiting for UUID=\S+: [5-7] s"), DEADLINE, "the status line in its sixth second")
    guest.hot_plug(Disk(device_disks.idle(shared), snapshot=True))
    guest.console.expect(re.compile(r"waiting for UUID=\S+: 1[0-2] s"), DEADLINE, "the status line after the timeout")
    guest.hot_plug(Disk(device_disks.bare(shared), snapshot=True))
    guest.console.expect("REAL-ROOT init pid=1", DEADLINE, "the real init")
    assert guest.wait_off(DEADLINE) == "guest-shutdown"
    seconds = [int(each) for each in re.findall(r"waiting for UUID=\S+: (\d+) s", guest.console.log)]
    assert seconds == sorted(set(seconds))
    assert seconds[0] >= 1


def test_where_no_disk_can_come_any_more_the_boot_ends_before_its_timeout(
    boot: Boot, image: Callable[..., Path], shared: Path
) -> None:
    record = boot(machine(image, f"root=UUID={UUID}", Disk(device_disks.idle(shared), snapshot=True), config=VIRTIO))
    assert "nothing can come" in str(report(record.console)) or "no bus can bring a disk" in str(report(record.console))
    assert when(record.console, "reboot: Restarting") - when(record.console, "Run /init") < 25
    assert record.end == "guest-reset"


def test_rootdelay_is_a_pause_before_the_search(boot: Boot, image: Callable[..., Path], shared: Path) -> None:
    record = boot(machine(image, f"root=UUID={UUID} rootdelay=4", Disk(device_disks.bare(shared), snapshot=True)))
    seen = parse(record.console)
    begun, found = seen.logged("rootfall: modules: load"), seen.logged("rootfall: device: find")
    assert begun is not None
    assert found is not None
    assert found - begun >= 4


def test_a_disk_that_does_not_come_is_waited_for_as_long_as_was_said(
    boot: Boot, image: Callable[..., Path], shared: Path
) -> None:
    record = boot(
        machine(image, "root=/dev/sdz rootwait=3", Disk(device_disks.idle(shared), "raw", "ahci", snapshot=True))
    )
    text = str(report(record.console))
    assert "/dev/sdz in" in text
    assert "/dev/sda" in text
    assert re.search(r"waiting for /dev/sdz: [1-9] s, up to 3 s after the last event", record.console)
