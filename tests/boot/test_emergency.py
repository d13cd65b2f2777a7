# SPDX-License-Identifier: MIT
"""The emergency, typed at as a person would: consoles, words, the shell, its password, and boots that are stopped."""

import ctypes
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.errors import ExpectError
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import images, roots
from tests.boot.booted import snapshots
from tests.boot.failure import report
from tests.boot.roots import UUID
from tests.guest.report import parse

pytestmark = pytest.mark.vm

Start = Callable[[Machine], VM]
PROMPT, SHELL = "rootfall> ", "rootfall# "
LIMIT = 180.0
PASSWORD = "correct horse"


@pytest.fixture
def kernel() -> DebianKernel:
    return fetch_kernel("6.1")


@pytest.fixture
def machine(kernel: DebianKernel, image: Callable[..., Path]) -> Machine:
    """A machine without a disk whose image offers the console when the root does not come within a second."""
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("60s", "1s")
    append = f"console=ttyS0 quiet root=UUID={UUID} word"
    return Machine(kernel.image, image(kernel, config), append, hot_plug_slots=1)


def typed(guest: VM, command: str, answer: str, prompt: str = PROMPT) -> None:
    """Type a command at the prompt and see its answer."""
    guest.console.expect(prompt, LIMIT, "the prompt")
    guest.console.send(f"{command}\n")
    guest.console.expect(answer, LIMIT, f"the answer to {command}")


def test_a_root_that_is_plugged_in_later_is_found_by_a_retry(vm: Start, machine: Machine, witness_root: Path) -> None:
    guest = vm(machine)
    typed(guest, "devices", "no block device at all\n")
    typed(guest, "plan", f"2. find the block device UUID={UUID}, waiting for up to 1 s\n")
    typed(guest, "report", "seen      no block device at all\n")
    typed(guest, "log", "make the plan")
    typed(guest, "mount", "devtmpfs /dev devtmpfs")
    typed(guest, "nonsense", "nonsense: not to be had here; help says what is")
    typed(guest, "mount /dev/vda ext4", "cannot mount the root /dev/vda as ext4: No such file or directory")
    typed(guest, "switch", "cannot switch root /sysroot; seen: no mount there")
    typed(guest, "retry", "rootfall: THIS BOOT FAILED")
    guest.hot_plug(snapshots(witness_root)[0])
    typed(guest, "exit", "REAL-ROOT init pid=1\n")
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


def test_a_stopped_boot_shows_its_steps_and_another_root_can_be_mounted_and_switched_to(
    vm: Start, machine: Machine, witness_root: Path
) -> None:
    append = "console=ttyS0 quiet root=LABEL=none rootfall.trace rd.break=device rd.break=nowhere"
    guest = vm(replace(machine, append=append, disks=snapshots(witness_root)))
    guest.console.expect("rootfall: trace: modules: LoadModules(names=('virtio_pci',", LIMIT)
    guest.console.expect("rootfall: trace: device: FindRoot(ref=DeviceRef(kind='LABEL', value='none'", LIMIT)
    guest.console.expect("rootfall: stopped before device: find the block device LABEL=none", LIMIT)
    typed(guest, "report", "nothing has failed")
    typed(guest, "exit", "rootfall: THIS BOOT FAILED")
    typed(guest, "mount /dev/vda1", "/dev/vda1 is mounted on /sysroot: ext4, ro; switch goes on")
    typed(guest, "switch /sbin/other", "REAL-ROOT init pid=1\n")
    assert guest.wait_off(LIMIT) == "guest-shutdown"
    assert parse(guest.console.log).argv == ("/sbin/other",)


def test_a_boot_that_is_stopped_nowhere_stops_before_the_switch_and_goes_on(
    vm: Start, machine: Machine, witness_root: Path
) -> None:
    guest = vm(replace(machine, append=f"{machine.append} rd.break=nowhere", disks=snapshots(witness_root)))
    guest.console.expect("rd.break=nowhere: no such stage; there are modules, device, mount, switch\n", LIMIT)
    typed(guest, "mount", "/dev/vda1 /sysroot ext4 ro")
    typed(guest, "exit", "REAL-ROOT init pid=1\n")
    assert guest.wait_off(LIMIT) == "guest-shutdown"


def crypt(word: str) -> str:
    """A hash as an admin makes it (crypt(3))."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(word.encode(), b"$6$saltsaltsaltsalt$")
    assert isinstance(made, bytes)
    return made.decode()


@pytest.fixture
def locked(machine: Machine, image: Callable[..., Path], kernel: DebianKernel) -> Machine:
    """The machine with busybox behind a password."""
    failure = f'on_failure: {{action: shell, password: "{crypt(PASSWORD)}"}}'
    config = images.PLAIN.replace("on_failure: {action: reboot}", failure).replace("60s", "1s")
    return replace(machine, initrd=image(kernel, f"{config}  drivers: [keyboard]\n  shell: busybox\n"))


def test_behind_the_password_is_a_shell_with_job_control_and_the_report_was_on_the_screen_too(
    vm: Start, locked: Machine, witness_root: Path
) -> None:
    guest = vm(replace(locked, memory=768, screen=True, append=f"console=tty0 {locked.append}"))
    ask = "rootfall: password for the emergency shell: "
    typed(guest, "wrong", "rootfall: wrong password", ask)
    typed(guest, PASSWORD, "rootfall: this is /bin/sh; exit tries again", ask)
    assert PASSWORD not in guest.console.log
    typed(guest, "tty; echo sid $(cut -d' ' -f6 /proc/$$/stat) pid $$", "/dev/ttyS0\n", SHELL)
    sid, pid = guest.console.expect(re.compile(r"sid (\d+) pid (\d+)\n"), LIMIT).groups()
    assert sid == pid
    job = """sh -c 'trap "echo again" CONT; echo begun; while :; do sleep 1; done'"""
    typed(guest, job, "begun\n", SHELL)  # what is typed before that, the shell's line editor throws away
    guest.console.send("\x1a")  # ^Z
    guest.console.expect(re.compile(r"\[1\]\+ +Stopped"), LIMIT)
    typed(guest, "fg", "again\n", SHELL)
    guest.console.send("\x03")  # ^C
    typed(guest, "jobs; echo none left", "none left\n", SHELL)
    typed(guest, "head -5 /run/rootfall/report.txt", "failed    cannot find the root device", SHELL)
    typed(guest, "grep -c kind /run/rootfall/report.json", "1\n", SHELL)
    # The virtual terminal is 25 lines high: the whole report is still on it.
    typed(guest, "tr -d '\\n' </dev/vcs1 | grep -c 'THIS BOOT FAILED.*report.json'", "1\n", SHELL)
    guest.hot_plug(snapshots(witness_root)[0])
    typed(guest, "exit", "REAL-ROOT init pid=1\n", SHELL)
    assert guest.wait_off(LIMIT) == "guest-shutdown"


def test_three_wrong_passwords_reboot_even_where_the_command_line_asks_for_a_shell(vm: Start, locked: Machine) -> None:
    guest = vm(replace(locked, append=f"{locked.append} rd.break=modules"))
    ask = "rootfall: password for the emergency shell: "
    guest.console.expect("rootfall: stopped before modules", LIMIT)
    for word in ("a", "b", "c"):
        typed(guest, word, "rootfall: wrong password\n", ask)
    guest.console.expect("rootfall: no shell without the password: the boot goes on\n", LIMIT)
    guest.console.expect("rootfall: THIS BOOT FAILED", LIMIT)
    for word in ("a", "b", "c"):
        typed(guest, word, "rootfall: wrong password\n", ask)
    assert guest.wait_off(LIMIT) == "guest-reset"


def test_busyboxs_own_poweroff_ends_the_machine(
    vm: Start, machine: Machine, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("60s", "1s")
    guest = vm(replace(machine, initrd=image(kernel, f"{config}  shell: busybox\n")))
    typed(guest, "poweroff", "rootfall: poweroff\n", SHELL)
    assert guest.wait_off(LIMIT) == "guest-shutdown"


@pytest.mark.parametrize("action", ["poweroff"])
def test_the_configured_action_ends_the_machine_without_a_person(
    action: str, vm: Start, machine: Machine, image: Callable[..., Path], kernel: DebianKernel
) -> None:
    config = images.PLAIN.replace("action: reboot", f"action: {action}, after: 1s").replace("60s", "1s")
    guest = vm(replace(machine, initrd=image(kernel, config)))
    guest.console.expect(f"rootfall: {action} in 1 s\n", LIMIT)
    assert guest.wait_off(LIMIT) == "guest-shutdown"
    assert report(guest.console.log)["seen"] == ("no block device at all",)


@pytest.mark.parametrize(
    ("board", "keyboard"),
    [("q35", ()), ("q35,i8042=off", ("-device", "qemu-xhci", "-device", "usb-kbd"))],
    ids=["PS/2", "USB"],
)
def test_what_is_typed_at_a_keyboard_reaches_the_shell_on_the_screen(
    board: str,
    keyboard: tuple[str, ...],
    vm: Start,
    machine: Machine,
    image: Callable[..., Path],
    kernel: DebianKernel,
) -> None:
    config = images.PLAIN.replace("action: reboot", "action: shell").replace("60s", "1s")
    append = f"console=ttyS0 console=tty0 quiet root=UUID={UUID}"
    made = image(kernel, f"{config}  drivers: [keyboard]\n  shell: busybox\n")
    screen = replace(machine, machine_type=board, screen=True, memory=768, extra=keyboard)
    guest = vm(replace(screen, initrd=made, append=append))
    guest.console.expect("rootfall: THIS BOOT FAILED", LIMIT)  # the serial line has the report, the screen the shell
    # What is typed before the driver is in, or before the shell reads, is lost: a person would type it again, too.
    deadline = time.monotonic() + LIMIT
    while "reboot: Restarting system" not in guest.console.log:
        assert time.monotonic() < deadline, "no key has reached the shell"
        for key in (*"reboot", "ret"):
            guest.qmp.execute("send-key", {"keys": [{"type": "qcode", "data": key}]})
        with suppress(ExpectError):
            guest.console.expect("reboot: Restarting system", 5)
    assert guest.wait_off(LIMIT) == "guest-reset"
