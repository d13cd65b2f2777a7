# SPDX-License-Identifier: MIT
"""/dev/mapper/flawed: the first partition of the first disk, of which some sectors cannot be read (device-mapper's ioctls).

`flaw=TARGET,SECTOR,COUNT` on the kernel command line: TARGET is `error`, or `flakey` that is always down (the kernel's
Documentation/admin-guide/device-mapper/dm-flakey.rst). struct dm_ioctl and dm_target_spec are those of <linux/dm-ioctl.h>.
"""

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.hook import Image
    from rootfall.steps import Boot

DOES = "make a disk with flaws"
NAME, PART = b"flawed", "vda1"
HEADER, CREATE, RESUME, LOAD = 312, 3, 6, 9


def install(image: "Image") -> None:
    """The drivers."""
    image.add_modules("dm_mod", "dm_flakey")


def perform(options: "Any", boot: "Boot") -> str:
    """Make it, load its table, let it go."""
    assert boot.loader
    boot.loader.request(("dm_mod", "dm_flakey"))
    boot.loader.wait_for(boot.loader.pending, 60.0)
    with open("/proc/cmdline") as file:
        kind, first, count = next(word for word in file.read().split() if word.startswith("flaw="))[5:].split(",")
    with open(f"/sys/class/block/{PART}/size") as size, open(f"/sys/class/block/{PART}/dev") as dev:
        lines = table(kind, int(first), int(count), int(size.read()), dev.read().strip())
    control = os.open("/dev/mapper/control", os.O_RDWR)
    ioctl(control, CREATE)
    ioctl(control, LOAD, [spec(*line) for line in lines])
    ioctl(control, RESUME)
    os.close(control)
    return f"{kind} for {count} sectors from {first}"


def table(kind: str, first: int, count: int, size: int, dev: str) -> list[tuple[int, int, str, str]]:
    """Start, length, target and its parameters: the partition, but for what is between."""
    end = first + count
    flaw = f"{dev} {first} 0 600" if kind == "flakey" else ""
    lines = [(0, first, "linear", f"{dev} 0"), (first, count, kind, flaw), (end, size - end, "linear", f"{dev} {end}")]
    return [line for line in lines if line[1]]


def spec(start: int, length: int, target: str, parameters: str) -> bytes:
    """A struct dm_target_spec and its string, up to the next."""
    text = parameters.encode() + b"\0"
    text += bytes(-len(text) % 8)
    fields = ((start, 8), (length, 8), (0, 4), (40 + len(text), 4))
    return b"".join(each.to_bytes(width, "little") for each, width in fields) + target.encode().ljust(16, b"\0") + text


def ioctl(control: int, command: int, specs: "list[bytes] | None" = None) -> None:
    """One request for the device NAME."""
    data = b"".join(specs or ())
    words = (4, 0, 0, HEADER + len(data), HEADER, len(specs or ()), 0, 0, 0, 0, 0, 0)
    head = b"".join(each.to_bytes(4, "little") for each in words) + NAME
    buffer = ctypes.create_string_buffer(head.ljust(HEADER, b"\0") + data)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ioctl(control, ctypes.c_ulong(3 << 30 | HEADER << 16 | 0xFD << 8 | command), buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"device-mapper request {command}")
