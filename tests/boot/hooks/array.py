# SPDX-License-Identifier: MIT
"""A raid1 over the first two disks, made through sysfs alone (the kernel's Documentation/admin-guide/md.rst).

It is synchronized at a slow pace; with `array=rests` on the kernel command line it is whole and rests.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.hook import Image
    from rootfall.steps import Boot

DOES = "make a raid1 of two disks"
SIZE = 32 << 10  # KiB; of each disk
PACE = 1024  # KiB a second


def install(image: "Image") -> None:
    """The driver."""
    image.add_modules("raid1")


def perform(options: "Any", boot: "Boot") -> str:
    """Make and start it."""
    assert boot.loader
    boot.loader.request(("raid1",))
    boot.loader.wait_for(boot.loader.pending, 60.0)
    write("/sys/module/md_mod/parameters/new_array", "md0")
    set_up("level", "raid1")
    set_up("raid_disks", "2")
    set_up("component_size", str(SIZE))
    for slot, name in enumerate(("vda", "vdb")):
        with open(f"/sys/block/{name}/dev") as file:
            set_up("new_dev", file.read().strip())
        set_up(f"dev-{name}/slot", str(slot))
    for limit in ("min", "max"):
        write(f"/proc/sys/dev/raid/speed_limit_{limit}", str(PACE))
    with open("/proc/cmdline") as file:
        set_up("resync_start", "none" if "array=rests" in file.read().split() else "0")
    set_up("array_state", "active")
    with open("/sys/block/md0/md/sync_action") as file:
        return f"md0: {file.read().strip()}"


def set_up(attribute: str, value: str) -> None:
    """One attribute of the array."""
    write(f"/sys/block/md0/md/{attribute}", value)


def write(path: str, value: str) -> None:
    """One write(2), as sysfs wants it."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
