# SPDX-License-Identifier: MIT
"""The emergency console, typed at as a person would: it looks at things, tries again, and ends the machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import images, roots
from tests.boot.booted import snapshots
from tests.boot.failure import report
from tests.boot.roots import UUID
from tests.guest.report import parse

pytestmark = pytest.mark.vm

Start = Callable[[Machine], VM]
PROMPT = "rootfall> "
LIMIT = 120.0


@pytest.fixture
def kernel() -> DebianKernel:
    return fetch_kernel("7")


@pytest.fixture
def machine(kernel: DebianKernel, image: Callable[..., Path]) -> Machine:
    """A machine without a disk whose image offers the console when the root does not come within a second."""
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("60s", "1s")
    append = f"console=ttyS0 quiet root=UUID={UUID} word"
    return Machine(kernel.image, image(kernel, config), append, hot_plug_slots=1)


def typed(guest: VM, command: str, answer: str) -> None:
    """Type a command at the prompt and see its answer."""
    guest.console.expect(PROMPT, LIMIT, "the prompt")
    guest.console.send(f"{command}\n")
    guest.console.expect(command + "\n", LIMIT, "the echo")
    guest.console.expect(answer, LIMIT, f"the answer to {command}")


def test_a_root_that_is_plugged_in_later_is_found_by_a_retry(vm: Start, machine: Machine, witness_root: Path) -> None:
    guest = vm(machine)
    typed(guest, "devices", "")
    typed(guest, "plan", f"2. find the block device UUID={UUID}, waiting for up to 1 s\n")
    typed(guest, "report", "seen      no block device at all\n")
    typed(guest, "log", "make the plan")
    typed(guest, "nonsense", "nonsense: not to be had here; type one of: report  devices")
    typed(guest, "retry", "rootfall: THIS BOOT FAILED")
    guest.hot_plug(snapshots(witness_root)[0])
    typed(guest, "retry", "REAL-ROOT init pid=1\n")
    assert guest.wait_off(LIMIT) == "guest-shutdown"
    seen = parse(guest.console.log)
    assert seen.argv == ("/sbin/init", "word")
    assert set(seen.environ) == {"HOME=/", "TERM=linux"}
    assert seen.fd == dict.fromkeys((0, 1, 2), "/dev/console")
    assert [seen.signals("SigIgn"), seen.signals("SigBlk")] == [0, 0]
    assert sorted(mount.point for mount in seen.mounts or ()) == ["/", "/dev", "/proc", "/run", "/sys"]


def test_a_failure_after_the_mount_can_be_tried_again_too_and_the_machine_rebooted(
    vm: Start, machine: Machine, shared: Path
) -> None:
    empty = roots.disk(shared, "empty", roots.nothing)
    guest = vm(replace(machine, disks=snapshots(empty)))
    typed(guest, "devices", f"/dev/vda1 32 MiB TYPE=ext4 UUID={UUID}")
    typed(guest, "retry", "rootfall: THIS BOOT FAILED")
    typed(guest, "report", "cannot find an init in the new root /sysroot")
    typed(guest, "reboot", "rootfall: reboot\n")
    assert guest.wait_off(LIMIT) == "guest-reset"
    last = report(guest.console.log)
    assert len(last["seen"]) == 4
    assert not [line for line in last["kernel"] if "suppressed" in line]  # no line of the log was lost


@pytest.mark.parametrize("action", ["poweroff"])
def test_the_configured_action_ends_the_machine_without_a_person(
    action: str, vm: Start, machine: Machine, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    config = images.PLAIN.replace("action: reboot", f"action: {action}, after: 1s").replace("60s", "1s")
    guest = vm(replace(machine, initrd=image(kernel, config)))
    guest.console.expect(f"rootfall: {action} in 1 s\n", LIMIT)
    assert guest.wait_off(LIMIT) == "guest-shutdown"
    assert report(guest.console.log)["seen"] == ("no block device at all",)
