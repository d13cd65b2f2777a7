# SPDX-License-Identifier: MIT
"""Disk images made without root, without mounting and without loop devices: file systems, and GPT disks of them.

All files are sparse. A tree is a directory or a tarball. Who owns the files inside: from a tarball, whom the tarball
says; from a directory, root:root, except that root's own directories keep their owners. fakeroot(1) does both, since
it makes files look as root's and remembers what tar(1) chowns (mke2fs 1.47.0 cannot read a tarball itself). Rules:
mke2fs(8), mkfs.btrfs(8), mkfs.erofs(1), mksquashfs(1), sfdisk(8). A tool that is missing is named with its package.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rootfall_qemu.errors import MachineError

MIB = 1 << 20
SECTOR = 512
# Where partitions begin and end; it also leaves room for the partition tables at both ends of a disk.
ALIGNMENT = MIB
PACKAGES = {
    "mke2fs": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkfs.erofs": "erofs-utils",
    "mksquashfs": "squashfs-tools",
    "sfdisk": "fdisk",
    "fakeroot": "fakeroot",
    "tar": "tar",
}


@dataclass(frozen=True)
class Partition:
    """A partition of `size` bytes (0: as large as `content`); `uuid` and `label` are its PARTUUID and PARTLABEL.

    `kind` is a type as sfdisk(8) takes it: a GUID or an alias such as linux, uefi, swap.
    """

    content: Path | None = None
    size: int = 0
    uuid: str = ""
    label: str = ""
    kind: str = "linux"


def blank(path: Path, size: int) -> Path:
    """An empty disk of `size` bytes."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def ext4(
    path: Path, size: int, *, uuid: str = "", label: str = "", tree: Path | None = None, block_size: int = 0
) -> Path:
    """An ext4 of `size` bytes that holds `tree`. Its tables are written now and not by the guest's ext4lazyinit."""
    options = ["-E", "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"]
    options += [
        *_pair("-U", uuid),
        *_pair("-L", label),
        *_pair("-b", str(block_size or "")),
        *(["-d", "TREE"] if tree else []),
    ]
    return _make(path, ["mke2fs", "-q", "-F", "-t", "ext4", *options, "IMAGE"], tree, size)


def btrfs(path: Path, size: int, *, uuid: str = "", label: str = "", tree: Path | None = None) -> Path:
    """A btrfs of `size` bytes that holds `tree`."""
    options = [*_pair("-U", uuid), *_pair("-L", label), *(["--rootdir", "TREE"] if tree else [])]
    return _make(path, ["mkfs.btrfs", "-q", "-f", *options, "IMAGE"], tree, size)


def erofs(path: Path, tree: Path, *, uuid: str = "") -> Path:
    """A read-only erofs of `tree`, as large as it needs to be."""
    return _make(path, ["mkfs.erofs", *_pair("-U", uuid), "IMAGE", "TREE"], tree)


def squashfs(path: Path, tree: Path) -> Path:
    """A read-only squashfs of `tree`, as large as it needs to be. (It has neither UUID nor label.)"""
    return _make(path, ["mksquashfs", "TREE", "IMAGE", "-noappend", "-quiet", "-no-progress"], tree)


def gpt(path: Path, partitions: tuple[Partition, ...], *, uuid: str = "") -> Path:
    """A disk with a GPT and the partitions in this order, each with its content copied in; `uuid` is the disk's own."""
    lines = ["label: gpt", *([f"label-id: {uuid}"] if uuid else [])]
    start, places = ALIGNMENT, []
    for part in partitions:
        size = _aligned(part.size or (part.content.stat().st_size if part.content else 0))
        if not size or (part.content and part.content.stat().st_size > size):
            raise MachineError("make the partition", part.label or str(part.content), seen=f"a size of {size} bytes")
        fields = [f"start={start // SECTOR}", f"size={size // SECTOR}", f"type={part.kind}"]
        fields += [f"uuid={part.uuid}"] * bool(part.uuid) + [f'name="{part.label}"'] * bool(part.label)
        lines.append(", ".join(fields))
        places.append((part.content, start))
        start += size
    blank(path, start + ALIGNMENT)
    _run([_tool("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", str(path)], path, "\n".join(lines) + "\n")
    for content, offset in places:
        if content:
            _copy(content, path, offset)
    return path


def _pair(option: str, value: str) -> list[str]:
    return [option, value] if value else []


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _make(path: Path, command: list[str], tree: Path | None, size: int = 0) -> Path:
    """Run `command` with its words IMAGE and TREE replaced; what failed leaves no file behind."""
    _tool(command[0])
    try:
        if size:
            blank(path, size)
        with tempfile.TemporaryDirectory(prefix="rootfall-tree-") as scratch:
            where = tree if tree is None or tree.is_dir() else Path(scratch)
            words = {"IMAGE": str(path), "TREE": str(where)}
            wrapped = _as_root([words.get(word, word) for word in command], tree, scratch)
            _run(wrapped, path)
    except MachineError:
        path.unlink(missing_ok=True)
        raise
    return path


def _as_root(command: list[str], tree: Path | None, scratch: str) -> list[str]:
    if tree is None or (tree.is_dir() and os.geteuid() == 0):
        return command
    if tree.is_dir():
        return [_tool("fakeroot"), "--", *command]
    # One fakeroot for both, since it forgets at its end who owns what tar has unpacked.
    script = 'tar --extract --numeric-owner --preserve-permissions --file "$1" --directory "$2" && shift 2 && "$@"'
    return [_tool("fakeroot"), "--", "sh", "-c", script, "sh", str(tree.absolute()), scratch, *command]


def _tool(name: str) -> str:
    # A user's PATH has no sbin on Debian, and these tools need no root.
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if not found:
        raise MachineError("run", name, seen="no such program", hint=f"apt install {PACKAGES[name]}")
    return found


def _run(command: list[str], path: Path, text: str = "") -> None:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
    if done.returncode:
        seen = f"{Path(command[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
        raise MachineError("make the disk", str(path), seen=seen)


def _copy(source: Path, target: Path, offset: int) -> None:
    """Copy what is not a hole."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        position, end = 0, source.stat().st_size
        while position < end:
            try:
                position = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                break
            hole = os.lseek(reader.fileno(), position, os.SEEK_HOLE)
            os.lseek(writer.fileno(), offset + position, os.SEEK_SET)
            while position < hole:
                position += os.sendfile(writer.fileno(), reader.fileno(), position, hole - position)
