# SPDX-License-Identifier: MIT
"""What an answer of pivot_root(2) depends on, as records: places, mounts, privileges. Pure.

A mount's propagation and the tree of mounts are in /proc/PID/mountinfo (proc(5)), which hides what is outside of a chroot and
below the root's own mount; statmount(2) shows that, too, where there is one. `observe` reads both; `diagnose` concludes.
"""

from rootfall.mountinfo import Mount
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19


class Place(NamedTuple):
    """Where a name leads: to a directory on a mount; or nowhere, which is `errno`, because of `culprit` (and its `link`).

    `locked` is None where the kernel did not tell. `elsewhere` names a process in whose mount namespace it is, if it is not in
    ours; `peers` is then its peer group there.
    """

    name: str
    path: str = ""
    mount: int = 0
    mount_root: bool = True
    deleted: bool = False
    locked: bool | None = False
    elsewhere: str = ""
    peers: int = 0
    errno: int = 0
    culprit: str = ""
    link: str = ""


class Facts(NamedTuple):
    """All that the answer depends on. `old` is what is mounted on top there, as the kernel takes it.

    `complete`: what is not in `mounts` is not in this mount namespace. `refused`: EPERM or EACCES if every pivot_root is
    refused; `refused_first`: before the names are looked up. `owned`: the mount namespace belongs to our user namespace.
    `let_go_is_enoent`: the kernel has a check of its own, ENOENT, for a put_old on a mount that was let go of: since 6.15 for
    sure, before that in some stable releases.
    """

    new: Place
    old: Place
    root: Place
    mounts: "Mapping[int, Mount]"
    complete: bool = True
    refused: int = 0
    refused_first: bool = True
    capable: bool = True
    owned: bool = True
    seccomp: bool = False
    let_go_is_enoent: bool = True

    def peers(self, mount: int) -> int:
        """The peer group of a mount; 0: it is not shared, or not known."""
        found = self.mounts.get(mount)
        return found.peers if found else 0

    def parent(self, mount: int) -> int:
        """The parent of a mount; 0: not known."""
        found = self.mounts.get(mount)
        return found.parent if found else 0

    def below(self, mount: int, above: int) -> bool | None:
        """Whether a mount is `above` or below it; None where the way up is out of sight."""
        for _ in range(len(self.mounts) + 1):
            if mount == above:
                return True
            found = self.mounts.get(mount)
            if found is None:
                return False if self.complete or above in self.mounts else None
            mount = found.parent
        return False  # the top, whose parent it is itself


class Act(NamedTuple):
    """One mount(2) that mends a cause."""

    source: str | None
    target: str
    flags: int

    def __str__(self) -> str:
        """As mount(8)."""
        if self.source is None:
            return f"mount --make-slave {quote(self.target)}"
        return f"mount --rbind {quote(self.source)} {quote(self.target)}"


class Diagnosis(NamedTuple):
    """A cause in a few fixed words, the path that it is about, the errno, a sentence, what helps, and the acts that mend it.

    Not `certain`: what would have to be known is hidden here; it may be the cause.
    """

    cause: str
    path: str
    errno: int
    sentence: str
    remedy: str
    fix: tuple[Act, ...] = ()
    certain: bool = True


def quote(path: str) -> str:
    """A path as a shell takes it."""
    plain = path and all(each.isalnum() or each in "/._-+:=@%," for each in path)
    return path if plain else "'" + path.replace("'", "'\\''") + "'"


def uppermost(place: Place, mounts: "Mapping[int, Mount]") -> Place:
    """What is mounted on top at a place: there the kernel would put the old root."""
    mount = place.mount
    while above := [m.id for m in mounts.values() if m.parent == mount != m.id and m.path == place.path]:
        mount = above[-1]
    if mount == place.mount:
        return place
    return place._replace(mount=mount, mount_root=True, deleted=mounts[mount].root.endswith("//deleted"))
