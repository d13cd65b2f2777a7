# SPDX-License-Identifier: MIT
"""The cgroup file systems as records: which hierarchies are mounted, with what controllers, and where the caller is in each.

Read from /proc/self/mountinfo and /proc/self/cgroup (cgroups(7)), so that version 1, version 2 and both at once look alike. A
hierarchy whose mount does not show the caller's own cgroup is left out: there would be no place below it.
"""

import os

from rootfall import mountinfo
from rootfall.record import NamedTuple

NAMES_1 = {"io": "blkio"}  # version 2's name of a controller: version 1's, where it is another


class Hierarchy(NamedTuple):
    """A mounted hierarchy; `own` is the directory of the caller's cgroup in it."""

    version: int
    controllers: tuple[str, ...]
    mount: str
    own: str


class Directory(NamedTuple):
    """One directory of a container's, with what is written into its files, in this order."""

    version: int
    path: str
    limits: tuple[tuple[str, str], ...]


def hierarchies() -> tuple[Hierarchy, ...]:
    """All that are mounted and that show the caller's cgroup, each once."""
    paths: dict[str, str] = {}
    for line in text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    found: dict[tuple[str, ...], Hierarchy] = {}
    mounts = [line for line in text("/proc/self/mountinfo").split("\n") if " - cgroup" in line]
    for mount in mountinfo.parse("\n".join((*mounts, ""))):
        version = {"cgroup": 1, "cgroup2": 2}.get(mount.fstype, 0)
        names = ("",) if version == 2 else tuple(each for each in mount.options.split(",") if each in paths)
        if not version or not names or names in found:
            continue
        if own := _below(mount.path, mount.root, paths.get(names[0], "")):
            words = tuple(text(f"{mount.path}/cgroup.controllers").split()) if version == 2 else names
            found[names] = Hierarchy(version, words, mount.path, own)
    return tuple(found.values())


def _below(mount: str, root: str, path: str) -> str:
    """The directory of the cgroup `path`, where `mount` shows the hierarchy from `root` on; empty where it does not."""
    root = root.rstrip("/")
    if not f"{path}/".startswith(f"{root}/") or ".." in path.split("/"):
        return ""
    return (mount + path[len(root) :]).rstrip("/")


def text(path: str) -> str:
    """What a file holds; empty where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    said = b""
    try:
        while data := os.read(fd, 65536):
            said += data
    except OSError:
        pass  # ENODEV: the cgroup was removed meanwhile; EOPNOTSUPP: it is threaded
    finally:
        os.close(fd)
    return said.decode(errors="surrogateescape")


def counted(path: str, key: str) -> int:
    """The number beside `key` in a flat keyed file; 0 where there is no such file or key."""
    for line in text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def write(path: str, value: str) -> None:
    """Write into a file of a cgroup; raises OSError as the kernel judges the value."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def expand(numbers: str) -> set[int]:
    """The numbers of a list as "0-3,6" (cpuset(7)); raises ValueError."""
    found: set[int] = set()
    for each in filter(None, numbers.strip().split(",")):
        first, _, last = each.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
