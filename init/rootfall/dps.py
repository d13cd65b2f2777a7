# SPDX-License-Identifier: MIT
"""`root=auto`: the root by the type of its partition (UAPI Group, Discoverable Partitions Specification).

On the disk that was booted from, if the boot loader has told it (LoaderDevicePartUUID, systemd's Boot Loader Interface), else
on the only disk that has such a partition. Refuses to guess between two disks. Imported when it is asked for.
"""

import os

from rootfall.errors import DeviceError
from rootfall.linux import libc
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.modules import Loader

# By uname(2)'s machine.
ROOT_TYPES = {
    "x86_64": "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "i686": "44479540-f297-41b2-9af7-d131d5f0458a",
    "aarch64": "b921b045-1df0-41c3-af44-4c6f280d3fae",
    "armv7l": "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
    "riscv64": "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
    "loongarch64": "77055800-792c-4f94-b39a-98c91b762bb6",
    "ppc64le": "c31c45e6-3f39-412e-80fb-4809c4980599",
    "s390x": "5eead9a9-fe09-4a1e-a1d7-520d00531306",
}
READ_ONLY, NO_AUTO = 1 << 60, 1 << 63
_EFIVARS = "/sys/firmware/efi/efivars"
_VARIABLE = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_LOADING = 10.0  # seconds for the module efivarfs


class Candidate(NamedTuple):
    """A partition: its node, libblkid's tags, and its path in sysfs, which holds its disk's."""

    node: str
    tags: dict[str, str]
    path: str


def is_read_only(tags: dict[str, str]) -> bool:
    """Whether the partition's attributes ask for a read-only mount."""
    return bool(_flags(tags) & READ_ONLY)


def choose(candidates: list[Candidate], esp: str, machine: str = "") -> str:
    """The node of the root among these partitions; "" when there is none yet. `esp`: PARTUUID of the active ESP, or "".

    Raises DeviceError when two disks have one, or the machine has no type of its own.
    """
    kind = ROOT_TYPES.get(machine or os.uname().machine)
    if kind is None:
        hint = "name the root: boot.root.device, or root="
        raise DeviceError(
            "choose the root device", "auto", seen=f"no partition type for {os.uname().machine}", hint=hint
        )
    roots = [each for each in candidates if each.tags.get("PARTTYPE") == kind and not _flags(each.tags) & NO_AUTO]
    if esp:
        disks = {_disk(each) for each in candidates if each.tags.get("PARTUUID", "").lower() == esp}
        roots = [each for each in roots if _disk(each) in disks]
    if len({_disk(each) for each in roots}) > 1:
        names = " and ".join(each.node for each in roots)
        hint = (
            "name the root: boot.root.device, or root=; or boot with a loader that tells its partition, as systemd-boot"
        )
        raise DeviceError(
            "choose the root device", "auto", seen=f"{names} have the type of a root partition", hint=hint
        )
    roots.sort(key=lambda each: int(each.tags["PARTN"]))
    return roots[0].node if roots else ""


def _disk(candidate: Candidate) -> str:
    return os.path.dirname(candidate.path)


def _flags(tags: dict[str, str]) -> int:
    return int(tags.get("PARTFLAGS", "0"), 16)


def active_esp(loader: "Loader | None" = None) -> str:
    """The PARTUUID, in small letters, of the EFI system partition that the boot loader came from; "" when it did not tell."""
    if not os.path.isdir("/sys/firmware/efi"):
        return ""
    if loader is not None:
        loader.wait_for(loader.request(("efivarfs",)), _LOADING)
    try:
        if os.listdir(_EFIVARS):
            return read_variable(f"{_EFIVARS}/{_VARIABLE}")
        flags = libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
        libc.mount("efivarfs", _EFIVARS, "efivarfs", flags)
        try:
            return read_variable(f"{_EFIVARS}/{_VARIABLE}")
        finally:
            libc.umount2(_EFIVARS)
    except OSError:  # a firmware or a kernel without variables
        return ""


def read_variable(path: str) -> str:
    """The text of an EFI variable in small letters: four bytes of attributes, then UTF-16; "" when it cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read()[4:]
    except OSError:
        return ""
    # The frozen program has no UTF-16; a UUID needs only its low bytes.
    return "" if any(text[1::2]) else text[::2].decode("latin-1").rstrip("\0").lower()
