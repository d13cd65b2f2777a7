# SPDX-License-Identifier: MIT
"""What udevd would call a disk, from sysfs alone: /dev/disk/by-id and by-path, and device-mapper's /dev/mapper.

The rules are those of systemd 252 to 259 (60-persistent-storage.rules, its path_id, usb_id, scsi_id and ata_id): where they
have changed, both names are given. Left out: what only a command to the device can tell, as the serial number of a disk behind
a USB-to-SATA bridge; FC, SAS and iSCSI paths. Imported when such a name is asked for.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789#+-.:=@_")
_VENDOR_SPECIFIC, _T10, _EUI64, _NAA = 0, 1, 2, 3
_BINARY, _ASCII = 1, 2
# Which of several designators in SCSI's page 0x83 is the name (scsi_id): kind and, for NAA, its leading digit.
_PREFERENCE = ((_NAA, "6"), (_NAA, "5"), (_NAA, ""), (_EUI64, ""), (_T10, ""), (_VENDOR_SPECIFIC, ""))


def links(path: str) -> set[str]:
    """The names below /dev that udevd would give to the block device at this path of sysfs, or any version of it."""
    number = _text(f"{path}/partition")
    disk = os.path.dirname(path) if number else path
    suffix = f"-part{number}" if number else ""
    found = {f"/dev/disk/by-id/{name}{suffix}" for name in _ids(disk)}
    for name in _paths(disk):
        found.add(f"/dev/disk/by-path/{name}{suffix}")
        if number:
            found.add(f"/dev/disk/by-path/{name}-part/by-partnum/{number}")
    return found | set(_device_mapper(path))


def _text(path: str) -> str:
    """A sysfs attribute as udev takes it: without the spaces that end it; empty when it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().rstrip()
    except OSError:
        return ""


def _parents(path: str) -> "Iterator[str]":
    """The device and those that it hangs on, the nearest first."""
    while os.path.basename(path) not in ("", "devices"):
        if os.path.lexists(f"{path}/uevent"):
            yield path
        path = os.path.dirname(path)


def _above(path: str, name: str) -> str:
    """The attribute of the nearest device that has it (ATTRS{name} of udev(7))."""
    return next((value for each in _parents(path) if (value := _text(f"{each}/{name}"))), "")


def _subsystem(path: str) -> str:
    try:
        return os.path.basename(os.readlink(f"{path}/subsystem"))
    except OSError:
        return ""


def _squeeze(text: str) -> str:
    return "_".join(text.split())


def _safe(text: str, also: str = "") -> str:
    """What a name may hold; all else becomes _ (udev_replace_chars)."""
    return "".join(c if c in _LETTERS or c in also or "\x9f" < c != "\ufffd" else "_" for c in text)


def _word(text: str) -> str:
    return _safe(_squeeze(text))


def _ids(disk: str) -> "Iterator[str]":
    name = os.path.basename(disk)
    if name.startswith("nvme"):
        yield from _nvme(disk)
    elif name.startswith("vd"):
        if serial := _text(f"{disk}/serial"):
            yield f"virtio-{_safe(_squeeze(serial), '/')}"
    elif name.startswith("mmcblk"):
        if serial := _above(disk, "serial"):
            yield f"mmc-{_safe(_squeeze(_above(disk, 'name')), '/')}_{_safe(_squeeze(serial), '/')}"
    elif name.startswith(("sd", "sr")):
        yield from _scsi(disk)


def _nvme(disk: str) -> "Iterator[str]":
    if wwid := _text(f"{disk}/wwid"):
        yield f"nvme-{_safe(_squeeze(wwid), '/')}"
    model, serial, nsid = (_above(disk, name).strip() for name in ("model", "serial", "nsid"))
    if model and serial:
        yield f"nvme-{_safe(_squeeze(f'{model}_{serial}'), '/')}"
        yield f"nvme-{_word(f'{model}_{serial}')}"
        yield f"nvme-{_word(f'{model}_{serial}_{nsid}')}"


def _scsi(disk: str) -> "Iterator[str]":
    """By the bus it comes over: USB's own name, ATA's model and serial number, else what SCSI's page 0x83 says."""
    device = next((each for each in _parents(disk) if _subsystem(each) == "scsi" and ":" in os.path.basename(each)), "")
    vendor, model = _text(f"{device}/vendor"), _text(f"{device}/model")
    names = list(_designators(f"{device}/vpd_pg83"))
    usb = next((each for each in _parents(device) if _text(f"{each}/idVendor")), "")
    naa = next((value for kind, value in names if kind == _NAA), "")
    if usb:
        _, _, target, lun = os.path.basename(device).split(":")
        words = [_word(vendor), _word(model), _word(_text(f"{usb}/serial"))]
        yield f"usb-{'_'.join(filter(None, words))}-{target}:{lun}"
    elif vendor == "ATA":
        whole = next((value[8:] for kind, value in names if kind == _T10), "")
        if whole:
            yield f"ata-{_word(whole[:40])}_{_word(whole[40:])}"
        if naa.startswith("5"):
            yield f"wwn-0x{naa}"
    else:
        if name := _scsi_name(names, vendor, model, f"{device}/vpd_pg80"):
            yield f"scsi-{_word(name)}"
        if naa:
            yield f"wwn-0x{naa}"


def _scsi_name(names: list[tuple[int, str]], vendor: str, model: str, page80: str) -> str:
    maker = f"{vendor:8}{model:16}"
    for kind, first in _PREFERENCE:
        for each, value in names:
            if each == kind and value.startswith(first):
                return f"{kind}{maker if kind == _VENDOR_SPECIFIC else ''}{value}"
    serial = _page(page80)
    return f"S{maker}{serial.decode('latin-1')}" if serial else ""


def _page(path: str) -> bytes:
    """The body of a page of SCSI's vital product data; empty when there is none."""
    try:
        with open(path, "rb") as file:
            page = file.read()
    except OSError:
        return b""
    return page[4 : 4 + int.from_bytes(page[2:4], "big")]


def _designators(path: str) -> "Iterator[tuple[int, str]]":
    """The names in page 0x83 that are the device's own: (kind, text), binary ones in hexadecimal."""
    page = _page(path)
    while len(page) > 4:
        body = page[4 : 4 + page[3]]
        if page[1] & 0x30 == 0 and page[0] & 0x0F in (_BINARY, _ASCII):
            text = body.hex() if page[0] & 0x0F == _BINARY else body.rstrip(b"\0").decode("latin-1")
            yield page[1] & 0x0F, text
        page = page[4 + page[3] :]


def _paths(disk: str) -> "Iterator[str]":
    """Where the disk is plugged in (path_id); nothing for a bus without names of its own, as that of memory cards."""
    pieces: list[str] = []
    short: list[str] = []
    transport = parent = False
    last = ""
    for each in _parents(disk):
        subsystem, name = _subsystem(each), os.path.basename(each)
        if subsystem == last:  # of several of a kind, as bridges or hubs, the nearest counts
            continue
        if subsystem == "scsi" and name.count(":") == 3:
            long, brief = _scsi_path(each)
            pieces.append(long)
            short.append(brief)
            transport = True
        elif subsystem == "usb" and "-" in name:
            pieces.append(f"usb-0:{name.partition('-')[2]}")
            short.append(pieces[-1])
            transport, last = True, subsystem
        elif subsystem in ("nvme", "nvme-subsystem"):
            pieces.append(f"nvme-{_text(f'{disk}/nsid')}")
            short.append(pieces[-1])
            transport = parent = True
            last = subsystem
        elif subsystem == "virtio":
            transport, last = True, subsystem
        elif subsystem in ("pci", "platform", "acpi", "xen"):
            pieces.append(f"{subsystem}-{name}")
            short.append(pieces[-1])
            parent, last = True, subsystem
            transport = transport or subsystem == "platform"
    if not (transport and parent):
        return
    for whole in {"-".join(reversed(pieces)), "-".join(reversed(short))}:
        yield whole
        if os.path.basename(disk).startswith("vd") and whole.startswith("pci-"):
            yield f"virtio-{whole}"


def _scsi_path(device: str) -> tuple[str, str]:
    """A SCSI device below its host, and as older versions of udev wrote it."""
    host, bus, target, lun = os.path.basename(device).split(":")
    port = next((each for each in _parents(device) if os.path.basename(each).startswith("ata")), "")
    if port:
        number = _text(f"{port}/ata_port/{os.path.basename(port)}/port_no")
        if bus != "0":
            return f"ata-{number}.{bus}.0", f"ata-{number}.{bus}.0"
        return f"ata-{number}.{target}", f"ata-{number}" if target == "0" else f"ata-{number}.{target}"
    above = next((each for each in _parents(device) if os.path.basename(each) == f"host{host}"), "")
    hosts = [int(name[4:]) for name in _listing(os.path.dirname(above)) if name[:4] == "host" and name[4:].isdecimal()]
    place = f"scsi-{int(host) - min(hosts, default=int(host))}:{bus}:{target}:{lun}"
    return place, place


def _listing(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _device_mapper(path: str) -> "Iterator[str]":
    if name := _text(f"{path}/dm/name"):
        yield f"/dev/mapper/{name}"
        yield f"/dev/disk/by-id/dm-name-{name}"
    if uuid := _text(f"{path}/dm/uuid"):
        yield f"/dev/disk/by-id/dm-uuid-{uuid}"
