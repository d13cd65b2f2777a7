# SPDX-License-Identifier: MIT
"""Finding the root: the block devices that are there, then the kernel's uevents, until one answers to the reference.

The monitor is started before the first look, so that nothing slips between. Content is probed with libblkid, since no udevd
fills in ID_FS_*, and only where it could answer: a probe costs more than all else that is done for a disk. Two devices
that answer to one reference are an error: refuses to guess.
"""

import os
import time

from rootfall import hardware
from rootfall.console import DEBUG, Log, say, status_line
from rootfall.errors import DeviceError
from rootfall.linux import blkid
from rootfall.model import DeviceRef
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.linux.udev import Monitor
    from rootfall.modules import Loader
    from rootfall.progress import Watch, Work

_BY = {"by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL"}
_PULSE = 1.0  # seconds between two looks at the clock while nothing happens
_QUIET = 2.0  # seconds without an event after which it is asked whether anything can still come
_MOST_LIMITS = 10  # a device that comes and goes for ever extends the limit up to so many times it
_BATCH = 256  # uevents that are taken between two looks at the clock
_FLAPPING = "in which devices kept coming and going"
_STUCK = 120.0  # seconds after which a module that is being loaded, or an array that does not move, is no progress
_RAM_AND_FLOPPY = (1, 2)  # majors (Documentation/admin-guide/devices.txt): never a root that has to be looked for

_GLANCED, _LISTED, _READ = 0, 1, 2  # what is known of a device: the kernel's word, its partition entry, its content
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
        known = " ".join(filter(None, (what or self.tags.get("PTTYPE", ""), self.fault)))
        return f"{self.node} {_human(self.size)} {known or 'nothing known on it'}"


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
        return ref.value in (device.node, device.tags.get("LINK"))
    if ref.kind == "DEVNUM":
        return device.devnum == ref.value
    value = device.tags.get(ref.kind, "")
    if ref.kind in ("UUID", "PARTUUID"):
        return value.lower() == ref.value.lower() != ""
    return value == ref.value != ""


def glance(device: "Any") -> BlockDevice | None:
    """A pyudev.Device as BlockDevice with the tags that the kernel tells; its content is not read.

    None for what cannot hold a root: no medium, no node, RAM disks, floppies.
    """
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
    told = device.properties
    names = (("PARTN", "PARTN"), ("PARTNAME", "PARTLABEL"), ("PARTUUID", "PARTUUID"))  # PARTUUID: from Linux 6.10 on
    tags = {tag: value for name, tag in names if (value := told.get(name))}
    return BlockDevice(node, f"{os.major(number)}:{os.minor(number)}", size, tags)


def read(device: BlockDevice, superblocks: bool = True) -> BlockDevice:
    """The device with libblkid's tags over the kernel's; without `superblocks` those of its partition entry alone."""
    try:
        return device._replace(tags=device.tags | blkid.probe(device.node, superblocks), fault="")
    except OSError as error:
        return device._replace(fault=f"cannot be read: {error.strerror}")


class Search:
    """The search for one device: what was seen so far is kept for the report."""

    def __init__(
        self,
        monitor: "Monitor",
        ref: DeviceRef,
        loader: "Loader | None" = None,
        by_hardware: bool = False,
        udevd: bool = False,
    ) -> None:
        """`monitor` has been receiving since before this moment.

        While `loader` loads modules, more may come; with `by_hardware` it also loads what drives the hardware that appears.
        With `udevd` a path means what the link there points to; without, what udevd would have made of it is computed.
        """
        self.ref = ref if udevd else normalize(ref)
        self._udevd = udevd
        self.seen: dict[str, BlockDevice] = {}
        # A link that only udevd makes, or device-mapper: what udevd would make is computed from sysfs.
        self._linked = not udevd and ref.kind == "PATH" and ref.value.startswith(("/dev/disk/", "/dev/mapper/"))
        self._known: dict[str, int] = {}
        self._paths: dict[str, str] = {}  # in sysfs, by node
        self._esp: str | None = (
            None  # of "auto": the PARTUUID of the EFI system partition that was booted from; "": unknown
        )
        self._monitor, self._loader, self._by_hardware = monitor, loader, by_hardware
        self._watch: Watch | None = None
        self._events = self._said = 0
        self._question = ""
        self.recent: list[Any] = []  # the last uevents, for the report

    def present(self) -> BlockDevice | None:
        """Coldplug: look at the hardware and the block devices that are there now."""
        if self._loader is not None and self._by_hardware:
            for modalias in hardware.modaliases(self._loader.index.patterns.buses):
                self._loader.offer(modalias)
            self._loader.load_cheapest()
        for device in self._monitor.present():
            self._look_at(device)
        return self._answer()

    def wait(self, timeout: float | None, log: Log) -> BlockDevice:
        """Look at each device that appears or changes until one answers.

        `timeout` seconds (None: for ever) count from the last progress: an event, a module that came in or is being loaded,
        an array that is being synchronized; ten times that is the most. While somebody is asked for something no time
        counts. With a timeout it ends early when nothing can come any more. Raises DeviceError with what was seen.
        """
        began = first = changed = progress = looked = time.monotonic()
        pulse = _PULSE if timeout is None else min(_PULSE, timeout)
        state: tuple[int, int] = (-1, 0)
        work: Work | None = None
        while (found := self._answer()) is None:
            now = time.monotonic()
            loaded = self._loader.finished if self._loader else 0
            if state != (self._events, loaded):
                state, changed, progress = (self._events, loaded), now, now
            elif self._loader and self._loader.pending and now - changed < _STUCK:
                progress = now
            if now - looked >= pulse:
                looked, before, work = now, work, self._work(now)
                if work.asked or (before and before.asked):
                    first = progress = now
                elif work.syncs:
                    progress = now
            if timeout is not None:
                self._check(timeout, now - began, now - first, now - progress, work)
            self._say(log, began, now, timeout, work)
            self._take(pulse)
        self._end_of_line()
        return found

    def confirm(self) -> None:
        """Look at what has come since the device was found. Raises DeviceError when one more answers to its name."""
        if self.ref.kind not in ("PATH", "DEVNUM", "AUTO"):
            self._drain()
            self._answer()

    def _check(self, timeout: float, waited: float, counted: float, idle: float, work: "Work | None") -> None:
        """Raise DeviceError when the time is up, or nothing can come any more."""
        if idle >= timeout:
            raise self._not_found(f"{self.ref} in {waited:.0f} s")
        if counted >= _MOST_LIMITS * timeout:
            what = f"in which there was no end of {work}" if work and work.syncs else _FLAPPING
            raise self._not_found(f"{self.ref} in {waited:.0f} s, {what}")
        if idle >= _QUIET and not self._anything_to_come():
            raise self._not_found(f"{self.ref}: no driver is being loaded and no bus can bring a disk any more")

    def _work(self, now: float) -> "Work":
        """What goes on without a uevent. A boot that finds its root within a second does without the module."""
        if self._watch is None:
            from rootfall import progress

            self._watch = progress.Watch(_STUCK)
        return self._watch.look(now)

    def _anything_to_come(self) -> bool:
        return bool((self._loader and self._loader.pending) or hardware.sources())

    def _take(self, seconds: float) -> None:
        """Take all uevents that there are; when there is none, load the next driver, and wait for what comes of it."""
        before = self._events
        self._drain()
        if self._events == before:
            if self._loader is not None:
                self._loader.load_cheapest()
            self._monitor.wait(seconds, (self._loader.wake_fd,) if self._loader else ())

    def _drain(self) -> None:
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

    def _handle(self, device: "Any") -> None:
        """One uevent: hardware that wants a driver, a block device that came, changed or went."""
        self.recent = [*self.recent[-7:], device]
        if device.subsystem == "block":
            if device.action == "remove":
                self.seen.pop(device.device_node, None)
                self._paths.pop(device.device_node, None)
            else:
                self._look_at(device)
        elif self._loader is not None and self._by_hardware and device.action == "add":
            modalias = device.properties.get("MODALIAS")
            if modalias:
                self._loader.offer(modalias)

    def _say(self, log: Log, began: float, now: float, timeout: float | None, work: "Work | None") -> None:
        """What is being waited for and since when: once in the log, then once a second on one line of the console."""
        waited = int(now - began)
        if waited < 1 or waited == self._said:
            return
        if not self._said:
            log.line(DEBUG, f"device: wait for {self.ref}: not there yet")
        self._said = waited
        if work and work.asked:
            self._say_question(work.asked)
            return
        self._question = ""
        limit = "for ever" if timeout is None else f"up to {timeout:g} s after the last event"
        loading = f", loading {' '.join(self._loader.pending)}" if self._loader and self._loader.pending else ""
        text = f"waiting for {self.ref}: {waited} s, {limit}; block devices: {len(self.seen)}{loading}"
        if work and work.syncs:  # the line is cut where it is too long
            text = f"{work}, {waited} s, waiting for {self.ref}"
        status_line(f"rootfall: {text}")

    def _say_question(self, question: str) -> None:
        """On a line of its own, and once: whoever types an answer there is not written over each second."""
        if question != self._question:
            say("", f"rootfall: somebody is asked: {question}; the wait for {self.ref} goes on after it")
            self._question = question

    def _end_of_line(self) -> None:
        if self._said and not self._question:
            status_line("")

    def _look_at(self, device: "Any") -> None:
        found = glance(device)
        if found is not None:
            if self._linked:
                from rootfall import block_links

                if self.ref.value in block_links.links(device.sys_path):
                    found.tags["LINK"] = self.ref.value
            self.seen[found.node], self._known[found.node] = found, _GLANCED
            self._paths[found.node] = device.sys_path

    def read_all(self) -> None:
        """Read the content of all devices: for a report, when the search has failed."""
        for node in self.seen:
            self._read(node, _READ)

    def _read(self, node: str, level: int) -> BlockDevice:
        if self._known.get(node, _READ) < level:
            self.seen[node], self._known[node] = read(self.seen[node], level == _READ), level
        return self.seen[node]

    def _answer(self) -> BlockDevice | None:
        kind = self.ref.kind
        if kind == "AUTO":
            return self._discover()
        divided = {os.path.dirname(self._paths[node]) for node, each in self.seen.items() if "PARTN" in each.tags}
        level = _LISTED if kind == "PARTUUID" else _READ
        ref, found = self._followed(), []
        for node, device in list(self.seen.items()):
            if self._may_answer(ref, device, divided) and matches(ref, self._read(node, level)):
                found.append(node)
        if len(found) > 1:
            names = " and ".join(found)
            hint = "give one of them another, or name the root by PARTUUID= or by its path"
            raise DeviceError("choose the root device", str(self.ref), seen=f"it is on {names}", hint=hint)
        node = self._offset(found[0]) if found and self.ref.partnroff else found[0] if found else ""
        return self._read(node, _READ) if node else None

    def _discover(self) -> BlockDevice | None:
        """The root by the Discoverable Partitions Specification, once every driver for what is there is in."""
        from rootfall import dps

        if self._esp is None:
            self._esp = dps.active_esp(self._loader)
        partitions = [node for node, device in self.seen.items() if "PARTN" in device.tags]
        candidates = [dps.Candidate(node, self._read(node, _LISTED).tags, self._paths[node]) for node in partitions]
        chosen = dps.choose(candidates, self._esp)
        # Without a word from the boot loader the only disk with a root is meant: no other may be on its way.
        settled = self._esp or self._loader is None or not (self._loader.pending or self._loader.offered)
        return self._read(chosen, _READ) if chosen and settled else None

    def read_only(self, device: BlockDevice) -> bool:
        """Whether a root that was found by its type asks, by the attributes of its partition, not to be written to."""
        if self.ref.kind != "AUTO":
            return False
        from rootfall import dps

        return dps.is_read_only(device.tags)

    def _followed(self) -> DeviceRef:
        """The reference, or what udevd's link of that name points to now: of several devices udevd has chosen one."""
        if self._udevd and self.ref.kind == "PATH":
            return self.ref._replace(value=os.path.realpath(self.ref.value))
        return self.ref

    def _may_answer(self, ref: DeviceRef, device: BlockDevice, divided: set[str]) -> bool:
        """Whether the device is worth a look at what is on it, by what the kernel tells of it."""
        kind, value, told = ref.kind, ref.value, device.tags
        if kind in ("PATH", "DEVNUM"):
            return matches(ref, device)
        if kind == "PARTUUID":
            return "PARTN" in told and told.get(kind, value).lower() == value.lower()
        if kind == "PARTLABEL":  # of other letters than ASCII the kernel tells the low byte
            return kind in told and (told[kind] == value or not value.isascii())
        return "PARTN" in told or self._paths[device.node] not in divided

    def _offset(self, base: str) -> str:
        """PARTNROFF: the partition that is so many numbers further on the same disk, or "" while it is not there."""
        disk = os.path.dirname(self._paths[base])
        wanted = str(int(self.seen[base].tags.get("PARTN", "0")) + self.ref.partnroff)
        for node, device in self.seen.items():
            if os.path.dirname(self._paths[node]) == disk and device.tags.get("PARTN") == wanted:
                return node
        return ""

    def _not_found(self, what: str) -> DeviceError:
        self._end_of_line()
        from rootfall import near_miss

        self.read_all()
        seen = "; ".join(map(str, self.seen.values())) or "no block device at all"
        near = next(near_miss.sentences(self.ref, self.seen.values()), "")
        hint = near or "check root= (or boot.root.device) against `blkid` on the running system"
        if not self.seen:
            hint = "no driver of the image drives a disk here: add the disk's driver to image.modules"
        return DeviceError("find the root device", what, seen=seen, hint=hint)
