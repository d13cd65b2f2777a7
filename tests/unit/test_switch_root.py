# SPDX-License-Identifier: MIT
"""The hand-over through a kernel that only writes down what it is asked for, or refuses the n-th request."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rootfall import console, main, mounts, new_root, steps, switch_root
from rootfall.emergency import Stage
from rootfall.errors import RootfallError, SwitchRootError
from rootfall.linux import libc, signals
from rootfall.linux.kernel import Kernel
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, Root
from rootfall.timeline import Timeline

NEW = "/sysroot"
MOUNTINFO = """\
22 1 0:2 / / rw - rootfs rootfs rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:22 / /sys rw - sysfs sysfs rw
25 22 0:6 / /dev rw - devtmpfs devtmpfs rw
26 25 0:23 / /dev/pts rw - devpts devpts rw
27 22 0:24 / /run rw - tmpfs tmpfs rw
28 22 254:0 / /sysroot ro - ext4 /dev/vda ro
29 28 254:1 / /sysroot/usr ro - ext4 /dev/vdb ro
"""
API = ("/proc", "/sys", "/dev", "/run")


class FakeKernel(Kernel):
    """Writes every request down; refuses the one whose number is `refuse`, and those named in `refusals`."""

    def __init__(self, old_root: Path, refuse: int = -1, **refusals: int) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.old_root, self.refuse, self.refusals = old_root, refuse, refusals
        self.directories = {NEW + each for each in API}
        self.read_only = False
        self.magic, self.pid, self.mountinfo = libc.RAMFS_MAGIC, 1, MOUNTINFO

    def _ask(self, *call: object) -> None:
        self.calls.append(call)
        errno = 5 if len(self.calls) - 1 == self.refuse else self.refusals.get(str(call[0]), 0)
        if errno:
            raise OSError(errno, os.strerror(errno), str(call[1]) if len(call) > 1 else None)

    def getpid(self) -> int:
        self._ask("getpid")
        return self.pid

    def mount(self, source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
        self._ask("mount", source, target, fstype, flags, data)

    def umount2(self, target: str, flags: int) -> None:
        self._ask("umount2", target, flags)

    def pivot_root(self, new_root: str, put_old: str) -> None:
        self._ask("pivot_root", new_root, put_old)

    def chroot(self, path: str) -> None:
        self._ask("chroot", path)

    def chdir(self, path: str) -> None:
        self._ask("chdir", path)

    def statfs_magic(self, path: str | int) -> int:
        self._ask("statfs_magic", path if isinstance(path, str) else "old")
        return self.magic

    def open_directory(self, path: str) -> int:
        self._ask("open_directory", path)
        return super().open_directory(str(self.old_root))

    def close(self, fd: int) -> None:
        super().close(fd)
        self._ask("close", "old")

    def read_mountinfo(self) -> str:
        self._ask("read_mountinfo")
        return self.mountinfo

    def is_directory(self, path: str) -> bool:
        self._ask("is_directory", path)
        return path in self.directories

    def make_directory(self, path: str) -> None:
        self._ask("make_directory", path)
        if self.read_only:
            raise OSError(30, os.strerror(30), path)

    def execve(self, path: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._ask("execve", path, argv)
        raise Executed(path, argv, environment)


class Executed(BaseException):
    """Where a successful execve(2) would not return."""


MOVES = [("mount", each, NEW + each, None, libc.MS_MOVE, None) for each in API]
PRIVATE = ("mount", None, "/", None, libc.MS_REC | libc.MS_PRIVATE, None)
PIVOT = [
    PRIVATE,
    ("chdir", NEW),
    ("open_directory", "/"),
    ("pivot_root", ".", "."),
    ("umount2", ".", libc.MNT_DETACH),
    ("chdir", "/"),
    ("close", "old"),
]
MS_MOVE = [
    *PIVOT[:4],
    ("mount", ".", "/", None, libc.MS_MOVE, None),
    ("chroot", "."),
    ("chdir", "/"),
    ("statfs_magic", "old"),
    ("close", "old"),
]


@pytest.fixture
def old_root(tmp_path: Path) -> Path:
    """What stands for the initramfs."""
    old = tmp_path / "old"
    (old / "usr/lib").mkdir(parents=True)
    (old / "init").touch()
    (old / "usr/lib/libc.so").touch()
    return old


def acts(kernel: FakeKernel) -> list[tuple[object, ...]]:
    """The calls that change something."""
    return [call for call in kernel.calls if call[0] not in ("getpid", "read_mountinfo", "is_directory")]


def test_mountinfo_is_read_with_its_escapes() -> None:
    text = "7 1 8:1 / /a\\040b\\011c\\012d\\134040e rw shared:1 - ext4 x rw\n"
    assert switch_root.parse_mountinfo(text) == ((7, 1, "/a b\tc\nd\\040e"),)


def test_only_what_is_mounted_on_the_root_itself_moves() -> None:
    assert switch_root.top_level(switch_root.parse_mountinfo(MOUNTINFO), NEW) == API


def test_with_a_nullfs_below_the_same_mounts_move() -> None:
    """Linux 7.0 and later: two mounts on /."""
    text = "1 0 0:1 / / ro - nullfs none ro\n" + MOUNTINFO
    assert switch_root.top_level(switch_root.parse_mountinfo(text), NEW) == API


def test_pivot_root_where_the_kernel_can(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    assert switch_root.switch(kernel, NEW) == "pivot_root"
    assert kernel.calls == PIVOT
    assert (old_root / "init").exists(), "the kernel lets the old root go: nothing is deleted"


def test_ms_move_where_pivot_root_is_einval(old_root: Path) -> None:
    kernel = FakeKernel(old_root, pivot_root=22)
    assert switch_root.switch(kernel, NEW) == "MS_MOVE"
    assert kernel.calls == MS_MOVE
    assert list(old_root.iterdir()) == []


@pytest.mark.parametrize("errno", [1, 12, 16, 20])
def test_any_other_refusal_of_pivot_root_ends_the_switch(old_root: Path, errno: int) -> None:
    kernel = FakeKernel(old_root, pivot_root=errno)
    with pytest.raises(OSError, match=r"\[Errno"):
        switch_root.switch(kernel, NEW)
    assert kernel.calls == PIVOT[:4]
    assert (old_root / "init").exists()


def test_what_is_neither_ramfs_nor_tmpfs_is_never_deleted(old_root: Path) -> None:
    kernel = FakeKernel(old_root, pivot_root=22)
    kernel.magic = 0xEF53
    assert switch_root.switch(kernel, NEW) == "MS_MOVE"
    assert (old_root / "usr/lib/libc.so").exists()


@pytest.mark.parametrize("number", [each for each in range(len(MS_MOVE)) if MS_MOVE[each][0] != "pivot_root"])
def test_nothing_is_deleted_before_the_switch_has_succeeded(old_root: Path, number: int) -> None:
    kernel = FakeKernel(old_root, number, pivot_root=22)
    with pytest.raises(OSError, match=r"\[Errno 5\]"):
        switch_root.switch(kernel, NEW)
    assert kernel.calls == MS_MOVE[: number + 1]
    assert (old_root / "init").exists() is (number < 8)


def test_the_mounts_move_to_the_same_places(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    assert switch_root.move_mounts(kernel, NEW) == ()
    assert acts(kernel) == MOVES


def test_a_place_that_is_not_there_is_made(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.directories.remove(NEW + "/run")
    assert switch_root.move_mounts(kernel, NEW) == ()
    assert acts(kernel) == [*MOVES[:3], ("make_directory", NEW + "/run"), MOVES[3]]


def test_a_place_that_cannot_be_made_on_a_read_only_root_is_survived(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.directories.remove(NEW + "/sys")
    kernel.read_only = True
    assert switch_root.move_mounts(kernel, NEW) == ("/sys: Read-only file system",)
    assert acts(kernel) == [
        MOVES[0], ("make_directory", NEW + "/sys"), ("umount2", "/sys", libc.MNT_DETACH), *MOVES[2:],
    ]  # fmt: skip


def test_a_symbolic_link_is_never_mounted_through(old_root: Path, tmp_path: Path) -> None:
    """With the real look at the directory: /dev of the new root is a link to somewhere else."""
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new/dev").symlink_to(tmp_path / "elsewhere")

    class Looks(FakeKernel):
        def is_directory(self, path: str) -> bool:
            return Kernel.is_directory(self, path)

        def make_directory(self, path: str) -> None:
            Kernel.make_directory(self, path)

    kernel = Looks(old_root)
    lost = switch_root.move_mounts(kernel, f"{tmp_path}/new")
    assert lost == ("/dev: File exists",)
    assert not [call for call in kernel.calls if call[0] == "mount" and call[1] == "/dev"]
    assert ("umount2", "/dev", libc.MNT_DETACH) in kernel.calls


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pid": 7}, "only PID 1 can hand over"),
        ({"mountinfo": MOUNTINFO.replace("/sysroot", "/elsewhere")}, "the real root is not mounted"),
        ({"magic": 0xEF53}, "the current root is not an initramfs"),
    ],
)
def test_the_preflight_refuses_and_changes_nothing(old_root: Path, change: dict[str, object], words: str) -> None:
    kernel = FakeKernel(old_root)
    for name, value in change.items():
        setattr(kernel, name, value)
    with pytest.raises(SwitchRootError, match=words):
        switch_root.preflight(kernel, NEW)
    assert {call[0] for call in kernel.calls} <= {"getpid", "read_mountinfo", "statfs_magic"}


# The whole boot on this host: the steps that touch the machine are taken away, the rest of main.boot is real.

CONFIG = Config(1, BootConfig(Root(DeviceRef("PATH", "/dev/vda"))), ImageConfig())


class Silent(console.Log):
    """A log that this host's kernel does not get."""

    def __init__(self) -> None:
        self._fd = -1


def boot(kernel: FakeKernel, patch: pytest.MonkeyPatch) -> Stage:
    """Run main.boot with this kernel; its exception comes through, as it does to main's own handler."""
    stage = Stage()

    def choose_init(root: str, init: str) -> tuple[str, tuple[str, ...]]:
        kernel._ask("choose_init", root, init)
        return init, ("/another/init: not there",)

    patch.setattr(main, "Kernel", lambda: kernel)
    patch.setattr(main, "read_config", lambda: (CONFIG, "ready"))
    patch.setattr(main, "read_text", lambda path: "quiet one two=2 -- three")
    patch.setattr(main, "write_timeline", lambda timeline: kernel._ask("write_timeline"))
    patch.setattr(mounts, "mount_api_file_systems", lambda: None)
    patch.setattr(console, "reopen_console", lambda: None)
    patch.setattr(console, "limit_rate", lambda setting: "")
    patch.setattr(steps, "perform", lambda step, this: kernel._ask("step", type(step).__name__))
    patch.setattr(new_root, "choose_init", choose_init)
    patch.setattr(signals, "reset", lambda: kernel._ask("reset_signals"))
    patch.setattr(sys, "argv", ["/init", "one", "three"])
    this = steps.Boot(Silent(), Timeline())
    try:
        main.boot(this, stage)
    except Executed as end:
        stage.executed = end.args  # type: ignore[attr-defined]
    return stage


WHOLE = ["step", "step", "step", "getpid", "read_mountinfo", "statfs_magic", "choose_init", "read_mountinfo"]


def test_a_boot_ends_in_the_real_init(old_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(old_root)
    monkeypatch.setenv("two", "2")
    monkeypatch.setenv("_PYI_ARCHIVE_FILE", "/init")
    stage = boot(kernel, monkeypatch)
    path, argv, environment = stage.executed  # type: ignore[attr-defined]
    assert (path, argv) == ("/sbin/init", ("/sbin/init", "one", "three"))
    assert environment["two"] == "2"
    assert "_PYI_ARCHIVE_FILE" not in environment
    names = [call[0] for call in kernel.calls]
    assert names[: len(WHOLE)] == WHOLE
    assert names[-3:] == ["write_timeline", "reset_signals", "execve"]
    assert [c for c in acts(kernel) if c[0] not in ("step", "choose_init")][1:-3] == [*MOVES, *PIVOT]


def calls_of_a_boot(tmp: Path, **refusals: int) -> int:
    kernel = FakeKernel(tmp, **refusals)
    with pytest.MonkeyPatch.context() as patch:
        boot(kernel, patch)
    return len(kernel.calls)


@pytest.mark.parametrize("way", ["pivot_root", "MS_MOVE"])
def test_whichever_request_is_refused_the_boot_ends_in_an_error_with_a_report(tmp_path: Path, way: str) -> None:
    refusals = {"pivot_root": 22} if way == "MS_MOVE" else {}
    (tmp_path / "counted").mkdir()
    total = calls_of_a_boot(tmp_path / "counted", **refusals)
    survived = []
    for number in range(total):
        old = tmp_path / str(number)
        (old / "usr").mkdir(parents=True)
        kernel = FakeKernel(old, number, **refusals)
        raised: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            try:
                boot(kernel, patch)
            except BaseException as error:
                raised = error
        refused = kernel.calls[number]
        assert raised is None or isinstance(raised, RootfallError | OSError), (refused, raised)
        switched = ("chroot", ".") in kernel.calls and refused != ("chroot", ".")
        assert (old / "usr").exists() or (way == "MS_MOVE" and switched), refused
        if "choose_init" not in [call[0] for call in kernel.calls[:number]]:
            changed = {c[0] for c in kernel.calls} & {"mount", "umount2", "pivot_root", "chroot", "chdir", "execve"}
            assert not changed, (refused, changed)
        if raised is None:
            survived.append(refused[0])
    assert survived == ["is_directory", "mount"] * 4, "a mount that does not move is let go; all else is an error"


def test_an_init_that_does_not_start_is_named(old_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(old_root, execve=8)
    with pytest.raises(SwitchRootError) as caught:
        boot(kernel, monkeypatch)
    assert (caught.value.errno, caught.value.subject) == (8, "/sbin/init")


def test_after_the_point_of_no_return_nothing_is_imported(old_root: Path) -> None:
    """In a Python of its own: from the moment that there is no way back, an import, even of what is there, is an error.

    The boot goes on through the switch and into the report of an init that does not start. QEMU shows the frozen one.
    """
    path = ":".join(sys.path)
    code = f"""
import builtins, os, sys
sys.path[:] = {path!r}.split(":")
import pathlib, pytest
from tests.unit import test_switch_root as t
from rootfall import emergency, main, steps
from rootfall.timeline import Timeline
kernel = t.FakeKernel(pathlib.Path({str(old_root)!r}), pivot_root=22, execve=8)

def late(name, *rest, **more):
    raise SystemExit("late import of " + name)

class Stage(emergency.Stage):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "irreversible" and value:
            builtins.__import__ = late

t.Stage = Stage
patch = pytest.MonkeyPatch()
emergency.stand_still = lambda: None
emergency.libc.reboot = lambda command: None
emergency._write = lambda path, text: None
emergency.say = lambda lines, say=emergency.say: os.write(1, "\\n".join(lines).encode()) and None
os.sync = lambda: None
stage = Stage()
this = steps.Boot(t.Silent(), Timeline())
try:
    t.boot(kernel, patch)
except BaseException as error:
    stage.irreversible = True
    stage.on_failure = stage.on_failure._replace(action="halt")
    emergency.give_up(error, this, stage)
os.write(1, b"\\nDONE" if kernel.calls[-1][0] == "execve" else repr(kernel.calls[-1]).encode())
os._exit(0)
"""
    done = run_python(code)
    assert done.endswith("\nDONE"), done
    assert "late import" not in done
    assert "cannot execute init /sbin/init" in done
    assert "8, Exec format error" in done


def run_python(code: str) -> str:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root, timeout=60
    )
    return done.stdout + done.stderr
