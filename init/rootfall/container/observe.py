# SPDX-License-Identifier: MIT
"""Reads what an answer of pivot_root(2) depends on: the two names, the mounts, privileges. Changes nothing.

Two questions can only be asked by calls that cannot succeed: whether pivot_root is allowed at all (new_root "/" is always
refused, with EBUSY or EINVAL if not with EPERM), and, in a user namespace, whether a mount is locked (a mount cannot be moved
into itself: ELOOP, or EINVAL if it is locked). mount_namespaces(7) says what locked means; no file of /proc shows it.
"""

import os

from rootfall import mountinfo
from rootfall.container.facts import Facts, Place, uppermost
from rootfall.linux import libc, statx
from rootfall.mountinfo import Mount

_EACCES, _EPERM, _EINVAL, _ELOOP = 13, 1, 22, 40
_CAP_SYS_ADMIN = 21
_O_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Inode numbers that the first mount namespace has: MNT_NS_INIT_INO (nsfs.h) since 6.18, before that the first ones given out.
_INITIAL_MOUNT_NAMESPACES = (0xEFFFFFF8, 0xF0000000, 0xF0000001)


def read(new_root: str, put_old: str) -> Facts:
    """The facts for `pivot_root(new_root, put_old)` by this process, now."""
    mounts = _mountinfo("self")
    fds: dict[str, int] = {}
    try:
        new, old, root = (_place(name, fds, mounts) for name in (new_root, put_old, "/"))
        complete = False not in [_climb(fd, mounts) for fd in fds.values()]
        if not complete:
            _ask_neighbours(mounts)
        owner = _owner()
        if new_root in fds and owner != statx.INITIAL_USER_NAMESPACE:
            new = new._replace(locked=_locked(fds[new_root], new, mounts))
    finally:
        for fd in fds.values():
            os.close(fd)
    old = uppermost(old, mounts) if not old.errno else old
    new, old, root = (_elsewhere(each, mounts) for each in (new, old, root))
    first, refused = _refusal("", ""), _refusal("/", "/")
    status = _status()
    return Facts(
        new,
        old,
        root,
        mounts,
        complete=complete,
        refused=refused,
        refused_first=first == refused,
        capable=bool(int(status.get("CapEff", "0"), 16) >> _CAP_SYS_ADMIN & 1),
        owned=owner is not None,
        seccomp=status.get("Seccomp", "0") == "2",
        let_go_is_enoent=release() >= (6, 15),
    )


def release() -> tuple[int, int]:
    """The running kernel's version, as far as it can be read."""
    words = os.uname().release.split(".")
    numbers = ["".join(each for each in word if each.isdigit()) or "0" for word in (*words[:2], "0", "0")[:2]]
    return int(numbers[0]), int(numbers[1])


def initial_namespace() -> bool:
    """Whether this is the machine's own mount namespace, or may be: the one that it was booted with."""
    try:
        if _owner() not in (statx.INITIAL_USER_NAMESPACE, None, 0):
            return False
        if os.stat("/proc/self/ns/mnt").st_ino in _INITIAL_MOUNT_NAMESPACES:
            return True
        return os.stat("/proc/1/ns/pid").st_ino == 0xEFFFFFFC and os.path.samefile(
            "/proc/1/ns/mnt", "/proc/self/ns/mnt"
        )
    except PermissionError:
        return False  # of process 1; ours is not among the numbers that the first one has
    except OSError:
        return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read()
    except OSError:
        return ""


def _mountinfo(process: str) -> dict[int, Mount]:
    return {each.id: each for each in mountinfo.parse(_read(f"/proc/{process}/mountinfo"))}


def _status() -> dict[str, str]:
    lines = (line.partition(":") for line in _read("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _owner() -> int | None:
    """The user namespace that owns our mount namespace, by inode number; None if it is not ours nor below ours."""
    try:
        fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0  # no /proc: not known
    try:
        return statx.owner(fd)
    finally:
        os.close(fd)


def _refusal(new_root: str, put_old: str) -> int:
    """EPERM or EACCES, where the kernel answers so to a call that cannot succeed."""
    try:
        libc.pivot_root(new_root, put_old)
    except OSError as error:
        return error.errno or 0 if error.errno in (_EPERM, _EACCES) else 0
    raise AssertionError("pivot_root succeeded on the current root")


def _place(name: str, fds: dict[str, int], mounts: dict[int, Mount]) -> Place:
    """Where a name leads; its descriptor is put into `fds`."""
    try:
        fd = fds[name] if name in fds else os.open(name, _O_PATH)
    except OSError as error:
        culprit, link = _culprit(name)
        return Place(name, errno=error.errno or 0, culprit=culprit, link=link)
    fds[name] = fd
    path, deleted = _path(fd, name)
    if found := statx.where(fd):
        return Place(name, path, found.mount, found.mount_root, deleted)
    number = int(_read(f"/proc/self/fdinfo/{fd}").partition("mnt_id:")[2].split("\n")[0] or 0)
    return Place(name, path, number, number in mounts and mounts[number].path == path, deleted)


def _path(fd: int, name: str) -> tuple[str, bool]:
    """Where an open directory is, and whether it was deleted."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return os.path.abspath(name), os.fstat(fd).st_nlink == 0
    if not path.endswith(" (deleted)"):
        return path, False
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            return path, False  # that is its very name
    except OSError:
        pass
    return path.removesuffix(" (deleted)"), True


def _culprit(name: str) -> tuple[str, str]:
    """The first part of a name that leads nowhere, and where it points to if it is a symbolic link."""
    parts = name.split("/")
    for end in range(1, len(parts) + 1):
        part = "/".join(parts[:end])
        if not part:
            continue
        try:
            os.close(os.open(part, _O_PATH))
        except OSError:
            return part, os.readlink(part) if os.path.islink(part) else ""
    return name, ""


def _climb(fd: int, mounts: dict[int, Mount]) -> bool:
    """Add what statmount(2) knows of a mount and of all that it is below; False where it does not tell."""
    here = statx.where(fd)
    unique = here.unique if here else 0
    try:
        while unique and (found := statx.statmount(unique)):
            mount = Mount(found.mount, found.parent, "", "", found.peers, found.fstype, found.unbindable)
            mounts.setdefault(found.mount, mount)
            if found.unique_parent == unique:
                return True
            unique = found.unique_parent
    except FileNotFoundError:
        return True  # it is not in this namespace: that, too, is an answer
    except OSError:
        pass
    return False


def _ask_neighbours(mounts: dict[int, Mount]) -> None:
    """Without statmount(2): add what PID 1 or our parent sees of our mount namespace, perhaps from outside of a chroot."""
    for process in ("1", str(os.getppid())):
        try:
            if not os.path.samefile(f"/proc/{process}/ns/mnt", "/proc/self/ns/mnt"):
                continue
        except OSError:
            continue
        for mount in _mountinfo(process).values():
            mounts.setdefault(mount.id, mount._replace(path=""))


def _locked(fd: int, place: Place, mounts: dict[int, Mount]) -> bool | None:
    """Whether the mount that holds an open directory is locked; None where that cannot be asked."""
    mount = mounts.get(place.mount)
    if mount is None or mount.parent == mount.id or (mount.parent in mounts and mounts[mount.parent].peers):
        return False if mount is None or mount.parent == mount.id else None
    if mount.peers and any(each.unbindable for each in mounts.values()):
        return None
    if (root := _root_of_mount(fd, place)) < 0:
        return None
    try:
        libc.mount(f"/proc/self/fd/{root}", f"/proc/self/fd/{root}", None, libc.MS_MOVE)
    except OSError as error:
        return {_ELOOP: False, _EINVAL: True}.get(error.errno or 0)
    finally:
        os.close(root)
    raise AssertionError("a mount was moved into itself")


def _root_of_mount(fd: int, place: Place) -> int:
    """A descriptor of the root of the mount, by way of ".."; -1 if it cannot be reached so."""
    here = os.dup(fd)
    while found := statx.where(here):
        if found.mount != place.mount:
            break
        if found.mount_root:
            return here
        before = os.fstat(here)
        above = os.open("..", _O_PATH, dir_fd=here)
        os.close(here)
        here = above
        if os.path.samestat(before, os.fstat(here)):
            break  # the end of a chroot
    os.close(here)
    return -1


def _elsewhere(place: Place, mounts: dict[int, Mount]) -> Place:
    """The place with a process in whose mount namespace it is, if it is not in ours."""
    if place.errno or place.mount in mounts:
        return place
    seen = set()
    for process in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
        except OSError:
            namespace = process  # it may not be read; mountinfo perhaps may
        if namespace not in seen and (found := _mountinfo(process).get(place.mount)):
            name = _read(f"/proc/{process}/comm").strip()
            return place._replace(elsewhere=f"process {process} ({name})", peers=found.peers)
        seen.add(namespace)
    return place
