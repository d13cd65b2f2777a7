# SPDX-License-Identifier: MIT
"""An image is data before it is bytes: records of what it will hold, each with the reason why it is there.

Paths are relative to the image's root, with no `.` or `..`. Parent directories are added by themselves. Two different
things at one path are refused, and so is anything below a symbolic link: the kernel's unpacker (init/initramfs.c) would
follow the link, and what a path means would depend on the order of the archive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rootfall.errors import BuildError


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; `content` is its bytes, or the file on this machine to read them from."""

    path: str
    mode: int
    content: bytes | Path

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read(self) -> bytes:
        """Its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory."""

    path: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link; `target` is stored as it is."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Node:
    """A character device."""

    path: str
    mode: int
    major: int
    minor: int


Entry = File | Directory | Symlink | Node


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry in an image, why it is there, and the group it is counted in."""

    entry: Entry
    why: str
    group: str


class Image:
    """What an image will hold, by path; iterates in the order of the archive (parents first, then by name)."""

    def __init__(self) -> None:
        """An empty image."""
        self._placed: dict[str, Placed] = {}
        self._implied: set[str] = set()

    def add(self, entry: Entry, why: str, group: str = "other") -> None:
        """Put `entry` in, and its parents; the same entry twice is fine, another one at its path a BuildError."""
        path = entry.path
        parts = PurePosixPath(path).parts
        if "/".join(parts) != path or not parts or ".." in parts or parts[0] == "/":
            raise BuildError("put into the image", repr(path), seen="a path that is not plain and relative")
        for end in range(1, len(parts)):
            self._imply("/".join(parts[:end]), path, why, group)
        present = self._placed.get(path)
        if present is None or (path in self._implied and isinstance(entry, Directory)):
            self._placed[path] = Placed(entry, why, group)
            self._implied.discard(path)
        elif present.entry != entry:
            raise BuildError(
                "put into the image",
                path,
                seen=f"{_describe(entry)} ({why}) where there is already {_describe(present.entry)} ({present.why})",
            )

    def _imply(self, parent: str, child: str, why: str, group: str) -> None:
        present = self._placed.get(parent)
        if present is None:
            self._placed[parent] = Placed(Directory(parent), f"holds {child}", group)
            self._implied.add(parent)
        elif not isinstance(present.entry, Directory):
            raise BuildError(
                "put into the image",
                f"{child} ({why})",
                seen=f"its parent {parent} is {_describe(present.entry)} ({present.why})",
            )

    def __contains__(self, path: str) -> bool:
        """Whether there is an entry at `path`."""
        return path in self._placed

    def __getitem__(self, path: str) -> Placed:
        """The entry at `path`, with its reason."""
        return self._placed[path]

    def __len__(self) -> int:
        """How many entries there are, implied directories included."""
        return len(self._placed)

    def __iter__(self) -> Iterator[Placed]:
        """Every entry, a directory before what it holds, names in byte order."""
        for path in sorted(self._placed, key=lambda path: path.encode("utf-8", "surrogateescape").split(b"/")):
            yield self._placed[path]


def _describe(entry: Entry) -> str:
    match entry:
        case File(content=bytes() as data):
            return f"a file of {len(data)} bytes, mode {entry.mode:04o}"
        case File():
            return f"the file {entry.content!s}, mode {entry.mode:04o}"
        case Directory():
            return f"a directory, mode {entry.mode:04o}"
        case Symlink():
            return f"a link to {entry.target}"
        case Node():
            return f"the device {entry.major}:{entry.minor}, mode {entry.mode:04o}"
