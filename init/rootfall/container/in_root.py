# SPDX-License-Identifier: MIT
"""Paths below a root that is not ours yet: looked up as if it were / already, so that no link in it leads out of it.

The kernel does it where it can (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS). Where it cannot, because it is older
than Linux 5.6 or a seccomp filter forbids it, and where something is to be made on the way, `_walk` does it: one component at a
time, never through a link, each link's text read as a path below the root. What a magic link of /proc points at is never
entered. Whoever changes the root meanwhile changes what is found, not whose it is: only descriptors are kept.
"""

import os

from rootfall.linux import libc

_EPERM, _EAGAIN, _ENOSYS, _ELOOP = 1, 11, 38, 40
_LINKS = 40  # in one path: path_resolution(7)
_COMPONENT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK, _TYPE = 0o120000, 0o170000

# What `make_place` makes.
DIRECTORY, FILE = "directory", "file"


def open_place(root: int, path: str, follow: bool = True) -> int:
    """Open (O_PATH) what `path` names below `root`, a descriptor; without `follow` a link at its end is opened itself."""
    flags = os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW
    try:
        return libc.openat2(root, path, flags, libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        # EAGAIN: something was renamed at this moment. EPERM: some seccomp filters say that of what they do not know.
        if error.errno not in (_ENOSYS, _EAGAIN, _EPERM):
            raise
    return _walk(root, path, follow, "")


def make_place(root: int, path: str, kind: str, follow: bool = True) -> int:
    """The same, and make what is missing: directories with mode 0755, the last as `kind` says."""
    try:
        return open_place(root, path, follow)
    except FileNotFoundError:
        return _walk(root, path, follow, kind)


def is_link(fd: int) -> bool:
    """Whether a descriptor (O_PATH) is open on a symbolic link itself."""
    return os.fstat(fd).st_mode & _TYPE == _LINK


def _walk(root: int, path: str, follow: bool, make: str) -> int:
    """Open `path` below `root`; make what is missing as `make` says, "" for nothing."""
    trail = [
        os.open(".", os.O_PATH | os.O_CLOEXEC, dir_fd=root)
    ]  # the way back: ".." is the one before, never asked for
    links, to_do = 0, path.split("/")[::-1]
    try:
        while to_do:
            name = to_do.pop()
            if name == ".." and len(trail) > 1:
                os.close(trail.pop())
            if name in ("", ".", ".."):
                continue
            last = not any(to_do)
            trail.append(_component(trail[-1], name, make if last or not make else DIRECTORY))
            if is_link(trail[-1]) and (follow or not last):
                links += 1
                if links > _LINKS:
                    raise OSError(_ELOOP, os.strerror(_ELOOP), path)
                to_do += _target(trail)
        return trail.pop()
    finally:
        for each in trail:
            os.close(each)


def _target(trail: list[int]) -> list[str]:
    """Leave the link at the end of the trail for what it says: its components, the first one last."""
    link = trail.pop()
    try:
        text = os.readlink("", dir_fd=link)
    finally:
        os.close(link)
    if text.startswith("/"):
        while len(trail) > 1:
            os.close(trail.pop())
    return text.split("/")[::-1]


def _component(directory: int, name: str, make: str) -> int:
    try:
        return os.open(name, _COMPONENT, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    mask = os.umask(0o022)
    try:
        if make == DIRECTORY:
            os.mkdir(name, 0o755, dir_fd=directory)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=directory))
    except FileExistsError:
        pass  # somebody else made something: it is looked at like anything that was there
    finally:
        os.umask(mask)
    return os.open(name, _COMPONENT, dir_fd=directory)
