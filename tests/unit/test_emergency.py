# SPDX-License-Identifier: MIT
"""What a failed boot does after its report, and the shell: every word of it, its password, and its bounds."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootfall import (
    cmdline,
    devices,
    emergency,
    findings,
    main,
    mounts,
    password,
    plan,
    report,
    save,
    shell,
    steps,
    stops,
)
from rootfall.devices import BlockDevice
from rootfall.errors import MountError
from rootfall.linux import libc, udev
from rootfall.model import DeviceRef, OnFailure
from tests.unit.failed_boot import Silent, boot, stage


class Executed(BaseException):
    """Where another program would have begun."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """What a failed boot does to the machine, written down instead."""
    done: list[object] = []

    def executed(*arguments: object) -> None:
        done.append(("execve", *arguments))
        raise Executed

    monkeypatch.setattr(libc, "reboot", done.append)
    monkeypatch.setattr(libc, "umount2", lambda target, flags: done.append((target, flags)))
    monkeypatch.setattr(os, "execve", executed)
    monkeypatch.setattr(shell, "drain", lambda limit: done.append("drain"))
    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(shell, "load_drivers", lambda boot: done.append("drivers"))
    monkeypatch.setattr(shell, "_keep_log", lambda: done.append("keep"))
    monkeypatch.setattr(shell, "_TRIES", str(tmp_path / "run/tries"))
    monkeypatch.setattr(shell, "SHELL", "/no/such/shell")
    monkeypatch.setattr(emergency.time, "sleep", done.append)  # type: ignore[attr-defined]
    monkeypatch.setattr(emergency, "_PMSG", str(tmp_path / "no"))
    monkeypatch.setattr(report, "TEXT", str(tmp_path / "report.txt"))
    monkeypatch.setattr(report, "JSON", str(tmp_path / "report.json"))
    monkeypatch.setattr(report, "show", done.extend)
    monkeypatch.setattr(findings, "_kernel_complaints", list)
    return done


def scene(this: steps.Boot | None = None, the_stage: steps.Stage | None = None) -> shell.Scene:
    def hand_over(_boot: steps.Boot, handed: steps.Stage) -> None:
        raise Executed(handed.plan)

    return shell.Scene(this or boot(), the_stage or stage(), hand_over, ["the report"])


@contextmanager
def typing(text: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A person who types this and hangs up; the list is what the console has printed when the block is left."""
    into, out, read, prompt = *os.pipe(), *os.pipe()
    os.write(out, text)
    os.close(out)
    said: list[bytes] = []
    with monkeypatch.context() as patch:
        real_read, real_write = os.read, os.write
        patch.setattr(os, "read", lambda fd, size: real_read(into if fd == 0 else fd, size))
        patch.setattr(os, "write", lambda fd, data: real_write(prompt if fd == 2 else fd, data))
        try:
            yield said
        finally:
            os.close(prompt)
            said.append(real_read(read, 1 << 16))
            os.close(read)
            os.close(into)


@pytest.mark.parametrize(
    ("action", "command"), [("reboot", 0x01234567), ("poweroff", 0x4321FEDC), ("halt", 0xCDEF0123)]
)
def test_a_failed_boot_does_what_is_configured(
    machine: list[object], action: str, command: int, tmp_path: Path
) -> None:
    the_stage = stage()
    the_stage.on_failure = OnFailure(action, 2.5)
    emergency.give_up(OSError(5, "x"), boot(), the_stage, main.hand_over)
    assert machine[-5:] == [2.5, "keep", "sync", "drain", command]
    assert "rootfall: THIS BOOT FAILED" in machine
    assert "failed    [Errno 5] x" in (tmp_path / "report.txt").read_text()
    assert '"kind": "OSError"' in (tmp_path / "report.json").read_text()


def test_a_report_that_cannot_be_made_does_not_stop_the_action(
    machine: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> dict[str, object]:
        raise MemoryError("no more")

    monkeypatch.setattr(findings, "gather", broken)
    the_stage = stage()
    the_stage.on_failure = OnFailure("halt")
    emergency.give_up(ZeroDivisionError(), boot(), the_stage, main.hand_over)
    assert "and cannot be reported: MemoryError('no more')" in machine
    assert machine[-1] == 0xCDEF0123


@pytest.mark.parametrize(("spans", "times"), [(1, 1), (200, 2)])
def test_of_a_long_report_the_screen_ends_the_log_for_pstore_keeps_the_end(
    machine: list[object], spans: int, times: int
) -> None:
    this, the_stage = boot(), stage()
    the_stage.on_failure = OnFailure("halt")
    for number in range(spans):
        this.timeline.add(f"module {number}", 0, "loaded")
    emergency.give_up(OSError(5, "x"), this, the_stage, main.hand_over)
    assert isinstance(this.log, Silent)
    assert this.log.lines.count("report: failed    [Errno 5] x") == times
    assert sum(map(len, this.log.lines[-24:])) < 24 * 100


def test_where_it_is_to_be_saved_a_line_says_how_that_went_on_the_screen_and_in_the_file(
    machine: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []

    def saved(place: object, files: dict[str, str], _boot: object) -> tuple[str, str]:
        asked.extend((place, *files))
        return "not saved", "on /dev/a: No space left on device"

    monkeypatch.setattr(save, "save", saved)
    the_stage = stage()
    the_stage.on_failure = OnFailure("halt", save=DeviceRef("ESP", "esp"))
    emergency.give_up(OSError(5, "x"), boot(), the_stage, main.hand_over)
    assert asked == [DeviceRef("ESP", "esp"), "txt", "json"]
    assert "not saved on /dev/a: No space left on device" in machine
    assert (tmp_path / "report.txt").read_text().endswith("not saved on /dev/a: No space left on device\n")
    assert machine[-1] == 0xCDEF0123


def test_the_built_in_console_answers(monkeypatch: pytest.MonkeyPatch, machine: list[object]) -> None:
    monkeypatch.setattr(shell, "_devices", lambda: ["/dev/a 512 B TYPE=ext4"])
    this = boot()
    this.timeline.add("find the root", 0, "nothing")
    with typing(b"report\rdevices\nplan\n\nlog\nhelp\nmount\n\xff\nmake tea\n", monkeypatch) as said:
        assert not shell.talk(scene(this))
    for each in (b"the report", b"/dev/a 512 B TYPE=ext4", b"1. load no modules", b"find the root: nothing"):
        assert each in said[0]
    assert b"switch INIT" in said[0]
    assert b" / " in said[0]
    assert b"make tea: not to be had here" in said[0]


def test_a_word_that_fails_does_not_end_the_conversation(
    monkeypatch: pytest.MonkeyPatch, machine: list[object]
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(1, "Operation not permitted")

    def no_root(*arguments: object) -> str:
        raise MountError("mount the root", "/dev/x as ext4", errno=19)

    monkeypatch.setattr(libc, "reboot", refused)
    monkeypatch.setattr(mounts, "mount_root", no_root)
    with typing(b"reboot\nmount /dev/x ext4\nreport\n", monkeypatch) as said:
        shell.talk(scene(the_stage=stage())._replace(boot=steps.Boot(boot().log, boot().timeline)))
    assert b"reboot: [Errno 1] Operation not permitted" in said[0]
    assert b"cannot mount the root /dev/x as ext4: No such device" in said[0]
    assert b"the report" in said[0]


def test_a_root_that_is_mounted_by_hand_is_switched_to(monkeypatch: pytest.MonkeyPatch, machine: list[object]) -> None:
    asked: list[object] = []

    def mounted(*arguments: object) -> str:
        asked.extend(arguments)
        return "ext4"

    monkeypatch.setattr(mounts, "mount_root", mounted)
    this = boot()
    this.loader = None
    with typing(b"mount /dev/x ext4 noatime,rw\nswitch /bin/sh\n", monkeypatch) as said, pytest.raises(Executed) as end:
        shell.talk(scene(this))
    assert asked == ["/dev/x", "/sysroot", ("ext4",), ("noatime",), "rw"]
    assert b"/dev/x is mounted on /sysroot: ext4, rw; switch goes on" in said[0]
    assert end.value.args[0].handover == plan.SwitchRoot("/sysroot", "/bin/sh")


def test_the_devices_are_those_that_are_there_now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Monitor:
        def __init__(self, subsystems: tuple[str, ...]) -> None:
            self.present = lambda: (None, BlockDevice("/dev/late", "8:0", 512, {}))

    monkeypatch.setattr(udev, "Monitor", Monitor)
    monkeypatch.setattr(devices, "glance", lambda each: each)
    monkeypatch.setattr(devices, "read", lambda each: each)
    assert shell._devices() == ["/dev/late 512 B nothing known on it"]


@pytest.mark.parametrize("word", [b"retry\n", b"exit\n"])
def test_trying_again_starts_as_the_kernel_would(
    word: bytes, monkeypatch: pytest.MonkeyPatch, machine: list[object]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/init", "x"])
    monkeypatch.setenv("_PYI_APPLICATION_HOME_DIR", "/usr/lib/rootfall/_internal")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/rootfall/_internal")
    monkeypatch.setenv("kept", "1")
    with typing(word, monkeypatch), pytest.raises(Executed):
        emergency.act(scene())
    umount, executed = machine[-2:]
    assert isinstance(executed, tuple)
    _, path, argv, environment = executed
    assert umount == ("/sysroot", libc.MNT_DETACH)
    assert (path, argv) == ("/init", ["/init", "x"])
    assert environment["kept"] == "1"
    assert not {"_PYI_APPLICATION_HOME_DIR", "LD_LIBRARY_PATH"} & set(environment)


def test_the_tries_are_counted_and_end(machine: list[object], tmp_path: Path) -> None:
    for _ in range(16):
        with pytest.raises(Executed):
            shell.try_again(scene())
    assert 0x01234567 not in machine
    with pytest.raises(Executed):
        shell.try_again(scene())
    assert 0x01234567 in machine


def test_a_console_that_is_gone_is_not_talked_to_for_ever(
    machine: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with typing(b"", monkeypatch):
        emergency.act(scene())
    assert machine == ["drivers"]


@pytest.fixture(scope="module")
def hashed() -> str:
    import ctypes

    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(b"correct horse", b"$6$rounds=1000$saltsalt$")
    assert isinstance(made, bytes)
    return made.decode()


@pytest.mark.parametrize(
    ("typed", "in_"),
    [
        (b"correct horse\n", True),
        (b"wrong\n\ncorrect horse\n", True),
        (b"a\nb\nc\ncorrect horse\n", False),
        (b"correct horse \n" * 3, False),
        (b"\xff\0\n", False),
        (b"", False),
    ],
)
def test_three_tries_for_the_password(
    typed: bytes, in_: bool, hashed: str, monkeypatch: pytest.MonkeyPatch, machine: list[object]
) -> None:
    with typing(typed, monkeypatch) as said:
        assert shell.admitted(hashed) is in_
    assert b"correct" not in said[0]


def test_without_the_password_the_machine_reboots(
    hashed: str, monkeypatch: pytest.MonkeyPatch, machine: list[object]
) -> None:
    the_scene = scene()
    the_scene.stage.on_failure = OnFailure("shell", 3.0, hashed)
    with typing(b"a\nb\nc\n", monkeypatch):
        emergency.act(the_scene)
    assert machine == [3.0, "drivers", "keep", "sync", "drain", 0x01234567]


@pytest.mark.parametrize("broken", ["", "*0", "$9$x$y", "plain"])
def test_nothing_fits_a_hash_that_is_none(broken: str) -> None:
    assert not password.fits(b"", broken or "!")
    assert not password.fits(broken.encode(), broken or "!")


def test_panic_keeps_the_password() -> None:
    kept = cmdline.on_failure(OnFailure("shell", 0.0, "$6$x$y"), cmdline.parse("panic=5"))
    assert kept == OnFailure("reboot", 5.0, "$6$x$y")


def stopped(words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The stages before which a command line stops the boot, and what was printed."""
    the_stage, offered = stage(), list[str]()
    the_stage.parameters = cmdline.parse(words)
    assert the_stage.plan
    monkeypatch.setattr(shell, "offer", lambda scene, leaving: offered.append(f"{scene.lines[0]}, {leaving}"))
    with typing(b"", monkeypatch) as said:
        for step in (*the_stage.plan.steps, the_stage.plan.handover):
            stops.before(step, boot(), the_stage, main.hand_over)
    return [each.split()[2].rstrip(";") for each in offered], said[0].decode()


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("rd.break", ["switch"]),
        ("rd.break=modules rd.break=mount", ["modules", "mount"]),
        ("rd.break=device", ["device"]),
        ("rd.break=pre-mount", ["switch"]),
        ("rootfall.trace", []),
    ],
)
def test_a_boot_stops_where_it_was_told_to(words: str, where: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stages, said = stopped(words, monkeypatch)
    assert stages == where
    if "pre-mount" in words:
        assert "rd.break=pre-mount: no such stage; there are modules, device, mount, switch" in said


def test_the_trace_names_each_step_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = stopped("rootfall.trace", monkeypatch)
    assert "trace: device: FindRoot(ref=DeviceRef(kind='LABEL', value='root', partnroff=0), timeout=30.0" in said
    assert said.count("rootfall: trace: ") == 4


def test_every_step_of_a_plan_has_a_stage() -> None:
    assert {each.__name__ for each in plan.STAGES} == {each.__name__ for each in (*plan.Step.__args__, plan.SwitchRoot)}
