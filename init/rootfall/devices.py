# SPDX-License-Identifier: MIT
"""Finding the root: the block devices that are there, then the kernel's uevents, until one answers to the reference.

The monitor is started before the first look, so that nothing slips between. Content is probed with libblkid, since no udevd
fills in ID_FS_*. Two devices that answer to one reference are an error: refuses to guess.
"""

import os
import time

from rootfall import hardware
from rootfall.console import DEBUG, Log, status_line
from rootfall.errors import DeviceError
from rootfall.linux import blkid
from rootfall.model import DeviceRef
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.linux.udev import Monitor
    from rootfall.modules import Loader

_BY = {"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}
_PULSE = 1.0  # seconds between two looks at the clock while nothing happens
_QUIET = 2.0  # seconds without an event after which it is asked whether anything can still come
_MOST_LIMITS = 10  # a device that comes and goes for ever extends the limit up to so many times it
_BATCH = 256  # uevents that are taken between two looks at the clock
_RAM_AND_FLOPPY = (1, 2)  # majors (Documentation/admin-guide/devices.txt): never a root that has to be looked for

_ENOBUFS = 105


class BlockDevice(NamedTuple):
    """A block device: its node, "major:minor", size in bytes, and libblkid's tags (empty: nothing known on it)."""

    node: str
    devnum: str
    size: int
    tags: dict[str, str]
    fault: str = ""

    def __str__(self) -> str:
        """As the report prints it: node, size, what is on it."""
        what = " ".join(
            f"{key}={self.tags[key]}" for key in ("TYPE", "UUID", "LABEL", "PARTUUID", "PARTLABEL") if key in self.tags
        )
        return f"{self.node} {_human(self.size)} {what or self.tags.get('PTTYPE', '') or self.fault or 'nothing known on it'}"


def _human(size: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 10240:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} TiB"


def normalize(ref: DeviceRef) -> DeviceRef:
    """/dev/disk/by-uuid/X is UUID=X: those links are udevd's. Escapes of the links' names are undone."""
    directory, _, name = ref.value.rpartition("/")
    if ref.kind == "PATH" and directory.startswith("/dev/disk/") and directory[10:] in _BY:
        try:
            return DeviceRef(_BY[directory[10:]], _unescape(name), ref.partnroff)
        except ValueError:
            return ref  # no link that udevd would make
    return ref


def _unescape(name: str) -> str:
    """udevd writes what a file name should not hold as \\xNN."""
    plain, rest = b"", os.fsencode(name)
    while b"\\x" in rest:
        head, _, rest = rest.partition(b"\\x")
        plain, rest = plain + head + bytes([int(rest[:2], 16)]), rest[2:]
    return os.fsdecode(plain + rest)


def matches(ref: DeviceRef, device: BlockDevice) -> bool:
    """Whether the device answers to the reference. Of two copies of an UUID in hexadecimal, case does not matter."""
    if ref.kind == "PATH":
        return device.node == ref.value
    if ref.kind == "DEVNUM":
        return device.devnum == ref.value
    value = device.tags.get(ref.kind, "")
    if ref.kind in ("UUID", "PARTUUID"):
        return value.lower() == ref.value.lower() != ""
    return value == ref.value != ""


def examine(device: "Any") -> BlockDevice | None:
    """A pyudev.Device as BlockDevice, probed; None for what cannot hold a root (no medium, no node, RAM disks, floppies)."""
    node, number = device.device_node, device.device_number
    if not node or os.major(number) in _RAM_AND_FLOPPY:
        return None
    try:
        with open(f"{device.sys_path}/size") as file:
            size = int(file.read()) * 512
    except (OSError, ValueError):
        return None
    if size == 0:
        return None
    devnum = f"{os.major(number)}:{os.minor(number)}"
    try:
        return BlockDevice(node, devnum, size, blkid.probe(node))
    except OSError as error:
        return BlockDevice(node, devnum, size, {}, f"cannot be read: {error.strerror}")


class Search:
    """The search for one device: what was seen so far is kept for the report."""

    def __init__(self, monitor: "Monitor", ref: DeviceRef, loader: "Loader | None" = None) -> None:
        """`monitor` has been receiving since before this moment; `loader` drives what appears, where that is wanted."""
        self.ref = normalize(ref)
        self.seen: dict[str, BlockDevice] = {}
        self._monitor, self._loader = monitor, loader
        self._events = self._said = 0
        self.recent: list[Any] = []  # the last uevents, for the report

    def present(self) -> BlockDevice | None:
        """Coldplug: look at the hardware and the block devices that are there now."""
        if self._loader is not None:
            for modalias in hardware.modaliases(self._loader.index.patterns.buses):
                self._loader.offer(modalias)
            self._loader.load_cheapest()
        for device in self._monitor.present():
            self._look_at(device)
        return self._answer()

    def wait(self, timeout: float | None, log: Log) -> BlockDevice:
        """Look at each device that appears or changes until one answers.

        `timeout` seconds (None: for ever) count from the last progress: an event, or a module that came in; ten times that
        is the most. Ends early when nothing can come any more. Raises DeviceError with what was seen.
        """
        began = progress = time.monotonic()
        state: tuple[int, int] = (-1, 0)
        while (found := self._answer()) is None:
            now = time.monotonic()
            loaded = self._loader.finished if self._loader else 0
            if state != (self._events, loaded):
                state, progress = (self._events, loaded), now
            if timeout is not None and now - progress >= timeout:
                raise self._not_found(f"{self.ref} in {now - began:.0f} s")
            if timeout is not None and now - began >= _MOST_LIMITS * timeout:
                raise self._not_found(f"{self.ref} in {now - began:.0f} s, in which devices kept coming and going")
            if now - progress >= _QUIET and not self._anything_to_come():
                raise self._not_found(f"{self.ref}: no driver is being loaded and no bus can bring a disk any more")
            self._say(log, began, now, timeout)
            self._take(_PULSE if timeout is None else min(_PULSE, timeout))
        self._end_of_line()
        return found

    def _anything_to_come(self) -> bool:
        return bool((self._loader and self._loader.pending) or hardware.sources())

    def _take(self, seconds: float) -> None:
        """Take all uevents that there are; when there is none, load the next driver, and wait for what comes of it."""
        before = self._events
        try:
            while self._events - before < _BATCH and (device := self._monitor.poll(0)) is not None:
                self._events += 1
                self._handle(device)
        except OSError as error:
            if error.errno != _ENOBUFS:
                raise
            self._events += 1  # more uevents than the socket holds: some were lost (netlink(7)), so look at everything
            self.present()
        if self._events == before:
            if self._loader is not None:
                self._loader.load_cheapest()
            self._monitor.wait(seconds, (self._loader.wake_fd,) if self._loader else ())

    def _handle(self, device: "Any") -> None:
        """One uevent: hardware that wants a driver, a block device that came, changed or went."""
        self.recent = [*self.recent[-7:], device]
        if device.subsystem == "block":
            if device.action == "remove":
                self.seen.pop(device.device_node, None)
            else:
                self._look_at(device)
        elif self._loader is not None and device.action == "add" and (modalias := device.properties.get("MODALIAS")):
            self._loader.offer(modalias)

    def _say(self, log: Log, began: float, now: float, timeout: float | None) -> None:
        """What is being waited for and since when: once in the log, then once a second on one line of the console."""
        waited = int(now - began)
        if waited < 1 or waited == self._said:
            return
        if not self._said:
            log.line(DEBUG, f"device: wait for {self.ref}: not there yet")
        self._said = waited
        limit = "for ever" if timeout is None else f"up to {timeout:g} s after the last event"
        loading = f", loading {' '.join(self._loader.pending)}" if self._loader and self._loader.pending else ""
        text = f"rootfall: waiting for {self.ref}: {waited} s, {limit}; block devices: {len(self.seen)}{loading}"
        status_line(text)

    def _end_of_line(self) -> None:
        if self._said:
            status_line("")

    def _look_at(self, device: "Any") -> None:
        found = examine(device)
        if found is not None:
            self.seen[found.node] = found

    def _answer(self) -> BlockDevice | None:
        found = [device for device in self.seen.values() if matches(self.ref, device)]
        if len(found) > 1:
            names = " and ".join(device.node for device in found)
            hint = "give one of them another, or name the root by PARTUUID= or by its path"
            raise DeviceError("choose the root device", str(self.ref), seen=f"it is on {names}", hint=hint)
        return self._offset(found[0]) if found and self.ref.partnroff else found[0] if found else None

    def _offset(self, base: BlockDevice) -> BlockDevice | None:
        """PARTNROFF: the partition that is so many numbers further on the same disk."""
        disk = os.path.dirname(os.path.realpath(f"/sys/dev/block/{base.devnum}"))
        wanted = str(int(base.tags.get("PARTN", "0")) + self.ref.partnroff)
        for device in self.seen.values():
            same = os.path.dirname(os.path.realpath(f"/sys/dev/block/{device.devnum}")) == disk
            if same and device.tags.get("PARTN") == wanted:
                return device
        return None

    def _not_found(self, what: str) -> DeviceError:
        self._end_of_line()
        from rootfall import near_miss

        seen = "; ".join(map(str, self.seen.values())) or "no block device at all"
        near = next(near_miss.sentences(self.ref, self.seen.values()), "")
        hint = near or "check root= (or boot.root.device) against `blkid` on the running system"
        if not self.seen:
            hint = "no driver of the image drives a disk here: add the disk's driver to image.modules"
        return DeviceError("find the root device", what, seen=seen, hint=hint)
