# SPDX-License-Identifier: MIT
"""A container's limits in the words of cgroups of either version, and the lists of numbers that a cpuset has."""

import pytest

from rootfall.container.cgroup_events import size
from rootfall.container.cgroup_files import Hierarchy, expand
from rootfall.container.cgroup_v1 import directories
from rootfall.container.cgroup_v2 import limits
from rootfall.container.model import Resources
from rootfall.errors import ContainerError


def version_1(resources: Resources) -> dict[str, str]:
    """What is written into which file, where one hierarchy has every controller, mounted on the root."""
    everything = (Hierarchy(1, ("memory", "pids", "cpu", "cpuset", "blkio"), "/", "/"),)
    wanted = {controller for controller, _, _ in limits(resources)}
    return {file: value for each in directories(everything, wanted, resources, "test") for file, value in each.limits}


def version_2(resources: Resources) -> dict[str, str]:
    return {file: value for _, file, value in limits(resources)}


def test_nothing_asked_is_nothing_written() -> None:
    assert limits(Resources()) == ()
    assert version_1(Resources()) == {}


def test_the_files_of_version_2() -> None:
    resources = Resources(1 << 20, -1, -1, 50_000, 100_000, 50, "0-1", "0", ("8:0 rbps=1", "8:16 wiops=2"))
    assert limits(resources) == (
        ("memory", "memory.max", "1048576"),
        ("memory", "memory.swap.max", "max"),
        ("pids", "pids.max", "max"),
        ("cpu", "cpu.max", "50000 100000"),
        ("cpu", "cpu.weight", "50"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
        ("io", "io.max", "8:0 rbps=1"),
        ("io", "io.max", "8:16 wiops=2"),
    )


def test_a_period_alone_is_a_limit_too() -> None:
    assert version_2(Resources(cpu_period=10_000)) == {"cpu.max": "max 10000"}
    assert version_1(Resources(cpu_period=10_000)) == {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "-1"}


@pytest.mark.parametrize(("weight", "shares"), [(1, 10), (100, 1024), (50, 512), (10_000, 102_400)])
def test_a_weight_is_as_many_shares_as_the_kernel_makes_of_it(weight: int, shares: int) -> None:
    assert version_1(Resources(cpu_weight=weight)) == {"cpu.shares": str(shares)}


@pytest.mark.parametrize(("memory", "swap", "both"), [(64, 16, 80), (64, 0, 64), (64, -1, -1), (-1, -1, -1)])
def test_version_1_counts_memory_and_swap_together(memory: int, swap: int, both: int) -> None:
    found = version_1(Resources(memory_max=memory, memory_swap_max=swap))
    assert found == {"memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(both)}


def test_a_line_of_io_max_is_a_file_for_each_of_its_words_in_version_1() -> None:
    assert version_1(Resources(io_max=("8:0 rbps=1 wbps=max riops=3 wiops=4",))) == {
        "blkio.throttle.read_bps_device": "8:0 1",
        "blkio.throttle.read_iops_device": "8:0 3",
        "blkio.throttle.write_iops_device": "8:0 4",
    }


@pytest.mark.parametrize("line", ["8:0 latency=1", "8:0 rbps", "8:0 rbps=-1", "8:0 rbps=fast"])
def test_a_word_that_version_1_has_not_is_refused(line: str) -> None:
    with pytest.raises(ContainerError, match="rbps= wbps= riops= wiops="):
        version_1(Resources(io_max=(line,)))


def test_a_list_of_numbers_is_a_set() -> None:
    assert expand("0-3,6\n") == {0, 1, 2, 3, 6}
    assert expand("\n") == set()


@pytest.mark.parametrize(
    ("count", "text"), [(1 << 30, "1 GiB"), (48 << 20, "48 MiB"), (1536, "1536 bytes"), (2048, "2 KiB")]
)
def test_a_size_is_told_in_the_unit_that_it_is_a_multiple_of(count: int, text: str) -> None:
    assert size(count) == text
