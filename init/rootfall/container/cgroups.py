# SPDX-License-Identifier: MIT
"""The cgroup of a container, version 1, 2 or both (cgroups(7)): made with its limits, entered, explained, removed.

Each controller is used in the hierarchy that has it. A limit whose controller is not to be had is refused, never ignored.
Imported only when there is a limit.
"""

import os
import sys

from rootfall.container import cgroup_v2
from rootfall.container.cgroup_files import NAMES_1, Directory, Hierarchy, hierarchies, text, write
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
    """A container's cgroup. It is made by another process, meanwhile; `ready` waits for it and sets the limits."""

    def __init__(
        self, directories: tuple[Directory, ...], resources: Resources, place: cgroup_v2.Place | None = None
    ) -> None:
        """Have the directories made; with a place in version 2, the last of them is there."""
        self._directories = directories
        self._resources = resources
        self._place = place
        self._descriptor = -1
        leaf = f"{directories[-1].path}.launcher" if place and place.aside else ""
        self._keeper = Keeper(tuple(each.path for each in directories), leaf)

    def descriptor(self) -> int:
        """The directory in version 2 for CLONE_INTO_CGROUP, with its limits; -1 without one. Raises ContainerError."""
        if self._place:
            self.ready()
        return self._descriptor

    def ready(self) -> None:
        """Wait until it is there, and write its limits; once is enough. Raises ContainerError."""
        if self._keeper.has_made:
            return
        self._keeper.wait()
        for each in self._directories:
            if self._place and each.version == 2:
                cgroup_v2.enable(self._place, {file.partition(".")[0] for file, _ in each.limits})
            for file, value in each.limits:
                _write(each.path, file, value)
            if each.version == 2:
                cgroup_v2.check(each.path, each.limits)
                self._descriptor = os.open(each.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def forget(self) -> None:
        """In the first process, a copy of the launcher: hold nothing of the cgroup."""
        self._keeper.forget()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def admit(self, pid: int, born_in: bool) -> None:
        """Be ready for the first process, and put it into version 2 if it was not born there. Raises ContainerError."""
        self.ready()
        if not born_in:
            self._move(2, "cgroup.procs", str(pid))

    def enter(self) -> None:
        """In the first process, when it was let go: move into version 1. Raises ContainerError.

        To move a process, the kernel waits for a grace period of RCU, 5 to 15 ms; a thread that moves itself does not wait.
        """
        self._move(1, "tasks", "0")

    def _move(self, version: int, file: str, who: str) -> None:
        for each in self._directories:
            if each.version == version:
                try:
                    write(f"{each.path}/{file}", who)
                except OSError as error:
                    raise ContainerError("put the first process into", each.path, errno=error.errno or 0) from error

    def look_ahead(self) -> None:
        """While the container runs: import what its end asks for."""
        from rootfall.container import cgroup_events  # noqa: F401  a processor has time for it now

    def explain(self, status: int) -> int:
        """The exit status; says on standard error what limit was met, if any."""
        from rootfall.container import cgroup_events

        for each in self._directories:
            for line in cgroup_events.met(each, self._resources):
                print(f"rootfall: {line}", file=sys.stderr)
        return status

    def remove(self) -> None:
        """Kill what is left in it and remove it; says on standard error what it could not remove."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        paths = [each.path for each in self._directories]
        if not self._keeper.end() and self._keeper.has_made and not clear(paths):
            left = " ".join(each for each in paths if os.path.exists(each))
            print(f"rootfall: cannot remove {left}: there are processes in it that do not die", file=sys.stderr)


def make(name: str, resources: Resources) -> Cgroup:
    """Have the cgroup of a container made: see `Cgroup.ready`. Raises ContainerError."""
    if not 0 < len(name) <= 128 or not _ID.issuperset(name) or name in (".", ".."):
        hint = "1 to 128 of A-Z a-z 0-9 _ . + -, and not . or .."
        raise ContainerError("name a cgroup", repr(name), hint=hint)
    mounted = hierarchies()
    limits = cgroup_v2.limits(resources)
    wanted = {controller for controller, _, _ in limits}
    unified = next((each for each in mounted if each.version == 2), None)
    in_2 = wanted & set(unified.controllers) if unified else set()
    directories = _in_version_1(mounted, wanted - in_2, resources, name)
    if not unified or (directories and not in_2):
        return Cgroup(directories, resources)
    place = cgroup_v2.place(unified, resources.parent)
    files = tuple((file, value) for controller, file, value in limits if controller in in_2)
    return Cgroup((*directories, Directory(2, f"{place.path}/{name}", files)), resources, place)


def _in_version_1(
    mounted: tuple[Hierarchy, ...], controllers: set[str], resources: Resources, name: str
) -> tuple[Directory, ...]:
    """The directories for what version 2 does not have."""
    for each in sorted(controllers):
        if not any(NAMES_1.get(each, each) in hierarchy.controllers for hierarchy in mounted):
            raise _missing(each, mounted)
    if not controllers:
        return ()
    from rootfall.container import cgroup_v1

    return cgroup_v1.directories(mounted, controllers, resources, name)


def _missing(controller: str, mounted: tuple[Hierarchy, ...]) -> ContainerError:
    """Why there is no such controller, from /proc/cgroups, and what to do about it."""
    name = NAMES_1.get(controller, controller)
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
