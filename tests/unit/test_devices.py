# SPDX-License-Identifier: MIT
"""Which device answers to a reference, and the search through what is there and what the kernel announces."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import console, devices, hardware
from rootfall.devices import BlockDevice, Search
from rootfall.errors import DeviceError
from rootfall.model import DeviceRef

UUID = "0a1b2c3d-1111-2222-3333-444455556666"


def disk(node: str, devnum: str = "8:0", **tags: str) -> BlockDevice:
    return BlockDevice(node, devnum, 1 << 30, tags)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (DeviceRef("PATH", f"/dev/disk/by-uuid/{UUID}"), DeviceRef("UUID", UUID)),
        (DeviceRef("PATH", "/dev/disk/by-label/my\\x20disk\\x2f1"), DeviceRef("LABEL", "my disk/1")),
        (DeviceRef("PATH", "/dev/disk/by-label/\\xc3\\xa9"), DeviceRef("LABEL", "é")),
        (DeviceRef("PATH", "/dev/disk/by-partlabel/caf\\xff"), DeviceRef("PARTLABEL", "caf\udcff")),
        (DeviceRef("PATH", "/dev/disk/by-label/a\\xzz"), DeviceRef("PATH", "/dev/disk/by-label/a\\xzz")),
        (DeviceRef("PATH", "/dev/disk/by-id/usb-1"), DeviceRef("PATH", "/dev/disk/by-id/usb-1")),
        (DeviceRef("LABEL", "/dev/disk/by-uuid/x"), DeviceRef("LABEL", "/dev/disk/by-uuid/x")),
        (DeviceRef("PATH", "/dev/sda1"), DeviceRef("PATH", "/dev/sda1")),
    ],
)
def test_links_that_udevd_would_make_are_their_tags(ref: DeviceRef, expected: DeviceRef) -> None:
    assert devices.normalize(ref) == expected


@given(
    st.sampled_from(["by-uuid", "by-label", "by-path"]), st.text(st.characters(codec=None, exclude_characters="/\0"))
)
def test_any_link_can_be_read(directory: str, name: str) -> None:
    devices.normalize(DeviceRef("PATH", f"/dev/disk/{directory}/{name.encode(errors='replace').decode()}"))


@pytest.mark.parametrize(
    ("ref", "device", "answers"),
    [
        (DeviceRef("PATH", "/dev/sda"), disk("/dev/sda"), True),
        (DeviceRef("PATH", "/dev/sda"), disk("/dev/sda1"), False),
        (DeviceRef("DEVNUM", "8:1"), disk("/dev/x", "8:1"), True),
        (DeviceRef("DEVNUM", "8:1"), disk("/dev/x", "8:10"), False),
        (DeviceRef("UUID", UUID), disk("/dev/x", UUID=UUID.upper()), True),
        (DeviceRef("UUID", UUID), disk("/dev/x", PARTUUID=UUID), False),
        (DeviceRef("UUID", ""), disk("/dev/x"), False),
        (DeviceRef("LABEL", "Root"), disk("/dev/x", LABEL="root"), False),
        (DeviceRef("LABEL", ""), disk("/dev/x", LABEL=""), False),
        (DeviceRef("PARTLABEL", "root"), disk("/dev/x", PARTLABEL="root"), True),
        (DeviceRef("PARTUUID", "ABCDEF01-02"), disk("/dev/x", PARTUUID="abcdef01-02"), True),
    ],
)
def test_a_device_answers_to_a_reference(ref: DeviceRef, device: BlockDevice, answers: bool) -> None:
    assert devices.matches(ref, device) is answers


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (BlockDevice("/dev/a", "8:0", 512, {}), "/dev/a 512 B nothing known on it"),
        (BlockDevice("/dev/a", "8:0", 20 << 20, {"TYPE": "ext4", "UUID": "u"}), "/dev/a 20 MiB TYPE=ext4 UUID=u"),
        (BlockDevice("/dev/a", "8:0", 20 << 30, {"PTTYPE": "gpt"}), "/dev/a 20 GiB gpt"),
        (BlockDevice("/dev/a", "8:0", 20 << 40, {}, "cannot be read: EIO"), "/dev/a 20 TiB cannot be read: EIO"),
        (BlockDevice("/dev/a", "8:0", 512, {"PARTLABEL": "p"}, "bad"), "/dev/a 512 B PARTLABEL=p bad"),
    ],
)
def test_a_device_is_printed_for_the_report(device: BlockDevice, text: str) -> None:
    assert str(device) == text


class Silent(console.Log):
    def __init__(self) -> None:
        self._fd = -1


class Uevent(NamedTuple):
    """What a search needs of a pyudev.Device."""

    device_node: str
    found: BlockDevice | None
    action: str = "add"
    subsystem: str = "block"
    sys_path: str = ""


class Script:
    """A monitor that plays a script: devices that are there, then uevents (None: the time is up, an error: raised)."""

    def __init__(self, there: list[Uevent], events: list[Uevent | OSError | None]) -> None:
        self.there, self.events, self.looks = there, events, 0

    def present(self) -> Iterator[Uevent]:
        self.looks += 1
        return iter(self.there)

    def wait(self, timeout: float, others: object = ()) -> None:
        """Nothing to wait for: the script goes on."""

    def poll(self, timeout: float | None) -> Uevent | None:
        if not self.events:
            return None
        event = self.events.pop(0)
        if isinstance(event, OSError):
            raise event
        return event


TOLD = ("PARTN", "PARTUUID", "PARTLABEL")
read: list[str] = []


def _glance(event: Uevent) -> BlockDevice | None:
    found = event.found
    return found and found._replace(tags={tag: value for tag, value in found.tags.items() if tag in TOLD})


@pytest.fixture(autouse=True)
def _content(monkeypatch: pytest.MonkeyPatch) -> None:
    read.clear()

    def probe(device: BlockDevice, superblocks: bool = True) -> BlockDevice:
        read.append(f"{device.node}{'' if superblocks else ' entry'}")
        tags = CONTENT[device.node].tags
        return device._replace(tags=tags if superblocks else {tag: tags[tag] for tag in tags if tag.startswith("PART")})

    monkeypatch.setattr(devices, "glance", _glance)
    monkeypatch.setattr(devices, "read", probe)
    monkeypatch.setattr(hardware, "sources", lambda: ("a slot",))
    monkeypatch.setattr(devices, "status_line", lambda text: None)


def search(ref: DeviceRef, there: list[Uevent], *events: Uevent | OSError | None) -> Search:
    return Search(Script(there, list(events)), ref)  # type: ignore[arg-type]


CONTENT: dict[str, BlockDevice] = {}


def event(found: BlockDevice, action: str = "add", parent: str = "") -> Uevent:
    """What the kernel announces; the content is there to be read."""
    CONTENT[found.node] = found
    return Uevent(found.node, found, action, sys_path=f"/sys/devices/{parent}/{found.node.rpartition('/')[2]}")


WANTED = disk("/dev/vdb", UUID=UUID, TYPE="ext4")
OTHER = disk("/dev/vda", "8:16", UUID="f" + UUID[1:], LABEL="other")


def test_a_device_that_is_there_is_found_without_waiting() -> None:
    assert search(DeviceRef("UUID", UUID), [event(OTHER), event(WANTED)]).present() == WANTED


def test_a_device_that_appears_is_found() -> None:
    found = search(DeviceRef("UUID", UUID), [event(OTHER)], event(OTHER, "change"), None, event(WANTED))
    assert found.present() is None
    assert found.wait(None, Silent()) == WANTED


def test_a_device_that_went_away_does_not_count() -> None:
    twin = disk("/dev/vdc", "8:32", UUID=UUID)
    found = search(
        DeviceRef("LABEL", "late"),
        [event(WANTED), event(twin)],
        event(twin, "remove"),
        event(disk("/dev/s", LABEL="late")),
    )
    found.present()
    found.wait(None, Silent())
    assert set(found.seen) == {"/dev/vdb", "/dev/s"}


def test_two_devices_of_one_name_are_never_guessed_between() -> None:
    found = search(DeviceRef("UUID", UUID), [event(WANTED), event(disk("/dev/vdc", UUID=UUID))])
    with pytest.raises(DeviceError, match="/dev/vdb and /dev/vdc"):
        found.present()


def test_lost_uevents_are_made_up_for_by_a_second_look() -> None:
    found = search(DeviceRef("UUID", UUID), [event(WANTED)], OSError(105, "No buffer space available"))
    assert found.wait(None, Silent()) == WANTED
    with pytest.raises(OSError, match="broken"):
        search(DeviceRef("UUID", UUID), [], OSError(5, "broken")).wait(None, Silent())


def test_where_nothing_can_come_any_more_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "sources", lambda: ())
    monkeypatch.setattr(devices, "_QUIET", 0.0)
    with pytest.raises(DeviceError, match="no bus can bring a disk"):
        search(DeviceRef("UUID", UUID), [event(OTHER)], None, event(OTHER, "change")).wait(30, Silent())


@pytest.mark.parametrize(
    ("ref", "there", "words"),
    [
        (DeviceRef("UUID", UUID), [], "no driver of the image drives a disk"),
        (DeviceRef("UUID", UUID), [OTHER], "/dev/vda has UUID=f"),
        (DeviceRef("UUID", "other"), [OTHER], "did you mean root=LABEL=other"),
        (DeviceRef("LABEL", "nothing-like-it"), [OTHER], "blkid"),
    ],
)
def test_a_search_in_vain_says_what_was_seen_and_what_is_near(
    ref: DeviceRef, there: list[BlockDevice], words: str
) -> None:
    found = search(ref, [event(each) for each in there])
    found.present()
    with pytest.raises(DeviceError) as caught:
        found.wait(0, Silent())
    assert words in str(caught.value)
    assert caught.value.seen == ("; ".join(map(str, there)) or "no block device at all")


class Flapping(Script):
    """A monitor on which one device comes and goes for ever, on a clock that counts the looks at it."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.taken = 0

    def poll(self, timeout: float | None) -> Uevent:
        self.taken += 1
        return event(OTHER, "add" if self.taken % 2 else "remove")


def test_a_device_that_comes_and_goes_for_ever_does_not_make_the_boot_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    with pytest.raises(DeviceError) as caught:
        Search(Flapping(), DeviceRef("UUID", UUID)).wait(3.0, Silent())  # type: ignore[arg-type]
    assert caught.value.subject == f"UUID={UUID} in 30 s, in which devices kept coming and going"


def test_rootwait_waits_even_where_nothing_seems_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "sources", lambda: ())
    monkeypatch.setattr(devices, "_QUIET", 0.0)
    assert search(DeviceRef("UUID", UUID), [event(OTHER)], None, None, event(WANTED)).wait(None, Silent()) == WANTED


def partition(node: str, number: int, **tags: str) -> BlockDevice:
    return disk(node, f"8:{number}", PARTN=str(number), **tags)


DISK = disk("/dev/sda", PTTYPE="gpt")
FIRST = partition("/dev/sda1", 1, PARTUUID="11111111-01", PARTLABEL="boot", UUID="f" + UUID[1:])
SECOND = partition("/dev/sda2", 2, PARTUUID="11111111-02", PARTLABEL="wurzel \xe4", UUID=UUID, LABEL="root")
IDLE = disk("/dev/sdb", "8:16")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (DeviceRef("PATH", "/dev/sda2"), ["/dev/sda2"]),
        (DeviceRef("DEVNUM", "8:2"), ["/dev/sda2"]),
        (DeviceRef("PARTUUID", "11111111-02"), ["/dev/sda2 entry", "/dev/sda2"]),
        (DeviceRef("PARTUUID", "11111111-01", 1), ["/dev/sda1 entry", "/dev/sda2"]),
        (DeviceRef("PARTLABEL", "wurzel \xe4"), ["/dev/sda1", "/dev/sda2"]),
        (DeviceRef("UUID", UUID), ["/dev/sda1", "/dev/sda2", "/dev/sdb"]),
        (DeviceRef("LABEL", "root"), ["/dev/sda1", "/dev/sda2", "/dev/sdb"]),
    ],
)
def test_only_what_could_answer_is_read(ref: DeviceRef, expected: list[str]) -> None:
    there = [event(DISK, parent="d"), event(FIRST, parent="d/sda"), event(SECOND, parent="d/sda"), event(IDLE)]
    assert search(ref, there).present() == SECOND
    assert read == expected


def test_a_kernel_that_does_not_tell_the_partitions_uuids_has_their_entries_read() -> None:
    tags = {tag: value for tag, value in SECOND.tags.items() if tag != "PARTUUID"}
    there = [event(SECOND, parent="d/sda")._replace(found=SECOND._replace(tags=tags)), event(IDLE)]
    assert search(DeviceRef("PARTUUID", "11111111-02"), there).present() == SECOND
    assert read == ["/dev/sda2 entry", "/dev/sda2"]


def test_a_device_that_changed_is_read_again() -> None:
    found = search(DeviceRef("UUID", UUID), [event(IDLE)], event(IDLE, "change"))
    assert found.present() is None
    CONTENT[IDLE.node] = IDLE._replace(tags={"UUID": UUID})
    assert found.wait(None, Silent()).node == IDLE.node
