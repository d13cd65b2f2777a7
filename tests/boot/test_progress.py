# SPDX-License-Identifier: MIT
"""Waiting for the root while an md array is really synchronized, and while somebody is really asked."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.disk import MIB, blank
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM
from tests.boot import device_disks
from tests.boot.booted import Booted
from tests.boot.device_disks import UUID
from tests.boot.failure import report
from tests.boot.hooks import HERE, array, asker
from tests.boot.test_devices_waiting import when
from tests.guest.report import parse

pytestmark = pytest.mark.vm

DEADLINE = 180.0
CONFIG = f"""\
version: 1
boot:
  root: {{device: UUID={UUID}, timeout: 4s}}
  hooks: [HOOK]
  on_failure: {{action: reboot}}
image:
  modules: [virtio_pci, virtio_blk, ext4]
  hooks_from: {HERE}
"""

Make = Callable[..., Machine]


@pytest.fixture
def machine(image: Callable[..., Path], shared: Path, tmp_path: Path) -> Make:
    """`machine(hook, append)` has a hook, two empty disks, and a slot for the root."""

    def make(hook: str, append: str = "") -> Machine:
        kernel = fetch_kernel("6.1")
        disks = (Disk(blank(tmp_path / name, array.SIZE // 1024 * MIB)) for name in ("one", "two"))
        initrd = image(kernel, CONFIG.replace("HOOK", hook))
        append = f"console=ttyS0 panic=-1 {append}"
        return Machine(kernel.image, initrd, append, memory=384, disks=tuple(disks), hot_plug_slots=1)

    return make


def boots_from_a_disk_that_is_plugged_in(guest: VM, shared: Path) -> None:
    guest.hot_plug(Disk(device_disks.bare(shared), snapshot=True))
    guest.console.expect("REAL-ROOT init pid=1", DEADLINE, "the real init")
    assert guest.wait_off(DEADLINE) == "guest-shutdown"
    assert parse(guest.console.log).pid == 1


def test_a_root_that_comes_while_an_array_is_synchronized_is_found_after_the_timeout(
    vm: Callable[[Machine], VM], machine: Make, shared: Path
) -> None:
    guest = vm(machine("array"))
    guest.console.expect(
        re.compile(rf"rootfall: md0 resync \d+ %, (?:[89]|\d\d) s, waiting for UUID={UUID[:20]}"),
        DEADLINE,
        "the ninth second, or a later one",
    )
    boots_from_a_disk_that_is_plugged_in(guest, shared)
    seen = [int(each) for each in re.findall(r"rootfall: md0 resync (\d+) %", guest.console.log)]
    assert seen == sorted(seen)
    assert seen[0] < seen[-1] < 100


def test_an_array_that_rests_extends_nothing(boot: Callable[[Machine], Booted], machine: Make) -> None:
    record = boot(machine("array", "array=rests"))
    assert "hook: perform array: md0: idle" in record.console
    assert re.fullmatch(rf"cannot find the root device UUID={UUID} in \d s", report(record.console)["failed"][0])
    assert "md0 resync" not in record.console


def test_a_root_that_comes_while_somebody_is_asked_is_found_after_the_timeout(
    vm: Callable[[Machine], VM], machine: Make, shared: Path
) -> None:
    guest = vm(machine("asker"))
    guest.console.expect(f"rootfall: somebody is asked: {asker.QUESTION}; ", DEADLINE)
    guest.console.expect("asked for 9 s", DEADLINE)
    boots_from_a_disk_that_is_plugged_in(guest, shared)
    assert guest.console.log.count("somebody is asked") == 1


def test_when_the_question_is_answered_the_timeout_starts_anew(vm: Callable[[Machine], VM], machine: Make) -> None:
    guest = vm(machine("asker", "asker=hook"))
    guest.console.expect("asked for 6 s", DEADLINE)
    guest.console.send("open sesame\n")
    assert guest.wait_off(DEADLINE) == "guest-reset"
    seen = guest.console.log
    assert report(seen)["failed"][0].startswith(f"cannot find the root device UUID={UUID} in ")
    assert when(seen, "reboot: Restarting") - when(seen, "the answer is open sesame") >= 4
