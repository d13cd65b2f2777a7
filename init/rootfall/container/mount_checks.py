# SPDX-License-Identifier: MIT
"""The kernel's checks of the mounts in pivot_root(2), one function each, in the order of fs/namespace.c. Pure.

Each returns the cause if the check fails, None if it passes, and a cause that is not `certain` where what it takes is hidden.
"""

from errno import EBUSY, EINVAL, ENOENT

from rootfall.container.facts import MS_BIND, MS_REC, MS_SLAVE, Act, Diagnosis, Facts, Place, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NEW_PLAIN = "new_root is a mount point"
_NONE: "tuple[Act, ...]" = ()
_RAMFS = ("rootfs", "ramfs", "tmpfs")


def _mount(facts: Facts, number: int) -> str:
    """A mount, for people."""
    found = facts.mounts.get(number)
    where = f" at {found.path}" if found and found.path else ", out of sight from here"
    return f"mount {number}{where}"


def _slave(facts: Facts, number: int) -> tuple[Act, ...]:
    mount = facts.mounts.get(number)
    return (Act(None, mount.path, MS_SLAVE),) if mount and mount.path else ()


def _bind(facts: Facts) -> tuple[Act, ...]:
    """New_root onto itself; before that, out of the peer group of what holds it: the bind is nobody else's business."""
    hidden = facts.new.mount not in facts.mounts and facts.new.mount != facts.root.mount
    if facts.new.path == "/" or facts.new.deleted or hidden:
        return ()
    act = Act(facts.new.path, facts.new.path, MS_BIND | MS_REC)
    return (*(_slave(facts, facts.new.mount) if facts.peers(facts.new.mount) else ()), act)


def _commands(acts: tuple[Act, ...], otherwise: str) -> str:
    return " && ".join(str(act) for act in acts) or otherwise


def _inside(facts: Facts) -> bool:
    """Whether put_old's path is new_root's or below it."""
    return f"{facts.old.path}/".startswith(facts.new.path.rstrip("/") + "/")


def _old_deleted(facts: Facts) -> Diagnosis | None:
    old = facts.old
    if old.deleted:
        sentence = f"put_old {old.name} was deleted: nothing can be mounted on it"
        return Diagnosis("deleted", old.name, ENOENT, sentence, f"make it again: mkdir -p {quote(old.name)}")
    if facts.complete and old.mount not in facts.mounts and not old.elsewhere:
        sentence = f"put_old {old.name} is on a mount that is not mounted any more"
        remedy, certain = "give a directory at or underneath new_root", facts.let_go_is_enoent
        return Diagnosis("not mounted", old.name, ENOENT, sentence, remedy, certain=certain)
    return None


def _old_shared(facts: Facts) -> Diagnosis | None:
    old = facts.old
    if not (peers := old.peers or facts.peers(old.mount)):
        return None
    sentence = (
        f"put_old {old.name} is on a mount with shared propagation ({_mount(facts, old.mount)}, peer group {peers}): "
        "the old root would be mounted in other places, too"
    )
    plain = not facts.new.mount_root and old.mount == facts.new.mount
    fix = (_bind(facts) if _inside(facts) else ()) if plain else _slave(facts, old.mount)
    return Diagnosis("shared", old.name, EINVAL, sentence, _commands(fix, "mount --make-slave it first"), fix)


def _new_parent_shared(facts: Facts) -> Diagnosis | None:
    new, parent = facts.new, facts.parent(facts.new.mount)
    if not (peers := facts.peers(parent)):
        return None
    fix = _slave(facts, parent) if new.mount_root else _bind(facts)
    sentence = (
        f"new_root {new.name} is on {_mount(facts, new.mount)}, whose parent has shared propagation "
        f"({_mount(facts, parent)}, peer group {peers}): taking it away would be seen in other places, too"
    )
    if not new.mount_root:
        sentence += f"; and {new.name} is not a mount point itself"
    return Diagnosis("shared", new.name, EINVAL, sentence, _commands(fix, "mount --make-slave that parent first"), fix)


def _root_parent_shared(facts: Facts) -> Diagnosis | None:
    parent = facts.parent(facts.root.mount)
    remedy = "make that mount private where it is in sight: outside of the chroot that this process is in"
    if peers := facts.peers(parent):
        where = f"({_mount(facts, parent)}, peer group {peers})"
        sentence = f"the parent of the current root's mount has shared propagation {where}"
        return Diagnosis("shared", "/", EINVAL, sentence, remedy)
    if parent not in facts.mounts and not facts.complete:
        sentence = "the parent of the current root's mount is out of sight, and may have shared propagation"
        return Diagnosis("shared", "/", EINVAL, sentence, remedy, certain=False)
    return None


def _foreign(which: str, place: Place, facts: Facts) -> Diagnosis | None:
    if place.mount in facts.mounts:
        return None
    if place.elsewhere:
        sentence = f"{which} {place.name} is in another mount namespace: that of {place.elsewhere}"
        number = place.elsewhere.split()[1]
        remedy = f"enter it first: nsenter --mount --target {number}"
        return Diagnosis("another mount namespace", place.name, EINVAL, sentence, remedy)
    if not facts.complete:
        sentence = (
            f"{which} {place.name} is on a mount out of sight: in another mount namespace, or outside of a chroot"
        )
        return Diagnosis(
            "another mount namespace", place.name, EINVAL, sentence, "give a path of this one", certain=False
        )
    sentence = (
        f"{which} {place.name} is on a mount that is not mounted in this mount namespace, nor in one that is in sight"
    )
    return Diagnosis("not mounted", place.name, EINVAL, sentence, "mount it (again), and give that path")


def _root_foreign(facts: Facts) -> Diagnosis | None:
    if not facts.root.mount_root and not facts.complete:
        return None  # a chroot into a plain directory hides the mount that it is on
    return _foreign("the current root", facts.root, facts)


def _new_foreign(facts: Facts) -> Diagnosis | None:
    return _foreign("new_root", facts.new, facts)


def _new_locked(facts: Facts) -> Diagnosis | None:
    new = facts.new
    if new.locked is False:
        return None
    is_locked = "is locked" if new.locked else "may be locked"
    sentence = (
        f"new_root {new.name} is on a mount that {is_locked} ({_mount(facts, new.mount)}): it came from a more privileged "
        "user namespace, and may not be taken off what it covers"
    )
    fix = _bind(facts) if new.locked else ()
    remedy = _commands(fix, "mount something of your own, and make that the new root")
    return Diagnosis("locked", new.name, EINVAL, sentence, remedy, fix, certain=bool(new.locked))


def _new_deleted(facts: Facts) -> Diagnosis | None:
    if not facts.new.deleted:
        return None
    name = facts.new.name
    sentence = f"new_root {name} was deleted (if it is a bind mount: the directory that was bound there was)"
    return Diagnosis("deleted", name, ENOENT, sentence, "give a directory that is there")


def _new_on_root(facts: Facts) -> Diagnosis | None:
    new, root = facts.new, facts.root
    if new.mount != root.mount:
        return None
    if new.path == root.path:
        sentence = f"new_root {new.name} is the current root itself, and so on the same mount"
        return Diagnosis("same mount", new.name, EBUSY, sentence, "give the directory that shall be the new root")
    fix = _bind(facts)
    sentence = (
        f"new_root {new.name} is not a mount point: it is a plain directory on the same mount as the current root "
        f"({_mount(facts, root.mount)})"
    )
    return Diagnosis("not a mount point", new.name, EBUSY, sentence, _commands(fix, "bind mount it onto itself"), fix)


def _old_on_root(facts: Facts) -> Diagnosis | None:
    old, fix = facts.old, _NONE
    if old.mount != facts.root.mount:
        return _old_under_root(facts)
    sentence = (
        f"put_old {old.name} is on the same mount as the current root ({_mount(facts, facts.root.mount)}), "
        f"so it is not at or underneath new_root {facts.new.name}"
    )
    remedy = "give a directory at or underneath the new root"
    if facts.new.mount == facts.root.mount and _inside(facts) and facts.new.path != facts.root.path:
        fix = _bind(facts)
        sentence = f"put_old {old.name} is on the same mount as the current root, since new_root is not a mount point"
        remedy = _commands(fix, remedy)
    return Diagnosis("same mount", old.name, EBUSY, sentence, remedy, fix)


def _old_under_root(facts: Facts) -> Diagnosis | None:
    """Out of a chroot, what is mounted on put_old cannot be seen; it may be the current root."""
    old = facts.old
    mount = facts.mounts.get(old.mount)
    if mount is None or mount.path or not facts.below(facts.root.mount, old.mount):
        return None
    sentence = f"put_old {old.name} is outside of the current root, and may be covered by it"
    return Diagnosis("same mount", old.name, EBUSY, sentence, "leave the chroot", certain=False)


def _root_plain(facts: Facts) -> Diagnosis | None:
    if facts.root.mount_root:
        return None
    sentence = "the current root is not a mount point: this process is in a chroot into a plain directory"
    remedy = "leave the chroot; or chroot into a mount point (mount --bind DIR DIR before chroot DIR)"
    return Diagnosis("chroot", "/", EINVAL, sentence, remedy)


def _root_absolute(facts: Facts) -> Diagnosis | None:
    root = facts.mounts.get(facts.root.mount)
    if root is None or root.parent != root.id:
        return None
    if root.fstype in _RAMFS:
        sentence = (
            f"the current root is the initial ramfs ({root.fstype}), the bottom of all mounts, which cannot be moved"
        )
        remedy = "use switch_root (rootfall switch-root); from Linux 7.0 on, pivot_root works here, too"
        return Diagnosis("initial ramfs", "/", EINVAL, sentence, remedy)
    sentence = f"the current root ({root.fstype}) is the bottom of all mounts, which cannot be moved"
    return Diagnosis("bottom of all mounts", "/", EINVAL, sentence, "mount something on it, and chroot into that")


def _new_plain(facts: Facts) -> Diagnosis | None:
    new = facts.new
    if new.mount_root:
        return None
    fix = _bind(facts)
    sentence = f"new_root {new.name} is not a mount point: it is a plain directory on {_mount(facts, new.mount)}"
    return Diagnosis("not a mount point", new.name, EINVAL, sentence, _commands(fix, "bind mount it onto itself"), fix)


def _new_absolute(facts: Facts) -> Diagnosis | None:
    new = facts.mounts.get(facts.new.mount)
    if new is None or new.parent != new.id or new.id == facts.root.mount:
        return None
    sentence = f"new_root {facts.new.name} is the bottom of all mounts, which cannot be moved"
    return Diagnosis("bottom of all mounts", facts.new.name, EINVAL, sentence, "give another mount")


def _old_outside(facts: Facts) -> Diagnosis | None:
    new, old = facts.new, facts.old
    if old.elsewhere:
        return _foreign("put_old", old, facts)
    below = facts.below(old.mount, new.mount)
    if below and (new.mount_root or old.mount != new.mount or _inside(facts)):
        return None
    sentence = f"put_old {old.name} is not at or underneath new_root {new.name}: it is on {_mount(facts, old.mount)}"
    remedy = "give a directory at or underneath the new root, or the new root itself"
    return Diagnosis("not at or underneath", old.name, EINVAL, sentence, remedy, certain=below is not None)


def _new_outside(facts: Facts) -> Diagnosis | None:
    if facts.new.mount not in facts.mounts:
        return None  # of that, more is said above
    below = facts.below(facts.new.mount, facts.root.mount)
    if below:
        return None
    sentence = (
        f"new_root {facts.new.name} is outside of the current root: this process is in a chroot, and it is not in it"
    )
    remedy = "leave the chroot, or give a new root that is inside"
    return Diagnosis("outside of the current root", facts.new.name, EINVAL, sentence, remedy, certain=below is not None)


CHECKS: "tuple[tuple[str, Callable[[Facts], Diagnosis | None]], ...]" = (
    ("put_old can be mounted on", _old_deleted),
    ("the mount of put_old is not shared", _old_shared),
    ("the parent of new_root's mount is not shared", _new_parent_shared),
    ("the parent of the current root's mount is not shared", _root_parent_shared),
    ("the current root is in this mount namespace", _root_foreign),
    ("new_root is in this mount namespace", _new_foreign),
    ("the mount of new_root is not locked", _new_locked),
    ("new_root was not deleted", _new_deleted),
    ("new_root is not on the current root's mount", _new_on_root),
    ("put_old is not on the current root's mount", _old_on_root),
    ("the current root is a mount point", _root_plain),
    ("the current root's mount is mounted on something", _root_absolute),
    (NEW_PLAIN, _new_plain),
    ("new_root's mount is mounted on something", _new_absolute),
    ("put_old is at or underneath new_root", _old_outside),
    ("new_root is underneath the current root", _new_outside),
)
