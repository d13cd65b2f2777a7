# SPDX-License-Identifier: MIT
"""Five real inits from Debian, each handed over to by a real image: a login prompt, a root shell, a clean power-off."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.debian_root import DISK_UUID, debian_disk
from rootfall_qemu.machine import Disk, Machine
from rootfall_qemu.vm import VM

pytestmark = pytest.mark.vm
PROMPT = "root@debian:~# "
APPEND = f"console=ttyS0 panic=-1 root=UUID={DISK_UUID} rw quiet"


@pytest.fixture
def login(vm: Callable[[Machine], VM]) -> Callable[..., VM]:
    """`login(kernel, image, disk)` is the guest with root logged in on the serial line."""

    def start(kernel: DebianKernel, image: Path, disk: Path) -> VM:
        disks = (Disk(disk, snapshot=True),)
        guest = vm(Machine(kernel.image, image, APPEND, memory=1024, disks=disks))
        guest.console.expect("debian login: ", 300, "the login prompt")
        guest.console.send("root\n")
        guest.console.expect(PROMPT, 120, "a shell")
        return guest

    return start


def ask(guest: VM, command: str) -> str:
    """What a command prints, in the shell of a guest."""
    guest.console.send(f"echo be''gin; {command} | cat; echo en''d\n")
    answer = guest.console.expect(re.compile(r"begin\n(.*?)end\n", re.DOTALL), 180, f"the end of {command}")
    guest.console.expect(PROMPT, 60, "the prompt")
    return str(answer[1])


@pytest.mark.parametrize(("suite", "series"), [("bookworm", "6.1"), ("sid", "7")])
def test_systemd_takes_the_state_over_and_shows_the_initrd_phase(
    suite: str, series: str, image: Callable[..., Path], login: Callable[..., VM]
) -> None:
    """And no unit fails, as none does after the C control (test_debian_root)."""
    kernel, disk = fetch_kernel(series), debian_disk(suite)
    guest = login(kernel, image(kernel), disk)
    # is-system-running waits for the end of the boot, without which there is nothing to analyse.
    assert ask(guest, "systemctl is-system-running --wait") == "running\n"
    assert "(kernel)" in (times := ask(guest, "systemd-analyze"))
    assert re.search(r"\(kernel\) \+ [\d.]+m?s \(initrd\) \+ [\d.]+m?s \(userspace\)", times), times
    assert ask(guest, "systemctl list-units --failed --plain --no-legend") == ""
    words = ask(guest, "cat /proc/1/cmdline").split("\0")
    assert words[:4] == ["/sbin/init", "--switched-root", "--system", "--deserialize"], words
    complaints = ask(guest, "journalctl -b -p notice --no-hostname -o cat _PID=1 + SYSLOG_IDENTIFIER=systemd")
    assert not re.search("serializ|Failed to (parse|load)|Unknown", complaints), complaints
    guest.console.send("poweroff\n")
    assert guest.wait_off(180) == "guest-shutdown"


@pytest.mark.parametrize(
    ("init", "series", "proof"),
    [
        ("sysvinit", "6.1", "init"),
        ("runit", "6.12", "runit"),
        ("openrc", "7", "init"),
        ("busybox", "6.1", "init"),
    ],
)
def test_an_elder_of_systemd_reaches_its_login_prompt_and_powers_off(
    init: str, series: str, proof: str, image: Callable[..., Path], login: Callable[..., VM]
) -> None:
    kernel = fetch_kernel(series)
    guest = login(kernel, image(kernel), debian_disk("bookworm", init=init))
    assert ask(guest, "cat /proc/1/comm").strip() == proof
    assert ask(guest, "ls /run/rootfall") == "timeline.json\n"
    guest.console.send("poweroff\n")
    assert guest.wait_off(180) == "guest-shutdown"
