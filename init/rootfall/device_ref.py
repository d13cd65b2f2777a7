# SPDX-License-Identifier: MIT
"""A block device as a person writes it: text -> DeviceRef. The one grammar for `device:` in the file and root=.

Pure: whether such a device exists is found out when the boot gets there. The forms are those of the kernel
(Documentation/admin-guide/kernel-parameters, root=) and of libblkid's tags; UUIDs are checked here, because a UUID with
a digit too few would otherwise show only as a device that never comes.
"""

from rootfall.model import DeviceRef

FORMS = (
    "UUID=…, LABEL=…, PARTUUID=… (then perhaps /PARTNROFF=n), PARTLABEL=…, a path below /dev/, major:minor as in 8:1, "
    "or auto"
)

_TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
_HEX = frozenset("0123456789abcdefABCDEF")
_GPT = (8, 4, 4, 4, 12)
_MBR = (8, 2)
_FAT = (4, 4)
_NTFS = (16,)
_ISO9660 = (4, 2, 2, 2, 2, 2, 2)
# Names that the kernel knows as root= without a block device behind them.
_NOT_BLOCK = {
    "/dev/nfs": "a root on NFS is not supported",
    "/dev/cifs": "a root on SMB is not supported",
    "/dev/ram": "an old-style RAM disk is not supported",
    "/dev/root": "/dev/root is not a device but a name the kernel prints; name the real device",
}
_NOT_SUPPORTED = ("nfs", "nfs4", "cifs", "iscsi", "nbd", "http", "https", "live", "zfs", "ubi", "mtd")
_UDEV_LINKS = {
    "/dev/disk/by-uuid/": "UUID",
    "/dev/disk/by-label/": "LABEL",
    "/dev/disk/by-partuuid/": "PARTUUID",
    "/dev/disk/by-partlabel/": "PARTLABEL",
}


def parse(text: str) -> DeviceRef:
    """Read one device; raise ValueError with a sentence that says what is wrong and what is allowed."""
    tag, equals, value = text.partition("=")
    if equals and tag in _TAGS:
        return _tagged(tag, value)
    if equals and tag.upper() in _TAGS:
        raise ValueError(f"{tag}= must be in capitals: {tag.upper()}={value}")
    if text.startswith("/dev/"):
        return _path(text)
    if text == "auto":
        return DeviceRef("AUTO", text)
    major, colon, minor = text.partition(":")
    if colon and _digits(major, 4) and _digits(minor, 7):
        return DeviceRef("DEVNUM", f"{int(major)}:{int(minor)}")
    if major.lower() in _NOT_SUPPORTED or tag.lower() in _NOT_SUPPORTED:
        raise ValueError(f'"{text}" is not supported: the root must be on a block device; allowed: {FORMS}')
    raise ValueError(f'"{text}" does not name a device; allowed: {FORMS}')


def _tagged(tag: str, value: str) -> DeviceRef:
    if not value:
        raise ValueError(f"{tag}= has nothing after the =")
    if tag == "UUID":
        return DeviceRef(tag, _uuid(value))
    if tag == "PARTUUID":
        return _partuuid(value)
    if '"' in value:
        raise ValueError(f"{tag}= must have no quotes inside: write '{tag}=my disk' with the quotes around the whole")
    if not value.isprintable():
        raise ValueError(f"{tag}= holds a character that cannot be printed")
    return DeviceRef(tag, value)


def _uuid(value: str) -> str:
    # libblkid prints UUIDs small and FAT serial numbers in capitals; NTFS and UDF differ in case, so they stay.
    if _is_hex(value, _GPT):
        return value.lower()
    if _is_hex(value, _FAT):
        return value.upper()
    if _is_hex(value, _NTFS) or (_is_hex(value, _ISO9660) and value.replace("-", "").isdecimal()):
        return value
    raise ValueError(
        f'"{value}" is not a UUID{_count(value, 32)}; allowed: 8-4-4-4-12 hexadecimal digits (ext4, xfs, btrfs, …), '
        "XXXX-XXXX (FAT), 16 digits (NTFS), or YYYY-MM-DD-HH-MM-SS-hh (ISO 9660); blkid(8) prints it"
    )


def _partuuid(value: str) -> DeviceRef:
    uuid, slash, offset = value.partition("/")
    if not _is_hex(uuid, _GPT) and not _is_hex(uuid, _MBR):
        raise ValueError(
            f'"{uuid}" is not a partition UUID{_count(uuid, 32)}; allowed: 8-4-4-4-12 hexadecimal digits (GPT) '
            "or 8-2 (MBR: disk signature, partition); blkid(8) prints it as PARTUUID"
        )
    name, _, number = offset.partition("=")
    if slash and (name != "PARTNROFF" or not _digits(number.removeprefix("-"), 3)):
        raise ValueError(f'"/{offset}" is not allowed after PARTUUID=…; only /PARTNROFF=n is, with a whole number n')
    return DeviceRef("PARTUUID", uuid.lower(), int(number) if slash else 0)


def _path(text: str) -> DeviceRef:
    if text in _NOT_BLOCK:
        raise ValueError(f'"{text}": {_NOT_BLOCK[text]}; allowed: {FORMS}')
    parts = text.split("/")[2:]
    if any(part in ("", ".", "..") for part in parts) or not text.isprintable() or " " in text:
        raise ValueError(f'"{text}" is not a plain path below /dev/')
    for prefix, tag in _UDEV_LINKS.items():
        if text.startswith(prefix):
            return _link(tag, text, text.removeprefix(prefix))
    return DeviceRef("PATH", text)


def _link(tag: str, text: str, name: str) -> DeviceRef:
    # udev's rules make these links, and there may be no udevd: say the same thing as a tag, which needs none.
    try:
        return _tagged(tag, _unescape(name))
    except ValueError:
        return DeviceRef("PATH", text)


def _unescape(name: str) -> str:
    """udev writes what a file name should not hold as \\xNN (systemd's encode_devnode_name)."""
    first, *rest = name.split("\\x")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)


def _is_hex(value: str, lengths: tuple[int, ...]) -> bool:
    groups = value.split("-")
    return tuple(map(len, groups)) == lengths and all(_HEX.issuperset(group) for group in groups)


def _count(value: str, wanted: int) -> str:
    digits = value.replace("-", "")
    if len(value.split("-")) == len(_GPT) and _HEX.issuperset(digits) and len(digits) != wanted:
        return f" (it has {len(digits)} digits, not {wanted})"
    wrong = [character for character in digits if character not in _HEX]
    return f" ({wrong[0]!r} is not a hexadecimal digit)" if wrong else ""


def _digits(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= most
