# SPDX-License-Identifier: MIT
"""What is on a block device, by libblkid's low-level probing (libblkid(3)); no cache, no /dev/disk links, no udev rules.

`ID_FS_*` and `/dev/disk/by-*` come from udevd's rules, and there is no udevd here: the content is asked directly.
"""

import ctypes
import os

from rootfall.linux import standins

_TAGS = {
    b"TYPE": "TYPE",
    b"USAGE": "USAGE",
    b"UUID": "UUID",
    b"LABEL": "LABEL",
    b"PTTYPE": "PTTYPE",
    b"PART_ENTRY_UUID": "PARTUUID",
    b"PART_ENTRY_NAME": "PARTLABEL",
    b"PART_ENTRY_NUMBER": "PARTN",
    b"PART_ENTRY_TYPE": "PARTTYPE",
    b"PART_ENTRY_FLAGS": "PARTFLAGS",
}
_SUBLKS_LABEL, _SUBLKS_UUID, _SUBLKS_TYPE, _SUBLKS_USAGE = 1 << 1, 1 << 3, 1 << 5, 1 << 7
_PARTS_ENTRY_DETAILS = 1 << 2
_AMBIVALENT, _NOTHING = -2, 1
_EIO = 5


_loaded: list[ctypes.CDLL] = []


def _library() -> ctypes.CDLL:
    if not _loaded:
        library = ctypes.CDLL(standins.SONAMES["blkid"], use_errno=True)
        library.blkid_new_probe.restype = ctypes.c_void_p
        _loaded.append(library)
    return _loaded[0]


def probe(path: str, superblocks: bool = True) -> dict[str, str]:
    """The device's tags: TYPE, USAGE, UUID, LABEL, PARTUUID, PARTLABEL, PARTN, PARTTYPE, PARTFLAGS, PTTYPE, where it has them.

    Empty when nothing is known on it; `TYPE` is "ambivalent" when two file systems claim it. Without `superblocks` only
    the tags of the partition. Raises OSError when the device cannot be opened or read.
    """
    library = _library()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    pointer = ctypes.c_void_p(library.blkid_new_probe())
    try:
        if library.blkid_probe_set_device(pointer, fd, ctypes.c_int64(0), ctypes.c_int64(0)) != 0:
            raise _error(path)
        return _read_tags(library, pointer, path, superblocks)
    finally:
        library.blkid_free_probe(pointer)
        os.close(fd)


def _error(path: str) -> OSError:
    errno = ctypes.get_errno() or _EIO  # libblkid does not always say
    return OSError(errno, os.strerror(errno), path)


def _read_tags(library: ctypes.CDLL, pointer: ctypes.c_void_p, path: str, superblocks: bool) -> dict[str, str]:
    library.blkid_probe_enable_superblocks(pointer, int(superblocks))
    library.blkid_probe_set_superblocks_flags(pointer, _SUBLKS_LABEL | _SUBLKS_UUID | _SUBLKS_TYPE | _SUBLKS_USAGE)
    library.blkid_probe_enable_partitions(pointer, 1)
    library.blkid_probe_set_partitions_flags(pointer, _PARTS_ENTRY_DETAILS)
    ctypes.set_errno(0)
    answer = library.blkid_do_safeprobe(pointer)
    if answer == _AMBIVALENT:
        return {"TYPE": "ambivalent"}
    if answer not in (0, _NOTHING):
        raise _error(path)
    tags = {}
    value = ctypes.c_char_p()
    for name, tag in _TAGS.items():
        if library.blkid_probe_lookup_value(pointer, name, ctypes.byref(value), None) == 0 and value.value:
            tags[tag] = value.value.decode(errors="surrogateescape")
    return tags
