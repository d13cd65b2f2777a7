# SPDX-License-Identifier: MIT
"""Which module would drive a storage device, for the report of a boot that failed: modules.hints, `pattern module` a line.

It holds the aliases of all of the kernel's storage drivers, those in the image or not: 13 kB of a compressed image (kernel
6.1), read only when a boot has failed. Drivers that are built in are there too, as far as modules.builtin.modinfo has them.
"""

from collections.abc import Iterator

from rootfall_build.module_index import Index, module_name

HINTS = "modules.hints"

_STORAGE = tuple(
    f"kernel/drivers/{name}/"
    for name in "ata scsi nvme block mmc usb/storage usb/host virtio message firewire hv pci/controller".split()
)
# Device trees name their hardware by themselves: those aliases are many, and the machines that have them few.
_BUSES = (
    "pci:",
    "usb:",
    "virtio:",
    "scsi:",
    "mmc:",
    "sdio:",
    "acpi",
    "pnp:",
    "platform:",
    "vmbus:",
    "xen:",
    "ieee1394:",
)


def hints(index: Index) -> bytes:
    """The text of modules.hints for a kernel."""
    own = (line.split()[1:3] for line in index.aliases if len(line.split()) == 3)
    modules = ((pattern, name.replace("-", "_")) for pattern, name in own)
    chosen = {(pattern, name) for pattern, name in modules if index.paths.get(name, "").startswith(_STORAGE)}
    chosen |= set(_builtin(index))
    return "".join(f"{pattern} {name}\n" for pattern, name in sorted(chosen) if pattern.startswith(_BUSES)).encode(
        "utf-8", "surrogateescape"
    )


def _builtin(index: Index) -> Iterator[tuple[str, str]]:
    """The aliases of the storage drivers in the kernel itself: `module.alias=pattern`, NUL between them."""
    places = {module_name(line): line for line in index.lines("modules.builtin")}
    try:
        text = (index.directory / "modules.builtin.modinfo").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return
    for item in text.split("\0"):
        name, _, pattern = item.partition(".alias=")
        if pattern and " " not in pattern and places.get(name.replace("-", "_"), "").startswith(_STORAGE):
            yield pattern, name.replace("-", "_")
