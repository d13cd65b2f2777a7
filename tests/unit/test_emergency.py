# SPDX-License-Identifier: MIT
"""The report of a boot that failed: never too wide, never an error of its own, and the cause is in it."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootfall import console, emergency, hardware, plan, steps
from rootfall.devices import BlockDevice, Search
from rootfall.emergency import Stage, report
from rootfall.errors import (
    CommandLineError,
    ConfigError,
    DeviceError,
    ModuleError,
    MountError,
    Problem,
    RootfallError,
    SwitchRootError,
)
from rootfall.linux import libc
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, OnFailure, Root
from rootfall.timeline import Timeline

WIDTH = 76
ANY = st.text(st.characters(codec=None))


class Silent(console.Log):
    def __init__(self) -> None:
        self._fd = -1
        self.lines: list[str] = []

    def line(self, level: int, text: str) -> None:
        self.lines.append(text)


def boot() -> steps.Boot:
    return steps.Boot(Silent(), Timeline())


def stage(device: str = "root", init: str = "/sbin/init") -> Stage:
    found = Stage()
    found.plan = plan.make_plan(Config(1, BootConfig(Root(DeviceRef("LABEL", device)), init), ImageConfig()))
    return found


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "unclaimed", tuple)
    monkeypatch.setattr(emergency, "_kernel_complaints", list)


@settings(max_examples=150, deadline=None)
@given(ANY, ANY, ANY, ANY, ANY, ANY, st.integers(0, 200))
def test_no_line_is_wider_than_the_console_whatever_is_in_it(
    attempted: str, subject: str, seen: str, hint: str, device: str, name: str, errno: int
) -> None:
    this = boot()
    this.loader = type("Loader", (), {"failed": {name: f"failed: {hint}"}})()
    error = DeviceError(attempted, subject, errno=errno, seen=seen, hint=hint)
    for line in report(error, this, stage(device)):
        assert emergency.columns(line) <= WIDTH
        assert all(character.isprintable() for character in line)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=300))
def test_no_printable_character_is_lost_by_the_wrapping(text: str) -> None:
    lines = emergency._wrap("failed    ", text)
    assert "".join(line[10:].strip() for line in lines) == "".join(c if c.isprintable() else "?" for c in text)


def test_words_are_not_broken_where_they_need_not_be() -> None:
    lines = emergency._wrap("failed    ", "word " * 40)
    assert {word for line in lines for word in line[10:].split()} == {"word"}
    assert all(line.startswith(" " * 10) for line in lines[1:])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleError("load modules for kernel", "6.1", seen="the image was built for kernel 6.12"), ["6.1", "6.12"]),
        (
            DeviceError("find the root device", "UUID=x in 3 s", seen="/dev/a 1 B; /dev/b 2 B"),
            ["/dev/a 1 B", "/dev/b 2 B"],
        ),
        (MountError("mount the root", "/dev/x as ext4", errno=22, hint="fsck it"), ["22, Invalid argument", "fsck it"]),
        (SwitchRootError("find an init in the new root", "/sysroot", seen="/sbin/init: no"), ["/sbin/init: no"]),
        (CommandLineError("use the kernel parameter", "root=7", seen="no device", hint="correct root="), ["root=7"]),
        (
            ConfigError("/etc/x.yaml", (Problem(3, 4, "boot.rot", "unknown key"), Problem(9, 1, "", "second"))),
            ["/etc/x.yaml:3:4: boot.rot: unknown key", "/etc/x.yaml:9:1: second"],
        ),
        (FileNotFoundError(2, "No such file or directory", "/proc/cmdline"), ["/proc/cmdline"]),
        (ZeroDivisionError("a bug"), ["internal error: ZeroDivisionError('a bug')"]),
        (SystemExit(3), ["internal error: SystemExit(3)"]),
        (KeyboardInterrupt(), ["internal error: KeyboardInterrupt()"]),
    ],
)
def test_the_cause_is_named_for_every_kind_of_error(error: BaseException, words: list[str]) -> None:
    lines = [" ".join(line.split()) for line in report(error, boot(), stage())]
    for each in words:
        assert any(each in line for line in lines), lines
    assert any("goal root LABEL=root, then /sbin/init" in line for line in lines)


def test_every_class_of_the_tree_has_been_reported() -> None:
    tested = {ModuleError, DeviceError, MountError, SwitchRootError, CommandLineError, ConfigError}
    own = {each for each in RootfallError.__subclasses__() if each.__module__ == "rootfall.errors"}
    assert {each.__name__ for each in own - tested} == {"BuildError"}


def test_an_internal_error_says_where() -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError as error:
        text = "".join(line[10:] for line in report(error, boot(), Stage()))
    assert "test_an_internal_error_says_where" in text


def test_a_module_that_failed_is_in_the_report_of_any_failure() -> None:
    this = boot()
    this.loader = type("Loader", (), {"failed": {"ext4": "failed: Exec format error (errno 8)"}})()
    assert "module    ext4 failed: Exec format error (errno 8)" in report(OSError(5, "x"), this, Stage())


def test_unclaimed_storage_is_told_from_other_hardware() -> None:
    yes = [
        ("pci", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"),
        ("pci", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc80i00"),
        ("pci", "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30"),
        ("virtio", "virtio:d00000002v00001AF4"),
        ("virtio", "virtio:d00000008v00001AF4"),
        ("usb", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00"),
        ("mmc", "mmc:block"),
    ]
    no = [
        ("pci", "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00"),
        ("virtio", "virtio:d00000001v00001AF4"),
        ("usb", "usb:v0627p0001d0000dc00dsc00dp00ic03isc00ip00in00"),
    ]
    assert [each for each in (*yes, *no) if hardware._may_be_storage(*each)] == yes


class Still(BaseException):
    """Where PID 1 would stand still."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a failed boot does to the machine, written down instead."""
    done: list[object] = []
    monkeypatch.setattr(libc, "reboot", done.append)
    monkeypatch.setattr(emergency, "_write", lambda path, text: done.append(path))
    monkeypatch.setattr(emergency, "say", lambda lines: done.extend(lines))
    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(emergency.time, "sleep", lambda seconds: done.append(seconds))  # type: ignore[attr-defined]

    def stand_still() -> None:
        raise Still

    monkeypatch.setattr(emergency, "stand_still", stand_still)
    return done


@pytest.mark.parametrize(
    ("action", "command"), [("reboot", 0x01234567), ("poweroff", 0x4321FEDC), ("halt", 0xCDEF0123)]
)
def test_a_failed_boot_does_what_is_configured(machine: list[object], action: str, command: int) -> None:
    this = stage()
    this.on_failure = OnFailure(action, 2.5)
    with pytest.raises(Still):
        emergency.give_up(OSError(5, "x"), boot(), this)
    assert machine[-3:] == [f"rootfall: {action}", "sync", command]
    assert 2.5 in machine
    assert "/run/rootfall/report.txt" in machine


def test_a_report_that_cannot_be_made_does_not_end_pid_1(
    machine: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> list[str]:
        raise SystemExit("late import")

    monkeypatch.setattr(emergency, "report", broken)
    monkeypatch.setattr(libc, "reboot", broken)
    this = Stage()
    this.on_failure = OnFailure("halt")
    with pytest.raises(Still):
        emergency.give_up(ZeroDivisionError(), boot(), this)
    assert "cannot report ZeroDivisionError(): SystemExit('late import')" in machine
    assert "cannot halt: SystemExit('late import')" in machine


def talk(monkeypatch: pytest.MonkeyPatch, typed: bytes, this: Stage, the_boot: steps.Boot) -> bytes:
    """Hold a conversation over pipes; returns what the console printed."""
    into, out, read, prompt = *os.pipe(), *os.pipe()
    os.write(out, typed)
    os.close(out)
    with monkeypatch.context() as patch:
        real_read, real_write = os.read, os.write
        patch.setattr(emergency.os, "read", lambda fd, size: real_read(into if fd == 0 else fd, size))  # type: ignore[attr-defined]
        patch.setattr(emergency.os, "write", lambda fd, data: real_write(prompt if fd == 2 else fd, data))  # type: ignore[attr-defined]
        emergency.talk(["the report"], the_boot, this)
    os.close(prompt)
    said = os.read(read, 1 << 16)
    os.close(read)
    os.close(into)
    return said


def test_the_built_in_console_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    this = boot()
    this.search = Search(None, DeviceRef("LABEL", "x"))  # type: ignore[arg-type]
    this.search.seen["/dev/a"] = BlockDevice("/dev/a", "8:0", 512, {"TYPE": "ext4"})
    this.timeline.add("find the root", 0, "nothing")
    said = talk(monkeypatch, b"report\rdevices\nplan\n\nlog\n\xff\nmake tea\n", stage(), this)
    for each in (b"the report", b"/dev/a 512 B TYPE=ext4", b"1. load no modules", b"find the root: nothing"):
        assert each in said
    assert b"make tea: not to be had here" in said


def test_a_word_that_fails_does_not_end_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(libc, "reboot", refused)
    monkeypatch.setattr(os, "execve", refused)
    monkeypatch.setattr(libc, "umount2", refused)
    monkeypatch.setattr(os, "sync", lambda: None)
    said = talk(monkeypatch, b"reboot\nretry\nreport\n", stage(), boot())
    assert said.count(b"[Errno 1] Operation not permitted") == 2
    assert b"the report" in said


def test_retry_starts_as_the_kernel_would(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    executed: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(libc, "umount2", lambda target, flags: done.append((target, flags)))
    monkeypatch.setattr(os, "execve", lambda *arguments: executed.append(arguments))
    monkeypatch.setattr(sys, "argv", ["/init", "x"])
    monkeypatch.setenv("_PYI_APPLICATION_HOME_DIR", "/usr/lib/rootfall/_internal")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/rootfall/_internal")
    monkeypatch.setenv("kept", "1")
    talk(monkeypatch, b"retry\n", stage(), boot())
    assert done[0] == ("/sysroot", libc.MNT_DETACH)
    (path, argv, environment), *rest = executed
    assert rest == []
    assert (path, argv) == ("/init", ["/init", "x"])
    assert environment["kept"] == "1"
    assert not {"_PYI_APPLICATION_HOME_DIR", "LD_LIBRARY_PATH"} & set(environment)


def test_after_the_point_of_no_return_there_is_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    this = stage()
    this.irreversible = True
    assert b"retry: not to be had here" in talk(monkeypatch, b"retry\n", this, boot())
