# SPDX-License-Identifier: MIT
"""What a real systemd-udevd calls the disks of a machine: the links it makes, and the sysfs they come from, as text.

`python -m tests.boot.udev_links` prints it: tests/unit/data/udev-links holds one such record for the tests without QEMU.
"""

import base64
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.debian_root import DISK_UUID, debian_disk
from rootfall_qemu.disk import MIB, Partition, blank, gpt
from rootfall_qemu.machine import Disk, Interface, Machine
from rootfall_qemu.vm import VM
from tests.boot import images

CONFIG = """\
version: 1
image:
  modules:
    [virtio_pci, virtio_blk, virtio_scsi, sd_mod, nvme, ahci, xhci_pci, ehci_pci, usb_storage, sdhci_pci, mmc_block, ext4]
"""
# Prints L link target, D directory subsystem, A file content-in-base64, for all block devices and what they hang on.
SCRIPT = """\
udevadm settle
echo LINKS BEGIN
for link in /dev/disk/by-id/* /dev/disk/by-path/*; do echo "L $link $(readlink -f "$link")"; done
for block in /sys/class/block/*; do
  path=$(readlink -f "$block")
  while [ "$path" != /sys/devices ]; do
    case " $seen " in *" $path "*) break ;; esac
    seen="$seen $path"
    echo "D $path $(basename "$(readlink -f "$path/subsystem")")"
    for name in partition serial wwid nsid model vendor name idVendor vpd_pg80 vpd_pg83; do
      [ -f "$path/$name" ] && echo "A $path/$name $(base64 -w0 < "$path/$name" 2>/dev/null)"
    done
    path=${path%/*}
  done
done
for port in /sys/class/ata_port/*; do
  path=$(readlink -f "$port"); echo "A $path/port_no $(base64 -w0 < "$path/port_no")"
done
echo LINKS END
exit 0
"""


@dataclass(frozen=True)
class Links:
    """The links by device node, and the files and subsystems of sysfs by path."""

    by_node: dict[str, set[str]]
    files: dict[str, bytes]
    subsystems: dict[str, str]


def parse(text: str) -> Links:
    """What SCRIPT has printed."""
    by_node: dict[str, set[str]] = {}
    files, subsystems = {}, {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        first, _, second = rest.rpartition(" ")
        if kind == "L":
            by_node.setdefault(second, set()).add(first)
        elif kind == "A":
            files[first] = base64.b64decode(second)
        elif kind == "D":
            subsystems[first] = second
    return Links(by_node, files, subsystems)


def plant(links: Links, sysfs: Path) -> None:
    """A tree that looks like the /sys it was read from."""
    for path, subsystem in links.subsystems.items():
        place = sysfs / path.removeprefix("/sys/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "uevent").touch()
        target = sysfs / "class" / subsystem
        target.mkdir(parents=True, exist_ok=True)
        if subsystem not in ("", "subsystem"):
            (place / "subsystem").symlink_to(target)
    for path, content in links.files.items():
        place = sysfs / path.removeprefix("/sys/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def machine(place: Path, series: str = "6.1") -> Machine:
    """Debian with two disks of each kind, one of them with a serial number of odd characters; one SD card."""
    kernel = fetch_kernel(series)
    (place / "script").write_text(SCRIPT.ljust(4096, "\n"))
    disk = gpt(place / "two.img", (Partition(size=MIB, label="one"), Partition(size=29 * MIB, label="two")))
    kinds: tuple[Interface, ...] = ("virtio-blk", "virtio-scsi", "nvme", "ahci", "usb", "usb-ehci")
    disks = [
        Disk(disk, interface=kind, serial=serial, snapshot=True)
        for kind in kinds
        for serial in ("a b/c" if kind in ("nvme", "virtio-blk") else "ab12", "Plain-Serial.1")
    ]
    card = Disk(blank(place / "card.img", 32 * MIB), interface="sd", snapshot=True)
    bare = Disk(disk, interface="virtio-scsi", snapshot=True)
    script = Disk(place / "script", serial="script", readonly=True)
    root = Disk(debian_disk("bookworm"), snapshot=True)
    image = images.built(place, kernel, CONFIG)
    append = f"console=ttyS0 root=UUID={DISK_UUID} rw"
    return Machine(kernel.image, image, append, 1024, 2, disks=(root, *disks, bare, card, script))


def record(place: Path, mirror: Callable[[bytes], None] | None = None) -> str:
    """Boot that machine and let it tell."""
    with VM(machine(place), mirror=mirror) as vm:
        vm.console.expect("debian login: ", 500, "the login prompt")
        vm.console.send("root\n")
        vm.console.expect("root@debian:~# ", 60, "a shell")
        vm.console.send("stty -onlcr; dmesg -n 1; sh /dev/disk/by-id/virtio-script\n")
        vm.console.expect("LINKS END\n", 300, "the end of the links")
        log = vm.console.log
        return log[log.rindex("LINKS BEGIN\n") + 12 : log.rindex("LINKS END\n")].replace("\r", "")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(record(Path(scratch), lambda data: print(data.decode(errors="replace"), end="", file=sys.stderr)), end="")
