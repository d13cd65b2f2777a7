# SPDX-License-Identifier: MIT
"""newc archives (Documentation/driver-api/early-userspace/buffer-format.rst): a writer, and a reader for any initramfs.

The writer works in process, so device nodes need no root. The reader takes whatever the kernel would: several
archives in a row, each compressed or not, zeros between them. A damaged archive is one error with its offset.
"""

import stat
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from rootfall.errors import BuildError
from rootfall_build.compress import CorruptError, recognise
from rootfall_build.image import Directory, Entry, File, Node, Symlink

HEADER = 110
TRAILER = "TRAILER!!!"
LARGEST = 0xFFFFFFFF  # eight hexadecimal digits hold a size
LONGEST_NAME = 4096  # PATH_MAX, which the kernel's unpacker checks too
_MAGICS = (b"070701", b"070702")
_REFUSED = {
    b"\x04\x22\x4d\x18": "an lz4 frame (the kernel reads the legacy format only: lz4 -l)",
    b"\x89LZO": "lzo, which rootfall does not read",
    b"07070": "a cpio archive in another format than newc",
    b"\xc7\x71": "a binary cpio archive",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive; `segment` counts the archives of the image, `data` is its content or target."""

    segment: int
    path: str
    mode: int
    ino: int
    nlink: int
    uid: int
    gid: int
    mtime: int
    rdev: tuple[int, int]
    data: memoryview

    @property
    def size(self) -> int:
        """How many bytes `data` holds."""
        return len(self.data)


_Members = Generator[Member, None, int]


def archive(entries: Iterable[Entry], mtime: int) -> Iterator[bytes]:
    """The newc archive of `entries` in their order, in pieces: owner 0:0, one time, inode numbers from 1."""
    for ino, entry in enumerate(entries, start=1):
        match entry:
            case File():
                yield from _member(entry.path, stat.S_IFREG | entry.mode, ino, mtime, entry.read())
            case Directory():
                yield from _member(entry.path, stat.S_IFDIR | entry.mode, ino, mtime, nlink=2)
            case Symlink():
                target = entry.target.encode("utf-8", "surrogateescape")
                yield from _member(entry.path, stat.S_IFLNK | 0o777, ino, mtime, target)
            case Node():
                mode = stat.S_IFCHR | entry.mode
                yield from _member(entry.path, mode, ino, mtime, rdev=(entry.major, entry.minor))
    yield from _member(TRAILER, 0, 0, 0)


def _member(
    path: str, mode: int, ino: int, mtime: int, data: bytes = b"", nlink: int = 1, rdev: tuple[int, int] = (0, 0)
) -> Iterator[bytes]:
    name = path.encode("utf-8", "surrogateescape") + b"\0"
    if len(data) > LARGEST or len(name) > LONGEST_NAME:
        raise BuildError("archive", path, hint="a cpio archive holds files up to 4 GiB, with names up to 4095 bytes")
    fields = (ino, mode, 0, 0, nlink, mtime, len(data), 0, 0, *rdev, len(name), 0)
    yield _MAGICS[0] + b"".join(b"%08X" % field for field in fields)
    yield name + bytes(-(HEADER + len(name)) % 4)
    yield data
    yield bytes(-len(data) % 4)


def read(image: bytes, name: str = "the image") -> Iterator[Member]:
    """Every member of every archive in `image`, in order; BuildError with the offset when it is damaged."""
    segment = 0
    for where, offset, data in _streams(image, name):
        position = _skip_zeros(data, 0)
        while position < len(data):
            end = yield from _archive(data, position, segment, name, offset, where)
            position = _skip_zeros(data, end)
            segment += 1
    if segment == 0:
        raise _damaged(name, "no archive in it")


def _streams(image: bytes, name: str) -> Iterator[tuple[str, int, bytes]]:
    """(where, offset to add, uncompressed bytes) of each run of one compression; `where` is "" for plain archives."""
    position = 0
    while (position := _skip_zeros(image, position)) < len(image):
        head = image[position : position + 8]
        method = recognise(head)
        if method is None:
            what = next((text for magic, text in _REFUSED.items() if head.startswith(magic)), head[:4].hex(" "))
            raise _damaged(name, f"no cpio archive and no compression that is known at offset {position}: {what}")
        if method.name == "none":
            end = _plain_end(image, position, name)
            yield "", position, image[position:end]
            position = end
            continue
        start, pieces = position, []
        # One archive may be spread over several frames of one compression (pzstd, pigz, lz4).
        while recognise(image[position : position + 8]) is method:
            try:
                piece, taken = method.unpack(image[position:])
            except CorruptError as error:
                raise _damaged(name, f"{method.name} data at offset {position} cannot be unpacked: {error}") from None
            pieces.append(piece)
            position += taken
        yield f" of what the {method.name} data at offset {start} unpacks to", 0, b"".join(pieces)


def _plain_end(image: bytes, position: int, name: str) -> int:
    """Where the uncompressed archive that begins at `position` ends."""
    members = _archive(image, position, 0, name, 0, "")
    while True:
        try:
            next(members)
        except StopIteration as done:
            end: int = done.value
            return end


def _archive(data: bytes, position: int, segment: int, name: str, base: int, where: str) -> _Members:
    """The members of the archive at `position`; the generator returns where its trailer ends."""
    view, origin = memoryview(data), position
    while True:
        position = _skip_zeros(data, position)
        at = f"at offset {base + position}{where}"
        header = data[position : position + HEADER]
        if not header.startswith(_MAGICS):
            raise _damaged(name, f"the archive breaks off {at}: {'no cpio header' if header else 'no trailer'}")
        try:
            fields = [int(header[start : start + 8], 16) for start in range(6, HEADER, 8)]
        except ValueError:
            raise _damaged(name, f"a cpio header that breaks off or is not hexadecimal {at}") from None
        ino, mode, uid, gid, nlink, mtime, size, _, _, major, minor, namesize, _ = fields
        begin = _aligned(position + HEADER + namesize, origin)
        end = begin + size
        # The last archive may lack the padding after its trailer, and the trailer has no data.
        if max(position + HEADER + namesize, end if size else 0) > len(data) or not 0 < namesize <= LONGEST_NAME:
            raise _damaged(
                name, f"the member {at} is to have a name of {namesize} and {size} bytes: cut off or damaged"
            )
        # dracut-cpio pads the name with zeros, so that the data begins on a block of the file system.
        label = data[position + HEADER : position + HEADER + namesize].split(b"\0", 1)[0]
        position = min(_aligned(end, origin), len(data))
        if label == TRAILER.encode():
            return position
        path = label.decode("utf-8", "surrogateescape")
        yield Member(segment, path, mode, ino, nlink, uid, gid, mtime, (major, minor), view[begin:end])


def _skip_zeros(data: bytes, position: int) -> int:
    while data[position : position + 1] == b"\0":
        block = data[position : position + 4096]
        position += len(block) - len(block.lstrip(b"\0"))
    return position


def _aligned(position: int, origin: int) -> int:
    return position + (origin - position) % 4


def _damaged(name: str, seen: str) -> BuildError:
    return BuildError("read", name, seen=seen)
