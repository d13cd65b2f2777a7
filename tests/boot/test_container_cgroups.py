# SPDX-License-Identifier: MIT
"""Limits of containers by cgroups of version 2: one boot of a Debian with systemd, in which the frozen program runs containers.

What happens there is tests/guest/limits.sh, as root and as a user to whom a subtree was delegated, by systemd and by hand.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_build.build import cache_directory
from rootfall_build.freeze import freeze
from rootfall_qemu.cache import made_once
from rootfall_qemu.debian import DebianKernel
from rootfall_qemu.debian_root import DISK_UUID, debian_disk
from rootfall_qemu.disk import MIB, ext4
from rootfall_qemu.machine import Disk, Machine
from tests.boot import booted
from tests.guest.material import HERE, compile_static

pytestmark = [pytest.mark.vm, pytest.mark.frozen]
Parts = dict[str, tuple[str, int]]
FILE = 4 * MIB
SCRIPT = "mkdir /run/t && mount -o ro /dev/vdb /run/t && exec sh /run/t/limits.sh {} > /dev/ttyS0 2>&1"
# A second processor that is never started: one that a cpuset may name and nobody can have.
ONE_OF_TWO = "maxcpus=1"
KILLED = (
    "rootfall: the container's memory limit of 48 MiB was reached: "
    "the kernel killed a process of it (memory.events: oom_kill 1)"
)
STOPPED = "rootfall: the container's limit of 20 processes was reached: fork failed once (pids.events: max 1)"
GUEST_GLIBC = (2, 36)


@pytest.fixture(scope="module")
def disk(shared: Path) -> Path:
    """A disk with the frozen program, the script, and a root that holds one static program and a file to read."""
    here = str(os.confstr("CS_GNU_LIBC_VERSION")).split()[-1]
    if tuple(map(int, here.split("."))) > GUEST_GLIBC:
        pytest.skip(f"what is frozen here needs glibc {here}; the guest is a Debian 12, which has an older one")

    def make(place: Path) -> dict[str, object]:
        tree = place / "tree"
        for name in ("bin", "proc", "sys", "dev", "tmp"):
            (tree / "root" / name).mkdir(parents=True)
        compile_static(HERE / "limits.c", tree / "root/bin/limits")
        (tree / "root/file").write_bytes(b"rootfall" * (FILE // 8))
        shutil.copy(HERE / "limits.sh", tree)
        runtime = freeze(cache_directory())
        shutil.copytree(runtime.directory, tree / "rootfall", symlinks=True)
        ext4(place / "disk.img", 64 * MIB, tree=tree)
        return {"frozen": runtime.digest}

    return made_once(shared / "disk-limits", make) / "disk.img"


@pytest.fixture
def played(
    kernel: DebianKernel,
    image: Callable[..., Path],
    disk: Path,
    boot: Callable[[Machine], booted.Booted],
) -> Callable[..., Parts]:
    """`played(which, append)`: what each part of the script said, and its exit status."""

    def play(which: str, append: str = "") -> Parts:
        command = f"systemd.run=\"/bin/sh -c '{SCRIPT.format(which)}'\""
        append = f"console=ttyS0 quiet panic=-1 {ONE_OF_TWO} root=UUID={DISK_UUID} rw {append} {command}"
        debian = debian_disk("bookworm", ("dbus-user-session", "libpam-systemd"))
        disks = (Disk(debian, snapshot=True), Disk(disk, snapshot=True))
        console = boot(Machine(kernel.image, image(kernel), append, memory=768, cpus=2, disks=disks)).console
        found = {}
        for said, name, status in re.findall(r"(.*?)^@@ (\S+) (\d+) at .*?\n", console, re.DOTALL | re.MULTILINE):
            found[name] = (said, int(status))
        assert "end" in found, "the script did not come to its end"
        return found

    return play


@pytest.fixture
def parts(played: Callable[..., Parts]) -> Parts:
    """All parts, with cgroups of version 2."""
    return played("all")


@pytest.mark.parametrize("part", ["memory", "user-memory", "scope", "delegated"])
def test_an_allocation_beyond_memory_max_is_killed_and_reported(parts: Parts, part: str) -> None:
    said, status = parts[part]
    assert status == 137
    assert KILLED in said
    assert 16 < len(re.findall(r"^ate \d+$", said, re.MULTILINE)) < 48


@pytest.mark.parametrize("part", ["forks", "user-forks", "alone", "service"])
def test_a_bounded_loop_of_forks_stops_at_pids_max(parts: Parts, part: str) -> None:
    said, status = parts[part]
    assert status == 0
    assert "forked 18, then Resource temporarily unavailable" in said
    assert STOPPED in said


def test_cpu_max_halves_the_speed(parts: Parts) -> None:
    said, status = parts["half"]
    assert status == 0
    assert "50000 100000" in said
    spun = re.search(r"spun (\d+) of (\d+)", said)
    assert spun
    used, passed = int(spun[1]), int(spun[2])
    assert used <= passed * 0.5 + 60_000  # a period's quota may have been begun before, and one after
    throttled = re.search(r"^nr_throttled (\d+)$", said, re.MULTILINE)
    assert throttled
    assert int(throttled[1]) >= 5


def test_each_limit_is_in_its_file(parts: Parts) -> None:
    said, status = parts["written"]
    assert status == 0
    lines = set(said.splitlines())
    wanted = {f"memory.max:{64 * MIB}", f"memory.swap.max:{16 * MIB}", "pids.max:33", "cpu.weight:50", "cpuset.cpus:0"}
    assert wanted <= lines
    assert re.search(r"^io.max:\d+:\d+ rbps=1048576 wbps=max riops=max wiops=50$", said, re.MULTILINE)
    assert "processors 0" in lines


def test_a_processor_that_is_not_there_is_refused(parts: Parts) -> None:
    said, status = parts["absent"]
    assert status == 125
    assert "cannot set cpuset.cpus to 1; seen: 0 can be had" in said


def test_io_max_throttles_what_is_read(parts: Parts) -> None:
    times = {}
    for part in ("free", "throttled"):
        said, status = parts[part]
        found = re.search(rf"read {FILE} in (\d+) us", said)
        assert status == 0, said
        assert found, said
        times[part] = int(found[1])
    assert times["throttled"] > 3_000_000  # 4 MiB at 1 MiB a second, less what may be read at once
    assert times["throttled"] > 2 * times["free"]


def test_the_cgroup_namespace_shows_the_containers_own_as_the_root(parts: Parts) -> None:
    assert parts["namespace"] == ("0::/\n", 0)


def test_what_is_left_without_a_pid_namespace_is_killed(parts: Parts) -> None:
    said, status = parts["leftovers"]
    assert (said, status) == ("forked 30, then no more\n", 0)


@pytest.mark.parametrize("part", ["killed", "alone-killed"])
def test_a_launcher_that_is_killed_leaves_no_cgroup(parts: Parts, part: str) -> None:
    said, status = parts[part]
    assert status == 0
    assert said == "forked 5, then no more\nwaited: 0\nleft: \n"


def test_nothing_is_left_of_any_container(parts: Parts) -> None:
    assert parts["after"] == ("", 0)
    assert parts["user-after"] == ("shell\n", 0)


def test_a_launcher_alone_in_its_cgroup_steps_aside_and_comes_back(parts: Parts) -> None:
    """Else the kernel's rule of no internal processes would forbid the container's cgroup; nothing of it stays."""
    assert parts["alone"][1] == 0
    assert parts["alone-after"] == ("", 0)
    assert parts["alone-control"] == ("", 0)


def test_a_controller_that_is_not_delegated_is_refused_with_the_remedy(parts: Parts) -> None:
    said, status = parts["not-enabled"]
    assert status == 125
    assert "cannot enable the controller cpu in /sys/fs/cgroup: Permission denied" in said
    assert "Delegate=cpu" in said


def test_a_user_without_a_cgroup_of_his_own_is_told_how_to_get_one(parts: Parts) -> None:
    said, status = parts["not-delegated"]
    assert status == 125
    assert "systemd-run --user --scope -p Delegate=yes" in said


def test_a_parent_with_processes_is_refused(parts: Parts) -> None:
    said, status = parts["busy"]
    assert status == 125
    assert "Device or resource busy" in said
    assert "seen: processes in it, " in said


def test_a_parent_can_be_named(parts: Parts) -> None:
    assert parts["given"] == ("processors 0\n", 0)


def test_a_limit_that_was_lifted_meanwhile_is_told(parts: Parts) -> None:
    said, status = parts["lifted"]
    assert status == 0
    assert "the limit cpu.weight was lifted while the container ran: who manages /sys/fs/cgroup/given" in said


def test_each_controller_is_used_in_the_hierarchy_that_has_it(played: Callable[..., Parts]) -> None:
    """Both versions at once: pids in version 2, memory in version 1."""
    both = played(
        "hybrid", "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0 cgroup_no_v1=pids"
    )
    said, status = both["forks"]
    assert status == 0
    assert "forked 18, then Resource temporarily unavailable" in said
    assert STOPPED in said
    said, status = both["memory"]
    assert status == 137
    assert "limit of 48 MiB was reached" in said
    assert "(memory.oom_control: oom_kill 1)" in said
    places = both["places"][0].splitlines()[1:]
    assert len(places) == 2
    assert sum("/unified/" in place for place in places) == sum("/memory/" in place for place in places) == 1
    assert both["after"] == ("", 0)
