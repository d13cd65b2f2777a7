# SPDX-License-Identifier: MIT
"""Real inits as containers: systemd, busybox and sysvinit of real Debian roots, to a login prompt, and to a clean end.

Below an overlay that is thrown away, so that the roots are what they were: that, too, is looked at, as is the whole host.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootfall_qemu.debian_root import debian_root
from tests.kernel import container_host
from tests.kernel.container_host import NOBODY, Booted, Host

PROMPT = "root@debian:~# "
ESCAPE = "\x1d"
SERIAL = ("--console", "ttyS0")  # where these roots have their getty
SLOW = 180.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, int], Path]]:
    """`host(init, uid)` is a host's directory with a Debian root that has this init, unpacked once."""
    if os.geteuid():
        pytest.skip("a root whose files are root's own is unpacked by root")
    found: dict[tuple[str, int], Path] = {}

    def unpacked(init: str, uid: int) -> Path:
        if (init, uid) not in found:
            found[init, uid] = directory = tmp_path_factory.mktemp(init)
            (directory / "tmp/debian").mkdir(parents=True)
            archive = debian_root("bookworm", init=init)
            subprocess.run(["tar", "-C", directory / "tmp/debian", "-xf", archive], check=True)
        return found[init, uid]

    yield unpacked
    for directory in found.values():
        shutil.rmtree(directory)


@pytest.fixture
def boot(host: Callable[[str, int], Path]) -> Iterator[Callable[..., Booted]]:
    """`boot(init, words, uid=0)` is that init of a Debian root, on its way to its login prompt."""
    container_host.check_machine()
    running: list[Booted] = []

    def start(init: str, *words: str, uid: int = 0) -> Booted:
        running.append(Booted(host(init, uid), uid, ("--volatile", *words, "/tmp/debian")))
        return running[-1]

    yield start
    for each in running:
        each.close()


def log_in(booted: Booted) -> None:
    booted.console.expect("debian login: ", SLOW, "the login prompt")
    booted.console.send("root\n")
    booted.console.expect(PROMPT, SLOW, "a shell")


def log_out(booted: Booted) -> None:
    """An interactive bash may miss the SIGHUP that comes at once after a SIGTERM; systemd then gives it 90 s."""
    booted.console.send("exit\n")
    booted.console.expect("debian login: ", SLOW, "the next login prompt")


def ask(booted: Booted, command: str) -> str:
    """What a command prints, in the shell of a container."""
    booted.console.send(f"echo be''gin; {command} | cat; echo en''d\n")
    answer = booted.console.expect(re.compile(r"begin\n(.*?)end\n", re.DOTALL), SLOW, f"the end of {command}")
    booted.console.expect(PROMPT, SLOW, "the prompt")
    return str(answer[1])


def ends_well(booted: Booted, status: int = 0) -> str:
    """Nothing is left of it; returns what was on the console."""
    answer = booted.end()
    assert answer.status == status, answer.error
    assert answer.changed == ""
    return answer.error


def test_systemd_runs_without_a_failed_unit_and_powers_off_on_sigterm(boot: Callable[..., Booted]) -> None:
    booted = boot("systemd")
    log_in(booted)
    assert ask(booted, "systemctl is-system-running --wait") == "running\n"
    assert ask(booted, "systemctl list-units --failed --plain --no-legend") == ""
    assert ask(booted, "cat /proc/1/comm") == "systemd\n"
    environment = ask(booted, r"tr '\0' '\n' < /proc/1/environ").splitlines()
    assert "container=rootfall" in environment
    uuid = next(line.partition("=")[2] for line in environment if line.startswith("container_uuid="))
    assert ask(booted, "cat /etc/machine-id").strip() == uuid.replace("-", "")
    assert ask(booted, "systemd-detect-virt --container") == "container-other\n"
    assert ask(booted, "tty") == "/dev/console\n"
    # Each unit has a cgroup, in one that is the container's own.
    assert ask(booted, "systemctl show -P ControlGroup console-getty") == "/system.slice/console-getty.service\n"
    assert ask(booted, "cat /sys/fs/cgroup/init.scope/cgroup.procs").split()[0] == "1"
    assert ask(booted, "ls /dev/kmsg /dev/mem /dev/vda /dev/loop0 2>/dev/null") == ""
    assert "Read-only" in ask(booted, "sh -c 'echo x > /proc/sys/kernel/core_pattern' 2>&1")
    ask(booted, "rm -rf /usr/share /etc/passwd")
    log_out(booted)
    booted.signal(signal.SIGTERM)
    assert "Reached target" in ends_well(booted)


def test_systemd_powers_off_when_somebody_types_the_escape_three_times(boot: Callable[..., Booted]) -> None:
    booted = boot("systemd")
    booted.console.expect("debian login: ", SLOW, "the login prompt")
    booted.console.send(ESCAPE * 2 + "x" + ESCAPE * 2)  # not three in a row
    booted.console.send("\x15root\n")
    booted.console.expect(PROMPT, SLOW, "that it goes on")
    log_out(booted)
    booted.console.send(ESCAPE * 3)
    assert "shutdown.target" in ends_well(booted)


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["as root", "as an ordinary user"])
def test_busybox_powers_off_on_sigterm(boot: Callable[..., Booted], uid: int) -> None:
    booted = boot("busybox", *SERIAL, uid=uid)
    booted.console.expect("debian login: ", SLOW, "the login prompt")
    booted.signal(signal.SIGTERM)
    assert "Requesting system poweroff" in ends_well(booted)


def test_busybox_powers_off_by_its_own_command(boot: Callable[..., Booted]) -> None:
    booted = boot("busybox", *SERIAL)
    log_in(booted)
    assert ask(booted, "cat /proc/1/comm") == "init\n"
    booted.console.send("poweroff\n")
    ends_well(booted)


def test_a_reboot_is_the_end_and_told_apart(boot: Callable[..., Booted]) -> None:
    booted = boot("sysvinit", *SERIAL)
    log_in(booted)
    booted.console.send("reboot\n")
    ends_well(booted, 133)


def refused(directory: Path, uid: int, *words: str) -> str:
    """What `container boot` says instead of starting something."""
    said: list[str] = []

    def test(host: Host) -> None:
        before = host.look()
        status, _, error = host.run(*words, command="boot")
        assert status == 125, error
        assert before == host.look()
        os.write(write, error)

    read, write = os.pipe()
    container_host.check_machine()
    container_host.run(directory, uid, test)
    said.append(os.read(read, 65536).decode())
    os.close(read)
    os.close(write)
    return said[0]


def script(directory: Path, text: str) -> None:
    """A root whose init is a script."""
    for name in ("sbin", "run"):
        (directory / "tmp/root" / name).mkdir(parents=True)
    (directory / "tmp/root/sbin/init").write_text(f"#!/bin/sh\n{text}")
    (directory / "tmp/root/sbin/init").chmod(0o755)


@pytest.mark.parametrize("words", [("--stop-timeout", "1"), ("--stop-timeout", "1000")], ids=["in time", "asked twice"])
def test_an_init_that_does_not_end_is_killed(tmp_path: Path, words: tuple[str, ...]) -> None:
    container_host.check_machine()
    uid = container_host.users()[-1]
    script(tmp_path, "trap 'echo asked' INT; echo up; while :; do sleep 1000 & wait $!; done\n")
    booted = Booted(tmp_path, uid, (*words, "/tmp/root"))
    try:
        booted.console.expect("up\n", SLOW, "the init")
        booted.signal(signal.SIGTERM)
        booted.console.expect("asked\n", SLOW, "its answer")
        if words[1] == "1000":
            booted.signal(signal.SIGTERM)
        assert "the container is killed" in ends_well(booted, 137)
    finally:
        booted.close()


def test_a_root_without_an_init_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, container_host.users()[-1], "/tmp/root")
    assert said.startswith("rootfall: cannot boot /tmp/root; seen: no init: not /sbin/init")


def test_an_ordinary_user_is_told_that_systemd_needs_root(tmp_path: Path) -> None:
    (tmp_path / "tmp/root/sbin").mkdir(parents=True)
    (tmp_path / "tmp/root/sbin/systemd").touch()
    (tmp_path / "tmp/root/sbin/init").symlink_to("systemd")
    said = refused(tmp_path, NOBODY if os.geteuid() == 0 else os.geteuid(), "/tmp/root")
    assert "systemd, which needs a cgroup of its own; run it as root" in said
