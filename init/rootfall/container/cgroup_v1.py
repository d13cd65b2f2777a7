# SPDX-License-Identifier: MIT
"""Version 1 of cgroups (the kernel's admin-guide/cgroup-v1): a directory in the hierarchy of each controller that is needed.

It is made below the caller's own cgroup of that hierarchy. Refuses what version 1 has no word for. A controller keeps the
names that version 2 gives it (io, memory.max) in every message; the files that are written have their own.
"""

import os

from rootfall.container.cgroup_files import NAMES_1, Directory, Hierarchy, text
from rootfall.container.cgroup_v2 import NO_LIMIT, by_number
from rootfall.container.model import Resources
from rootfall.errors import ContainerError

_THROTTLE = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
_PERIOD = Resources().cpu_period


def directories(
    mounted: tuple[Hierarchy, ...], wanted: set[str], resources: Resources, name: str
) -> tuple[Directory, ...]:
    """The container's directories for the controllers `wanted`, by version 2's names. Raises ContainerError.

    pids is always among them where it is mounted: what must be killed in the end can be kept from forking by it only.
    """
    found = []
    for hierarchy in mounted:
        mine = {each for each in (*wanted, "pids") if wanted and NAMES_1.get(each, each) in hierarchy.controllers}
        if hierarchy.version != 1 or not mine:
            continue
        parent = _parent(hierarchy, resources.parent)
        files = tuple(each for controller in sorted(mine) for each in _limits(controller, resources, parent))
        found.append(Directory(1, f"{parent}/{name}", files))
    return tuple(found)


def _parent(hierarchy: Hierarchy, parent: str) -> str:
    path = f"{hierarchy.mount}/{parent.strip('/')}".rstrip("/") if parent else hierarchy.own
    if ".." in parent.split("/") or not os.path.isdir(path):
        raise ContainerError(
            "make a cgroup below", path, errno=2, hint=f"mkdir {path}, or name another --cgroup-parent"
        )
    if not os.access(path, os.W_OK):
        raise ContainerError(
            "make a cgroup below",
            path,
            errno=13,
            hint="cgroups of version 1 are root's: run it as root, without limits, or on a machine with cgroup2",
        )
    return path


def _limits(controller: str, r: Resources, parent: str) -> tuple[tuple[str, str], ...]:
    match controller:
        case "memory":
            return _memory(r)
        case "pids":
            return () if r.pids_max is None else (("pids.max", "max" if r.pids_max == NO_LIMIT else str(r.pids_max)),)
        case "cpu":
            return _cpu(r)
        case "cpuset":
            return tuple(
                (f"cpuset.{what}", asked or _inherited(parent, what))
                for what, asked in (("cpus", r.cpuset_cpus), ("mems", r.cpuset_mems))
            )
        case _:
            return tuple(each for line in r.io_max for each in _throttle(by_number(line)))


def _memory(r: Resources) -> tuple[tuple[str, str], ...]:
    if r.memory_swap_max is None:
        return (("memory.limit_in_bytes", str(r.memory_max)),)
    if r.memory_max is None:
        raise ContainerError(
            "limit",
            "swap alone",
            seen="cgroups of version 1, which limit memory and swap together",
            hint="limit memory too",
        )
    both = NO_LIMIT if NO_LIMIT in (r.memory_max, r.memory_swap_max) else r.memory_max + r.memory_swap_max
    return (("memory.limit_in_bytes", str(r.memory_max)), ("memory.memsw.limit_in_bytes", str(both)))


def _cpu(r: Resources) -> tuple[tuple[str, str], ...]:
    found = []
    if r.cpu_quota is not None or r.cpu_period != _PERIOD:
        found.append(("cpu.cfs_period_us", str(r.cpu_period)))
        found.append(("cpu.cfs_quota_us", str(-1 if r.cpu_quota is None else r.cpu_quota)))
    if r.cpu_weight is not None:
        # The kernel's own conversion, in cpu_weight_write_u64: a weight of 100 is 1024 shares.
        found.append(("cpu.shares", str((r.cpu_weight * 1024 + 50) // 100)))
    return tuple(found)


def _inherited(parent: str, what: str) -> str:
    """A new cpuset of version 1 is empty, and no process can be put into it: what the parent has, then."""
    return text(f"{parent}/cpuset.{what}").strip() or text(f"{parent}/cpuset.effective_{what}").strip()


def _throttle(line: str) -> tuple[tuple[str, str], ...]:
    device, *pairs = line.split()
    found = []
    for name, _, value in (pair.partition("=") for pair in pairs):
        if name not in _THROTTLE or not (value.isdecimal() or value == "max"):
            raise ContainerError(
                "limit the input and output with", line, seen=name, hint="rbps= wbps= riops= wiops=, a number or max"
            )
        if value != "max":
            found.append((f"blkio.throttle.{_THROTTLE[name]}_device", f"{device} {value}"))
    return tuple(found)
