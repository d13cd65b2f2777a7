# SPDX-License-Identifier: MIT
"""/proc/PID/mountinfo as records (proc_pid_mountinfo(5)): the one reading of it, for the boot and for containers. Pure."""

from rootfall.record import NamedTuple


class Mount(NamedTuple):
    """A mount: its id and its parent's, which directory of the file system it shows, where, and what kind it is.

    `peers` is the peer group, 0 where it is not shared; `options` are the file system's own (a cgroup's controllers). What
    another call tells of a mount that is out of sight has an empty `path`.
    """

    id: int
    parent: int
    root: str
    path: str
    peers: int
    fstype: str
    unbindable: bool = False
    options: str = ""


def parse(text: str) -> tuple[Mount, ...]:
    """Its mounts, in its order. Lines end with a newline and with nothing else: a name may hold the rest."""
    found = []
    for line in text.split("\n")[:-1]:
        fields = line.split(" ")
        end = fields.index("-", 6)
        peers = next((int(each[7:]) for each in fields[6:end] if each.startswith("shared:")), 0)
        unbindable, options = "unbindable" in fields[6:end], fields[end + 3] if len(fields) > end + 3 else ""
        root, path = _plain(fields[3]), _plain(fields[4])
        found.append(Mount(int(fields[0]), int(fields[1]), root, path, peers, fields[end + 1], unbindable, options))
    return tuple(found)


def _plain(field: str) -> str:
    """A field without its octal escapes."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in rest)
