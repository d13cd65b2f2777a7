# SPDX-License-Identifier: MIT
"""`container pivot` of the frozen program, typed into an initramfs: the one root that no test may try on its own machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import images

pytestmark = pytest.mark.vm

SHELL, LIMIT = "rootfall# ", 180.0
ROOTFALL = "/usr/lib/rootfall/rootfall container"
LAB = "mkdir /new /plain && mount -t tmpfs lab /new && mkdir /new/old && echo ma''de"


def typed(guest: VM, command: str, *answers: str) -> None:
    """Type a command at the prompt and see what it answers."""
    guest.console.expect(SHELL, LIMIT, "the prompt")
    guest.console.send(f"{command}; echo sta''tus $?\n")
    for answer in answers:
        guest.console.expect(answer, LIMIT, f"the answer to {command}")


@pytest.fixture
def shell(vm: Callable[[Machine], VM], image: Callable[..., Path]) -> Callable[[str], VM]:
    """`shell(series)` is a machine whose boot has ended in busybox's shell, in the initramfs of that kernel."""

    def start(series: str) -> VM:
        kernel = fetch_kernel(series)
        config = images.PLAIN.replace("action: reboot", "action: shell").replace("60s", "1s")
        initrd = image(kernel, f"{config}  shell: busybox\n")
        return vm(Machine(kernel.image, initrd, "console=ttyS0 quiet root=LABEL=none"))

    return start


def test_before_linux_7_the_initial_ramfs_cannot_be_left_by_pivot_root(shell: Callable[[str], VM]) -> None:
    guest = shell("6.1")
    typed(guest, LAB, "made\n", "status 0\n")
    why = "the current root is the initial ramfs (rootfs), the bottom of all mounts, which cannot be moved\n"
    helps = "what helps: use switch_root (rootfall switch-root); from Linux 7.0 on, pivot_root works here, too\n"
    failed = "It would fail: Invalid argument (EINVAL): initial ramfs.\n"
    typed(guest, f"{ROOTFALL} explain /new /new/old", f"EINVAL: {why}", helps, failed, "status 1\n")
    refusal = f"rootfall: pivot_root /new /new/old: Invalid argument (EINVAL); {why}"
    typed(guest, f"{ROOTFALL} pivot /new /new/old", refusal, helps, "nothing was changed\n", "status 1\n")
    typed(guest, f"{ROOTFALL} pivot --fix /plain /plain", "cannot mend that; nothing was changed\n", "status 1\n")


def test_from_linux_7_on_it_can_and_fix_leaves_the_machines_own_mounts_alone(shell: Callable[[str], VM]) -> None:
    guest = shell("7")
    typed(guest, LAB, "made\n", "status 0\n")
    left_alone = "--fix does not change the mounts that this machine was booted with; nothing was changed: "
    typed(guest, f"{ROOTFALL} pivot --fix /plain /plain", left_alone, "status 1\n")
    typed(guest, f"{ROOTFALL} explain /new /new/old", "It would succeed.\n", "status 0\n")
    typed(guest, f"{ROOTFALL} pivot /new /new/old && echo root: /*", "root: /old\n", "status 0\n")
