# SPDX-License-Identifier: MIT
"""The cgroup of a container, version 1, 2 or both (cgroups(7)): made with its limits, entered, explained, removed.

Each controller is used in the hierarchy that has it. A limit whose controller is not to be had is refused, never ignored.
Imported only when there is a limit.
"""

import os
import sys

from rootfall.container import cgroup_v1, cgroup_v2
from rootfall.container.cgroup_files import Directory, Hierarchy, counted, hierarchies, text, write
from rootfall.container.cgroup_keeper import Keeper, clear
from rootfall.container.model import Resources
from rootfall.errors import ContainerError

_ID = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-")
_SWAP = "this kernel does not count swap: boot it with swapaccount=1, or leave that limit out"
_IO = "MAJOR:MINOR of a whole disk, as lsblk shows it, then rbps= wbps= riops= wiops="
_BANDWIDTH = "microseconds: a period of 1000 to 1000000, a quota of at least 1000 and at most the parent's"
_HINTS = {
    "memory.swap.max": _SWAP,
    "memory.memsw.limit_in_bytes": _SWAP,
    "cpu.max": _BANDWIDTH,
    "cpu.cfs_quota_us": _BANDWIDTH,
    "cpu.cfs_period_us": _BANDWIDTH,
    "cpu.weight": "1 to 10000",
    "io.max": _IO,
}


class Cgroup:
    """A container's cgroup; `descriptor` is its directory for CLONE_INTO_CGROUP, -1 where version 2 has no part in it."""

    descriptor = -1

    def __init__(self, directories: tuple[Directory, ...], resources: Resources, leaf: str = "") -> None:
        """Have the directories made; nothing is written yet. Raises ContainerError."""
        self._directories = directories
        self._resources = resources
        self._keeper = Keeper(tuple(each.path for each in directories), leaf)

    def limit(self) -> None:
        """Write the limits. Raises ContainerError."""
        for each in self._directories:
            for file, value in each.limits:
                _write(each.path, file, value)
            if each.version == 2:
                cgroup_v2.check(each.path, each.limits)
                self.descriptor = os.open(each.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def forget(self) -> None:
        """In the first process, a copy of the launcher: hold nothing of the cgroup."""
        self._keeper.forget()
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def admit(self, pid: int) -> None:
        """Put a process in, where it did not start there. Raises ContainerError."""
        for each in self._directories:
            if str(pid) in text(f"{each.path}/cgroup.procs").split():
                continue
            try:
                write(f"{each.path}/cgroup.procs", str(pid))
            except OSError as error:
                raise ContainerError(f"put process {pid} into", each.path, errno=error.errno or 0) from error

    def explain(self, status: int) -> int:
        """The exit status; says on standard error what limit was met, if any."""
        for each in self._directories:
            for line in _met(each.path, self._resources):
                print(f"rootfall: {line}", file=sys.stderr)
        return status

    def remove(self) -> None:
        """Kill what is left in it and remove it; says on standard error what it could not remove."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        paths = [each.path for each in self._directories]
        if not self._keeper.end() and not clear(paths):
            left = " ".join(each for each in paths if os.path.exists(each))
            print(f"rootfall: cannot remove {left}: there are processes in it that do not die", file=sys.stderr)


def make(name: str, resources: Resources) -> Cgroup:
    """Make the cgroup of a container and write its limits. Raises ContainerError."""
    if not 0 < len(name) <= 128 or not _ID.issuperset(name) or name in (".", ".."):
        hint = "1 to 128 of A-Z a-z 0-9 _ . + -, and not . or .."
        raise ContainerError("name a cgroup", repr(name), hint=hint)
    mounted = hierarchies()
    wanted = {controller for controller, _, _ in cgroup_v2.limits(resources)}
    unified = next((each for each in mounted if each.version == 2), None)
    in_2 = wanted & set(unified.controllers) if unified else set()
    in_1 = wanted - in_2
    for each in sorted(in_1):
        if not any(cgroup_v1.NAMES.get(each, each) in hierarchy.controllers for hierarchy in mounted):
            raise _missing(each, mounted)
    directories, leaf = cgroup_v1.directories(mounted, in_1, resources, name), ""
    place = None
    if unified and (in_2 or not in_1):
        place = cgroup_v2.place(unified, resources.parent)
        files = tuple((file, value) for controller, file, value in cgroup_v2.limits(resources) if controller in in_2)
        directories = (*directories, Directory(2, f"{place.path}/{name}", files))
        leaf = f"{place.path}/{name}.launcher" if place.aside else ""
    group = Cgroup(directories, resources, leaf)
    try:
        if unified and place:
            cgroup_v2.enable(unified, place.path, in_2)
        group.limit()
    except BaseException:
        group.remove()
        raise
    return group


def _missing(controller: str, mounted: tuple[Hierarchy, ...]) -> ContainerError:
    """Why there is no such controller, from /proc/cgroups, and what to do about it."""
    name = cgroup_v1.NAMES.get(controller, controller)
    seen = f"mounted: {' '.join(dict.fromkeys(each.mount for each in mounted)) or 'no cgroup file system'}"
    hint = "mount -t cgroup2 none /sys/fs/cgroup"
    for line in text("/proc/cgroups").splitlines():
        kernels, hierarchy, _, enabled = (*line.split(), "", "", "")[:4]
        if kernels != name:
            continue
        if enabled == "0":
            hint = f"the kernel was started with cgroup_disable={name}: start it without"
        elif hierarchy != "0":
            hint = f"it is in a hierarchy of version 1: mount -t cgroup -o {name} none DIRECTORY"
        elif any(each.version == 2 for each in mounted):
            hint = "it is not given to this machine's part of the tree: have it enabled in cgroup.subtree_control above"
        return ContainerError("limit the container with", f"the controller {controller}", seen=seen, hint=hint)
    return ContainerError(
        "limit the container with", f"the controller {controller}", seen=seen, hint="this kernel was built without it"
    )


def _write(path: str, file: str, value: str) -> None:
    try:
        write(f"{path}/{file}", value)
    except OSError as error:
        hint = _HINTS.get(file, _IO if file.startswith("blkio.") else "")
        if file.startswith("cpuset."):
            seen = text(f"{os.path.dirname(path)}/{file}.effective") or text(f"{os.path.dirname(path)}/{file}")
            hint = f"ask for some of {seen.strip()}"
        raise ContainerError(f"set {file} to {value} in", path, errno=error.errno or 0, hint=hint) from error


def _met(path: str, resources: Resources) -> list[str]:
    """The limits that the kernel enforced by refusing or killing, a sentence each."""
    found = []
    for file in ("memory.events", "memory.oom_control"):
        if killed := counted(f"{path}/{file}", "oom_kill"):
            failures = (text(f"{path}/{each}.failcnt") for each in ("memory", "memory.memsw"))  # version 1's
            ours = counted(f"{path}/{file}", "oom") or sum(int(each or 0) for each in failures)
            what = (
                "the container's memory limit"
                if ours and resources.memory_max
                else "a memory limit that is not its own"
            )
            size = f" of {_size(resources.memory_max)}" if ours and resources.memory_max else ""
            whom = "a process" if killed == 1 else f"{killed} processes"
            found.append(f"{what}{size} was reached: the kernel killed {whom} of it ({file}: oom_kill {killed})")
    if resources.pids_max is not None and (refused := counted(f"{path}/pids.events", "max")):
        times = "once" if refused == 1 else f"{refused} times"
        limit = f"the container's limit of {resources.pids_max} process{'' if resources.pids_max == 1 else 'es'}"
        found.append(f"{limit} was reached: fork failed {times} (pids.events: max {refused})")
    return found


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"
