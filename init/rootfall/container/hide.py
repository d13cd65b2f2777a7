# SPDX-License-Identifier: MIT
"""Masked and read-only paths, as OCI runtimes have them: an empty thing over a path, or the path bound over itself read-only.

A file is masked by the host's /dev/null, by a descriptor that was seen to be it (CVE-2025-31133), a directory by an empty
read-only tmpfs, the same one everywhere. What is not there need not be hidden.
"""

import os

from rootfall.container import attach, attributes, dev, in_root
from rootfall.errors import MountError
from rootfall.linux import mount_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT = (2, 20)  # ENOENT, ENOTDIR
_RDONLY = mount_api.MOUNT_ATTR_RDONLY
_COVER = _RDONLY | mount_api.MOUNT_ATTR_NOSUID | mount_api.MOUNT_ATTR_NOEXEC
_EMPTY = ("ro", "nosuid", "nodev", "noexec", "mode=0755", "size=4k", "nr_inodes=1")


def hide(root: int, masked: tuple[str, ...], read_only: tuple[str, ...]) -> None:
    """Mask paths below `root`, a descriptor, and make others read-only with all that is mounted there. Raises MountError."""
    covers = Covers(root)
    for path in masked:
        _each(root, path, "mask", covers.cover)
    for path in read_only:
        _each(root, path, "make read-only", lambda place, path: _make_read_only(root, place, path))
    covers.close()


def _each(root: int, path: str, attempted: str, act: "Callable[[int, str], None]") -> None:
    try:
        place = in_root.open_place(root, path)
        act(place, path)
        os.close(place)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise MountError(attempted, path, errno=error.errno or 0) from error


def _make_read_only(root: int, place: int, path: str) -> None:
    options = attributes.Options(_RDONLY, _RDONLY)
    os.close(attach.bind_on(place, place, options, lambda: in_root.open_place(root, path)))


class Covers:
    """What is put over files and directories: opened when the first of each is masked, bound from then on."""

    def __init__(self, root: int) -> None:
        """Nothing is open yet."""
        self.root, self.null, self.empty = root, -1, -1

    def cover(self, place: int, path: str) -> None:
        """Mask what `place` is open on, which is `path` below the root."""
        if not attach.is_directory(place):
            if self.null < 0:
                self.null = dev.open_node(*dev.NODES[0])
            self._bind(self.null, place, path)
        elif self.empty < 0:
            self.empty = attach.attach_new(
                place, "tmpfs", "masked", _EMPTY, lambda: in_root.open_place(self.root, path)
            )
        else:
            self._bind(self.empty, place, path)

    def _bind(self, cover: int, place: int, path: str) -> None:
        options = attributes.Options(_COVER, _COVER, recursive=False)
        os.close(attach.bind_on(cover, place, options, lambda: in_root.open_place(self.root, path)))

    def close(self) -> None:
        """Let go of them."""
        for each in (self.null, self.empty):
            if each >= 0:
                os.close(each)
