# SPDX-License-Identifier: MIT
"""What is almost the root that was asked for: one sentence each, the most telling first. Looks, and decides nothing.

Imported only when a boot has failed.
"""

from rootfall import hardware
from rootfall.model import DeviceRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class BlockDevice(Protocol):
        """A rootfall.devices.BlockDevice, which imports this module."""

        @property
        def node(self) -> str:
            """As in /dev."""

        @property
        def devnum(self) -> str:
            """Major:minor."""

        @property
        def tags(self) -> dict[str, str]:
            """What libblkid says."""

        @property
        def fault(self) -> str:
            """Why it cannot be read."""


_TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")
# libblkid's names of what holds other block devices.
_CONTAINERS = {
    "crypto_LUKS": "a locked LUKS container",
    "BitLocker": "a locked BitLocker volume",
    "LVM2_member": "a part of an LVM volume group",
    "LVM1_member": "a part of an LVM volume group",
    "linux_raid_member": "a member of a RAID array",
    "bcache": "one half of a bcache",
    "zfs_member": "a part of a ZFS pool",
}


def sentences(ref: DeviceRef, seen: "Iterable[BlockDevice]") -> "Iterator[str]":
    """What a person may have meant by `ref`, or where it may be hidden, for the devices that are there."""
    there = tuple(seen)
    for device in there:
        yield from _tags(ref, device)
    for device in there:
        if hidden := container(device) or _damaged(device):
            yield hidden


def container(device: "BlockDevice") -> str:
    """What a device is that holds others, and that no step of this boot opens; empty for all else."""
    kind = device.tags.get("TYPE", "")
    inside = device.tags.get("USAGE") in ("crypto", "raid")
    if kind not in _CONTAINERS and not inside:
        return ""
    return f"{device.node} is {_CONTAINERS.get(kind, kind)}: the root may be inside it, and this image does not open it"


def _tags(ref: DeviceRef, device: "BlockDevice") -> "Iterator[str]":
    """The value that was asked for: on another tag, in other letters, or off by one character."""
    wanted = ref.value.lower()
    for tag in _TAGS:
        value = device.tags.get(tag, "").lower()
        if not value:
            continue
        if value == wanted and tag != ref.kind:
            yield f"{device.node} has it as {tag}=: did you mean root={tag}={ref.value}?"
        elif value == wanted and device.tags[tag] != ref.value and tag.endswith("LABEL"):
            yield f"{device.node} has {tag}={device.tags[tag]}: capital letters count"
        elif len(value) == len(wanted) and sum(a != b for a, b in zip(value, wanted, strict=True)) == 1:
            yield f"{device.node} has {tag}={device.tags[tag]}, which differs in one character"


def _damaged(device: "BlockDevice") -> str:
    """A disk that does not answer, or whose partitions the kernel could not make."""
    if device.fault:
        return f"{device.node} {device.fault}: the root may be on it"
    table = device.tags.get("PTTYPE", "")
    if not table or device.tags.get("TYPE") or "PARTN" in device.tags:
        return ""
    place = f"/sys/dev/block/{device.devnum}"
    if any(hardware.read(f"{place}/{name}/partition") for name in hardware.listing(place)):
        return ""
    return f"{device.node} has a partition table ({table}) in which the kernel found no partition"
