# SPDX-License-Identifier: MIT
"""The cache of test material outside the repository: directories that are whole or not there.

A directory is made under another name, stamped last and renamed, so a reader sees all of it or nothing; flock(2) keeps
two processes (pytest-xdist) from making the same thing twice. It refuses to mend a directory without a stamp: that is
deleted and made again. The place is ${XDG_CACHE_HOME:-~/.cache}/rootfall (XDG Base Directory Specification).
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

STAMP = ".rootfall-stamp.json"


def default_cache() -> Path:
    """${XDG_CACHE_HOME:-~/.cache}/rootfall; a relative XDG_CACHE_HOME is ignored, as the specification asks."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "rootfall"


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock that belongs to `target`, waiting for whoever has it (they work; they do not sleep)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamp_of(directory: Path) -> Mapping[str, object] | None:
    """What the stamp of a finished directory says; None when the directory is not there or not whole."""
    try:
        stamp = json.loads((directory / STAMP).read_bytes())
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def made_once(target: Path, make: Callable[[Path], Mapping[str, object]]) -> Path:
    """`target`, filled by `make(empty directory)` unless it is there and whole; what `make` returns is the stamp."""
    if stamp_of(target) is not None:
        return target
    with locked(target):
        if stamp_of(target) is None:
            _make(target, make)
    return target


def _make(target: Path, make: Callable[[Path], Mapping[str, object]]) -> None:
    with scratch(target.parent) as directory:
        work = directory / target.name
        work.mkdir()
        stamp = make(work)
        # The files must be on the disk before the stamp says so: a crash may not leave a stamped, empty kernel.
        os.sync()
        (work / STAMP).write_text(json.dumps(stamp, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)


def point(link: Path, target: Path) -> None:
    """Make the symbolic link `link` name its sibling `target`, atomically, whatever it named before."""
    with scratch(link.parent) as directory:
        new = directory / link.name
        new.symlink_to(target.name)
        new.replace(link)


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A directory on the same file system as `parent`'s entries, so that rename(2) works; gone at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=parent) as directory:
        yield Path(directory)
