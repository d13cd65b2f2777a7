# SPDX-License-Identifier: MIT
"""Images by the real builder for the boot tests, and images that were tampered with; each is made once per test run."""

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

from rootfall_build import cpio
from rootfall_build.build import Request, build, cache_directory
from rootfall_build.freeze import freeze
from rootfall_build.image import Directory, Entry, File, Node, Symlink
from rootfall_build.progress import Silent
from rootfall_qemu.cache import made_once
from rootfall_qemu.debian import DebianKernel

YAML = "etc/rootfall/rootfall.yaml"
READY = "etc/rootfall/rootfall.plan"
# The root comes on the command line; a failed boot ends the machine, so that no test waits for a person.
PLAIN = """\
version: 1
boot:
  root: {timeout: 60s}
  on_failure: {action: reboot}
image:
  modules: [virtio_pci, virtio_blk, ext4]
"""


def digest(*arguments: object) -> str:
    """A name for what these arguments make."""
    return hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]


def built(directory: Path, kernel: DebianKernel, config: str = PLAIN) -> Path:
    """The image of a configuration for a kernel, below `directory`; two workers that ask for it make it once."""

    def make(place: Path) -> dict[str, object]:
        (place / "rootfall.yaml").write_text(config)
        request = Request(place / "rootfall.yaml", kernel.version, kernel.modules, place / "rootfall.img")
        build(request, freeze, cache_directory(), Silent())
        return {"kernel": kernel.version}

    return made_once(directory / f"image-{digest(kernel.version, config)}", make) / "rootfall.img"


def edited(image: Path, output: Path, contents: Mapping[str, bytes]) -> Path:
    """The image with other contents in some of its files, uncompressed: what a careless hand would leave."""
    left = dict(contents)
    entries = [_entry(member, left) for member in cpio.read(image.read_bytes(), str(image))]
    assert not left, f"no such files in {image}: {', '.join(left)}"
    output.write_bytes(b"".join(cpio.archive(entries, 0)))
    return output


def with_programs(image: Path, output: Path, programs: Mapping[str, bytes]) -> Path:
    """The image with these executable files in it, also in place of what it had there, uncompressed."""
    members = cpio.read(image.read_bytes(), str(image))
    entries = [_entry(member, {}) for member in members if member.path not in programs]
    files = (File(path, 0o755, data) for path, data in programs.items())
    output.write_bytes(b"".join(cpio.archive([*entries, *files], 0)))
    return output


def _entry(member: cpio.Member, contents: dict[str, bytes]) -> Entry:
    mode, data = stat.S_IMODE(member.mode), bytes(member.data)
    match stat.S_IFMT(member.mode):
        case stat.S_IFDIR:
            return Directory(member.path, mode)
        case stat.S_IFLNK:
            return Symlink(member.path, data.decode())
        case stat.S_IFCHR:
            return Node(member.path, mode, *member.rdev)
        case _:
            return File(member.path, mode, contents.pop(member.path, data))
