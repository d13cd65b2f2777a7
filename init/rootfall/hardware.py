# SPDX-License-Identifier: MIT
"""The hardware of this machine as sysfs shows it: modaliases, what has no driver, and where more could still appear.

Reads only; see Documentation/ABI/testing/sysfs-bus-* of the kernel.
"""

import os

from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSES = "/sys/bus"
# Where a disk may still come from, a while after its controller's driver is in: hosts, and slots that take cards.
_SOURCES = {
    "/sys/class/scsi_host": "SCSI host",
    "/sys/class/nvme": "NVMe controller",
    "/sys/class/mmc_host": "SD/MMC host",
    "/sys/bus/usb/devices": "USB host",
    "/sys/bus/pci/slots": "PCI slot",
}


class Unclaimed(NamedTuple):
    """A device that no driver has taken: its bus, its name there, and its modalias."""

    bus: str
    name: str
    modalias: str


def read(path: str) -> str:
    """A sysfs attribute without its newline; empty when it is not there or does not answer."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def listing(directory: str) -> list[str]:
    """The names in a directory, sorted; empty when it is not there."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def modaliases(buses: tuple[str, ...]) -> "Iterator[str]":
    """The modaliases of all devices on these buses. The processor's are none of a boot's: they help, but find no root."""
    for bus in buses:
        directory = f"{_BUSES}/{bus}/devices"
        for name in listing(directory):
            modalias = read(f"{directory}/{name}/modalias") or (
                _announced(f"{directory}/{name}") if bus == "mmc" else ""
            )
            if modalias:
                yield modalias


def _announced(device: str) -> str:
    """The modalias of a uevent: a memory card has no attribute of that name."""
    return next((line[9:] for line in read(f"{device}/uevent").splitlines() if line.startswith("MODALIAS=")), "")


def unclaimed() -> tuple[Unclaimed, ...]:
    """The storage on this machine's buses that no driver has taken: why a disk may be missing."""
    found = []
    for bus in ("pci", "virtio", "usb", "mmc", "scsi"):
        directory = f"{_BUSES}/{bus}/devices"
        for name in listing(directory):
            modalias = read(f"{directory}/{name}/modalias")
            if modalias and not os.path.exists(f"{directory}/{name}/driver") and _may_be_storage(bus, modalias):
                found.append(Unclaimed(bus, name, modalias))
    return tuple(found)


def _may_be_storage(bus: str, modalias: str) -> bool:
    """By class: PCI mass storage (01), USB (0c03) and SD (0805) hosts; USB mass storage (08).

    Any virtio device on PCI: what it is shows only when virtio_pci has it.
    """
    if bus == "pci":
        return modalias.startswith("pci:v00001AF4d") or any(c in modalias for c in ("bc01sc", "bc0Csc03", "bc08sc05"))
    if bus == "virtio":
        return modalias.startswith(("virtio:d00000002", "virtio:d00000008"))  # block, SCSI
    return "ic08" in modalias if bus == "usb" else True


def sources() -> tuple[str, ...]:
    """Where a block device could still come from without a new driver; empty: nothing can come any more."""
    return tuple(f"{kind} {name}" for directory, kind in _SOURCES.items() for name in listing(directory))
