# SPDX-License-Identifier: MIT
"""The groups of `image.drivers`: which modules a boot may need for a kind of hardware, on any machine of the field.

A table, since no kernel tells which of its 4,000 modules can hold a root. What a kernel does not have, or has built in, is
passed over: a group is a wish, where a name in `image.modules` is an order. The names of the groups are in rootfall.schema.
"""

from rootfall.schema import GROUPS

_DISK = "sd_mod"  # every SCSI, ATA and USB disk is one
_TABLE = {
    "virtio": f"virtio_pci virtio_mmio virtio_blk virtio_scsi {_DISK}",
    "ata": f"ahci ahci_platform ata_piix ata_generic sata_nv sata_sil sata_sil24 sata_via sata_mv {_DISK}",
    "nvme": "nvme",
    "scsi": (
        f"{_DISK} mptspi mptsas mpt3sas mpi3mr megaraid_sas hpsa aacraid smartpqi vmw_pvscsi hv_storvsc xen_blkfront "
        "sym53c8xx"
    ),
    "usb": f"xhci_pci xhci_pci_renesas xhci_plat_hcd ehci_pci ehci_platform ohci_pci uhci_hcd usb_storage uas {_DISK}",
    "mmc": "sdhci_pci sdhci_acpi rtsx_pci_sdmmc rtsx_usb_sdmmc mmc_block",
    "keyboard": (
        "i8042 atkbd usbhid hid_generic hid_apple hid_cherry hid_logitech hid_logitech_dj hid_logitech_hidpp hid_lenovo "
        "hid_microsoft i2c_hid_acpi i2c_hid_of intel_lpss_pci surface_hid surface_kbd hyperv_keyboard xhci_pci ehci_pci "
        "ohci_pci uhci_hcd"
    ),
}
_TABLE["storage"] = " ".join(words for group, words in _TABLE.items() if group != "keyboard")
_TABLE["storage"] += " efivarfs"  # root=auto asks the firmware which disk was booted from
assert set(_TABLE) == set(GROUPS)


def wishes(groups: tuple[str, ...]) -> dict[str, str]:
    """The modules of some groups, each with the reason why it is put in."""
    return {name: f"driver group {group}" for group in groups for name in _TABLE[group].split()}
