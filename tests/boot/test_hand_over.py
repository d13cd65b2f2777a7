# SPDX-License-Identifier: MIT
"""The hand-over as the real init finds it, on each kernel: one boot with a rich command line, many looks at it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import DebianKernel, fetch_kernel
from rootfall_qemu.machine import Machine
from tests.boot.booted import Booted, snapshots
from tests.boot.roots import UUID
from tests.guest.report import Mount, Witness, parse

pytestmark = pytest.mark.vm

Boot = Callable[[Machine], Booted]

EXT4 = 0xEF53
KIB_OF_THE_BAR = 1024
PAGES_OF_THE_TIMELINE = 16  # KiB, in /run
APPEND = (
    f"console=ttyS0 quiet panic=-1 root=UUID={UUID} ro rootwait=5 single foo name=value "
    '"two words" spaced="a b" module.option=1 -- last "of all" x=y'
)


@pytest.fixture(params=["6.1", "6.12", "7"])
def kernel(request: pytest.FixtureRequest) -> DebianKernel:
    return fetch_kernel(request.param)


@pytest.fixture
def booted(kernel: DebianKernel, image: Callable[..., Path], witness_root: Path, boot: Boot) -> Booted:
    return boot(Machine(kernel.image, image(kernel), APPEND, disks=snapshots(witness_root)))


@pytest.fixture
def seen(booted: Booted) -> Witness:
    """What the witness saw when rootfall had handed over to it."""
    return parse(booted.console)


@pytest.fixture
def by_control(kernel: DebianKernel, control_image: Callable[..., Path], witness_root: Path, boot: Boot) -> Witness:
    """What it saw after the C control, on the same kernel, disk and command line."""
    return parse(boot(Machine(kernel.image, control_image(kernel), APPEND, disks=snapshots(witness_root))).console)


def test_the_real_init_runs_as_pid_1_and_can_power_the_machine_off(
    booted: Booted, seen: Witness, kernel: DebianKernel
) -> None:
    assert "REAL-ROOT init pid=1\n" in booted.console
    assert (seen.pid, seen.release, seen.exe) == (1, kernel.version, "/sbin/init")
    assert booted.end == "guest-shutdown"


def test_init_gets_the_arguments_that_the_kernel_gives(seen: Witness, by_control: Witness) -> None:
    assert seen.argv == ("/sbin/init", "single", "foo", "two words", "last", "of all", "x=y")
    assert seen.argv == by_control.argv


def test_init_gets_the_environment_that_the_kernel_gives_less_what_rootfall_owns(
    seen: Witness, by_control: Witness
) -> None:
    assert set(seen.environ) == {"HOME=/", "TERM=linux", "name=value", "spaced=a b"}
    # Linux 6.1 knows rootwait only without a number, and so leaves it to init.
    assert set(by_control.environ) - set(seen.environ) <= {"rootwait=5"}


def test_init_has_the_console_on_its_three_descriptors_and_no_other(seen: Witness) -> None:
    assert seen.fd == dict.fromkeys((0, 1, 2), "/dev/console")


def test_init_ignores_and_blocks_no_signal(seen: Witness, by_control: Witness) -> None:
    assert {name: seen.signals(name) for name in ("SigIgn", "SigBlk", "SigCgt", "SigPnd")} == dict.fromkeys(
        ("SigIgn", "SigBlk", "SigCgt", "SigPnd"), 0
    )
    same = ("Umask", "NSsid", "NSpgid", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Threads", "Seccomp")
    assert {name: seen.status.get(name) for name in same} == {name: by_control.status.get(name) for name in same}
    assert seen.umask == 0o022


def test_init_starts_in_the_real_root(seen: Witness) -> None:
    assert (seen.cwd, seen.root) == ("/", "/")
    assert (seen.root_fstype, seen.root_inode) == (EXT4, 2)


def test_the_api_file_systems_have_moved_and_nothing_else_is_mounted(seen: Witness) -> None:
    assert seen.mounts is not None
    assert sorted((mount.point, mount.fstype, mount.source) for mount in seen.mounts) == [
        ("/", "ext4", "/dev/vda1"),
        ("/dev", "devtmpfs", "devtmpfs"),
        ("/proc", "proc", "proc"),
        ("/run", "tmpfs", "tmpfs"),
        ("/sys", "sysfs", "sysfs"),
    ]


def test_the_mounts_have_the_options_that_systemd_asks_of_an_initrd(seen: Witness) -> None:
    assert options(seen, "/proc") >= {"nosuid", "nodev", "noexec"}
    assert options(seen, "/sys") >= {"nosuid", "nodev", "noexec"}
    assert options(seen, "/dev") >= {"nosuid"}
    assert options(seen, "/run") >= {"rw", "nosuid", "nodev"}
    assert "noexec" not in options(seen, "/dev") | options(seen, "/run")
    assert "ro" in options(seen, "/")


def test_the_kernel_version_decides_how_the_root_is_switched(seen: Witness) -> None:
    way = "pivot_root" if int(seen.release.split(".")[0]) >= 7 else "MS_MOVE"
    assert spans(seen)["switch_root"] == way


def test_the_plan_was_ready_and_the_yaml_was_not_parsed(seen: Witness) -> None:
    assert spans(seen)["make the plan"] == "ready"


def test_the_log_tells_each_step_in_one_line(seen: Witness) -> None:
    for line in (
        "rootfall: modules: load ",
        f"rootfall: device: find UUID={UUID}: /dev/vda1",
        "rootfall: mount: mount /dev/vda1 on /sysroot: ext4, ro",
        "rootfall: switch_root: switch to /sysroot and execute /sbin/init: now",
    ):
        assert seen.logged(line), seen.kmsg


def test_nothing_of_the_initramfs_is_left_in_memory(seen: Witness, by_control: Witness) -> None:
    # From 6.14 on module text is cut from pages of 2 MiB: the two sums tell a leak from one page more or less of those.
    there, expected = (w.memory["Reclaimable"] + w.memory["VmallocUsed"] for w in (seen, by_control))
    assert abs(there - expected) <= KIB_OF_THE_BAR
    assert abs(seen.memory["Reclaimable"] - by_control.memory["Reclaimable"]) <= KIB_OF_THE_BAR
    assert seen.memory["Shmem"] - by_control.memory["Shmem"] <= PAGES_OF_THE_TIMELINE


def options(seen: Witness, point: str) -> set[str]:
    mount: Mount = next(mount for mount in seen.mounts or () if mount.point == point)
    return set(mount.options.split(","))


def spans(seen: Witness) -> dict[str, str]:
    """The details of the timeline that was left in /run/rootfall, by name."""
    timeline = json.loads((seen.files["timeline.json"] or "").encode("latin-1"))
    return {span["name"]: span["detail"] for span in timeline["spans"]}
