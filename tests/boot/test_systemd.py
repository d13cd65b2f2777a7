# SPDX-License-Identifier: MIT
"""A real Debian with systemd: our image brings it to its login prompt no worse than the C control, and it shuts down."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.cache import made_once
from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.debian_root import DISK_UUID, debian_disk
from rootfall_qemu.machine import Machine
from rootfall_qemu.vm import VM
from tests.boot import udev_root
from tests.boot.booted import snapshots
from tests.boot.images import PLAIN, digest

pytestmark = pytest.mark.vm

Start = Callable[[Machine], VM]
Session = Callable[[Path], dict[str, str]]

LIMIT = 240.0
PROMPT = "root@debian:~# "
STATE = "systemctl is-system-running --wait"
FAILED = "systemctl --failed --plain --no-legend --no-pager"
LOG = "journalctl --no-pager --boot --identifier=rootfall --output=cat"
MOUNTS = "findmnt --noheadings --list --output TARGET,FSTYPE | grep -v /run/credentials"
WHO = "readlink /proc/1/exe; ls -l /proc/1/fd | grep -c deleted"
POWEROFF = "systemctl poweroff 2>/dev/null"  # it says that there is no D-Bus, and uses its own socket
OPTION = "cat /sys/module/virtio_blk/parameters/queue_depth"
OF_THE_INITRAMFS = "ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c deleted"
UDEV = "systemctl is-active systemd-udevd; udevadm info --query=symlink /dev/vda1"
QUESTIONS = (STATE, FAILED, LOG, MOUNTS, WHO, OPTION, OF_THE_INITRAMFS, UDEV)


@pytest.fixture(params=["6.1", "7"])
def kernel(request: pytest.FixtureRequest) -> DebianKernel:
    return fetch_kernel(request.param)


@pytest.fixture
def session(vm: Start, kernel: DebianKernel, shared: Path) -> Session:
    """`session(image)` boots Debian with it, logs in, asks and powers off: the answers by question, and the end."""

    def run(image: Path) -> dict[str, str]:
        append = f"console=ttyS0 quiet panic=-1 root=UUID={DISK_UUID} ro virtio_blk.queue_depth=64"
        machine = Machine(kernel.image, image, append, disks=snapshots(debian_disk("bookworm")), memory=1024)

        def make(place: Path) -> dict[str, object]:
            answers = asked(vm(machine))
            (place / "answers.json").write_text(json.dumps(answers))
            return {"machine": repr(machine)}

        answers: dict[str, str] = json.loads(
            (made_once(shared / f"session-{digest(machine)}", make) / "answers.json").read_text()
        )
        return answers

    return run


def asked(guest: VM) -> dict[str, str]:
    guest.console.expect("debian login: ", LIMIT, "the login prompt")
    guest.console.send("root\n")
    guest.console.expect(PROMPT, LIMIT, "the shell's prompt")
    # Then what stands between the echo of a question and the next prompt is its answer.
    guest.console.send("bind 'set enable-bracketed-paste off'; stty cols 500\n")
    guest.console.expect(PROMPT, LIMIT, "the shell's prompt")
    answers = {}
    for question in QUESTIONS:
        guest.console.send(f"{question}\n")
        answer = re.compile(rf"{re.escape(question)}\n(.*?){re.escape(PROMPT)}", re.DOTALL)
        answers[question] = guest.console.expect(answer, LIMIT, f"the answer to {question}")[1].strip()
    guest.console.send(f"{POWEROFF}\n")
    answers["end"] = guest.wait_off(LIMIT)
    answers["after"] = guest.console.log.rpartition(f"{POWEROFF}\n")[2]
    return answers


def test_debian_comes_up_to_its_login_and_shuts_down_cleanly(
    session: Session, kernel: DebianKernel, image: Callable[..., Path]
) -> None:
    seen = session(image(kernel))
    assert seen[STATE] == "running"
    assert seen[WHO].split() == ["/usr/lib/systemd/systemd", "0"]
    assert seen[OPTION] == "64"
    assert f"device: find UUID={DISK_UUID}: /dev/vda1" in seen[LOG]
    assert (seen["end"], re.findall("[Ff]ailed.*", seen["after"])) == ("guest-shutdown", [])


def test_no_unit_fails_and_no_mount_differs_from_when_the_control_handed_over(
    session: Session, kernel: DebianKernel, image: Callable[..., Path], control_image: Callable[..., Path]
) -> None:
    ours, controls = session(image(kernel)), session(control_image(kernel))
    units, controls_units = ({line.split()[0] for line in seen[FAILED].splitlines()} for seen in (ours, controls))
    assert units <= controls_units
    assert sorted(ours[MOUNTS].split("\n")) == sorted(controls[MOUNTS].split("\n"))


def test_after_a_udevd_in_the_initramfs_that_of_the_real_root_takes_over(
    session: Session, image: Callable[..., Path], kernel: DebianKernel, shared: Path
) -> None:
    seen = session(image(kernel, udev_root.with_hook(PLAIN, udev_root.made(shared))))
    assert (seen[STATE], seen[FAILED], seen[OF_THE_INITRAMFS]) == ("running", "", "0")
    assert "hook: undo udevd: stopped" in seen[LOG]
    state, links = seen[UDEV].splitlines()
    assert state == "active"
    assert f"disk/by-uuid/{DISK_UUID}" in links.split()
    assert (seen["end"], re.findall("[Ff]ailed.*", seen["after"])) == ("guest-shutdown", [])
