# SPDX-License-Identifier: MIT
"""Version 2 of cgroups (the kernel's admin-guide/cgroup-v2): the limits as its files have them, and the place for a container.

The place is the nearest directory, from the caller's own cgroup upwards, that the caller may write to and that may have both
controllers and children: "no internal processes" forbids that to a cgroup with processes, unless it is the real root. A
launcher that is alone in its cgroup (`systemd-run --scope -p Delegate=yes`) steps aside into a leaf, as delegation asks for.
"""

import os

from rootfall.container.cgroup_files import Hierarchy, expand, text, write
from rootfall.container.model import Resources
from rootfall.errors import ContainerError
from rootfall.record import NamedTuple

_BUSY, _DENIED = 16, (1, 13, 30)  # EBUSY; EPERM, EACCES, EROFS
_DELEGATE = "run it in a cgroup that is yours: systemd-run --user --scope -p Delegate=yes rootfall container run …"
_PERIOD = Resources().cpu_period
NO_LIMIT = -1  # in a Resources: max


class Place(NamedTuple):
    """The directory below `mount` that the container's is made in; with `aside`, who is in it moves into a leaf first."""

    path: str
    mount: str
    aside: bool = False


def limits(r: Resources) -> tuple[tuple[str, str, str], ...]:
    """Controller, file and value of each limit."""
    bandwidth = None
    if r.cpu_quota is not None or r.cpu_period != _PERIOD:
        bandwidth = f"{'max' if r.cpu_quota is None else r.cpu_quota} {r.cpu_period}"
    found: list[tuple[str, str, int | str | None]] = [
        ("memory", "memory.max", r.memory_max),
        ("memory", "memory.swap.max", r.memory_swap_max),
        ("pids", "pids.max", r.pids_max),
        ("cpu", "cpu.max", bandwidth),
        ("cpu", "cpu.weight", r.cpu_weight),
        ("cpuset", "cpuset.cpus", r.cpuset_cpus or None),
        ("cpuset", "cpuset.mems", r.cpuset_mems or None),
        *(("io", "io.max", by_number(line)) for line in r.io_max),
    ]
    return tuple(
        (controller, file, "max" if value == NO_LIMIT else str(value))
        for controller, file, value in found
        if value is not None
    )


def by_number(line: str) -> str:
    """A line of io.max whose device may be a path, with its number instead. Raises ContainerError."""
    device, _, rest = line.partition(" ")
    if not device.startswith("/"):
        return line
    try:
        number = os.stat(device).st_rdev
    except OSError as error:
        raise ContainerError("limit the input and output of", device, errno=error.errno or 0) from error
    if not number:
        raise ContainerError("limit the input and output of", device, seen="no device", hint="name a disk (lsblk)")
    return f"{os.major(number)}:{os.minor(number)} {rest}"


def place(hierarchy: Hierarchy, parent: str) -> Place:
    """Where the container's cgroup is made. Raises ContainerError where the caller may not make one."""
    if parent:
        return Place(_given(hierarchy, parent), hierarchy.mount)
    me, path = str(os.getpid()), hierarchy.own
    while True:
        if _writable(path):
            inside = _processes(path)
            if not inside:
                return Place(path, hierarchy.mount)
            if path == hierarchy.own and inside == [me]:
                return Place(path, hierarchy.mount, aside=True)
        if path == hierarchy.mount:
            break
        path = os.path.dirname(path)
    raise ContainerError(
        "make a cgroup below",
        hierarchy.own,
        errno=0 if os.access(hierarchy.own, os.W_OK) else 13,
        seen="neither it nor what is above it can be written to and has no processes of its own",
        hint=_DELEGATE
        if os.geteuid()
        else "run it in a scope (systemd-run --scope -p Delegate=yes), or name --cgroup-parent",
    )


def _given(hierarchy: Hierarchy, parent: str) -> str:
    """The directory that --cgroup-parent names, from the hierarchy's root on."""
    path = f"{hierarchy.mount}/{parent.strip('/')}".rstrip("/")
    if ".." in parent.split("/"):
        raise ContainerError("make a cgroup below", parent, seen="..", hint="name it from the root of the hierarchy on")
    if not os.path.isdir(path):
        raise ContainerError(
            "make a cgroup below", path, errno=2, hint=f"mkdir {path}, or name another --cgroup-parent"
        )
    if inside := _processes(path):
        raise ContainerError(
            "make a cgroup with limits below",
            path,
            errno=_BUSY,
            seen=f"processes in it, {' '.join(inside[:5])}{' …' if inside[5:] else ''}",
            hint="a cgroup has either processes or children with limits: name one without processes as --cgroup-parent",
        )
    return path


def _writable(path: str) -> bool:
    files = ("", "/cgroup.procs", "/cgroup.subtree_control")
    threaded = text(f"{path}/cgroup.type").strip() not in ("", "domain")
    return not threaded and all(os.access(path + each, os.W_OK) for each in files)


def _processes(path: str) -> list[str]:
    """The processes that are in the way of children: in the real root, which has no cgroup.type, none is."""
    return text(f"{path}/cgroup.procs").split() if os.path.exists(f"{path}/cgroup.type") else []


def enable(where: Place, controllers: set[str]) -> None:
    """See to it that children of a place have these controllers, from the mount on down. Raises ContainerError.

    What was enabled stays enabled: others may rely on it by now.
    """
    if controllers <= set(text(f"{where.path}/cgroup.subtree_control").split()):
        return
    below = where.path[len(where.mount) :].split("/")
    for depth in range(len(below)):
        each = where.mount + "/".join(below[: depth + 1])
        for controller in sorted(controllers - set(text(f"{each}/cgroup.subtree_control").split())):
            _enable_one(each, controller)


def _enable_one(path: str, controller: str) -> None:
    try:
        write(f"{path}/cgroup.subtree_control", f"+{controller}")
    except OSError as error:
        errno = error.errno or 0
        hint = ""
        if errno in _DENIED:
            hint = f"it is not delegated to you: an administrator adds it with Delegate={controller} … in user@.service"
        elif errno == _BUSY:
            hint = f"{path} has processes of its own: name a cgroup without any as --cgroup-parent"
        raise ContainerError(f"enable the controller {controller} in", path, errno=errno, hint=hint) from error


def check(path: str, limits: tuple[tuple[str, str], ...]) -> None:
    """That a cpuset is the one that was asked for: the kernel takes processors that are not there without a word."""
    for file, value in limits:
        if file in ("cpuset.cpus", "cpuset.mems"):
            seen = text(f"{path}/{file}.effective").strip()
            if expand(seen) != expand(text(f"{path}/{file}")):
                raise ContainerError(
                    f"set {file} to", value, seen=f"{seen or 'none'} can be had", hint="ask for some of those"
                )
