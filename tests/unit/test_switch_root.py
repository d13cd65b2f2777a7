# SPDX-License-Identifier: MIT
"""The hand-over through a kernel that only writes down what it is asked for, or refuses the n-th request."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rootfall import console, main, mountinfo, mounts, new_root, steps, switch_root
from rootfall.errors import RootfallError, SwitchRootError
from rootfall.linux import libc, signals
from rootfall.linux.kernel import Kernel
from rootfall.model import BootConfig, Config, DeviceRef, ImageConfig, Root
from rootfall.steps import Stage
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
        self.directories = {NEW, *(NEW + each for each in API)}
        self.links: set[str] = set()
        self.read_only = False
        self.opened: dict[int, str] = {}
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
        if target == "." and self.calls[-2][:2] == ("umount2", "."):
            raise OSError(22, os.strerror(22), target)

    def pivot_root(self, new_root: str, put_old: str) -> None:
        self._ask("pivot_root", new_root, put_old)

    def chroot(self, path: str) -> None:
        self._ask("chroot", path)

    def chdir(self, path: str | int) -> None:
        self._ask("chdir", path if isinstance(path, str) else "old")

    def statfs_magic(self, path: str | int) -> int:
        self._ask("statfs_magic", path if isinstance(path, str) else "old")
        return self.magic

    def open_directory(self, path: str) -> int:
        self._ask("open_directory", path)
        return super().open_directory(str(self.old_root))

    def close(self, fd: int) -> None:
        super().close(fd)
        self._ask("close", self.opened.pop(fd, "old"))

    def read_mountinfo(self) -> str:
        self._ask("read_mountinfo")
        return self.mountinfo

    def open_below(self, directory: int | None, name: str) -> int:
        path = name if directory is None else f"{self.opened[directory]}/{name}"
        self._ask("open_below", path)
        if path in self.links:
            raise NotADirectoryError(20, os.strerror(20), name)
        if path not in self.directories:
            raise FileNotFoundError(2, os.strerror(2), name)
        fd = os.open("/", os.O_PATH)
        self.opened[fd] = path
        return fd

    def make_directory(self, directory: int, name: str) -> None:
        path = f"{self.opened[directory]}/{name}"
        self._ask("make_directory", path)
        if self.read_only:
            raise OSError(30, os.strerror(30), name)
        self.directories.add(path)

    def execve(self, path: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._ask("execve", path, argv)
        raise Executed(path, argv, environment)


class Executed(BaseException):
    """Where a successful execve(2) would not return."""


MOVES = [("mount", each, NEW + each, None, libc.MS_MOVE, None) for each in API]
PRIVATE = ("mount", None, "/", None, libc.MS_REC | libc.MS_PRIVATE, None)
PIVOT = [
    ("open_directory", "/"),
    ("chdir", NEW),
    ("pivot_root", ".", "."),
    ("chdir", "old"),
    ("mount", None, ".", None, libc.MS_REC | libc.MS_SLAVE, None),
    ("umount2", ".", libc.MNT_DETACH),
    ("umount2", ".", libc.MNT_DETACH),  # nothing is left there
    ("chdir", "/"),
    ("close", "old"),
]
MS_MOVE = [
    *PIVOT[:3],
    ("chdir", NEW),
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
    looks = [("close", path) for path in (NEW, *(NEW + each for each in API))]
    return [c for c in kernel.calls if c[0] not in ("getpid", "read_mountinfo", "open_below") and c not in looks]


def test_only_what_is_mounted_on_the_root_itself_moves() -> None:
    assert switch_root.top_level(mountinfo.parse(MOUNTINFO), NEW) == API


def test_with_a_nullfs_below_the_same_mounts_move() -> None:
    """Linux 7.0 and later: two mounts on /."""
    text = "1 0 0:1 / / ro - nullfs none ro\n" + MOUNTINFO
    assert switch_root.top_level(mountinfo.parse(text), NEW) == API


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
    assert kernel.calls == [*PIVOT[:3], ("close", "old")]
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
    assert [each for each in kernel.calls if each != ("close", "old")] == MS_MOVE[: number + 1][: len(MS_MOVE) - 1]
    assert (old_root / "init").exists() is (number < 8)


def test_the_mounts_move_to_the_same_places(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    assert switch_root.move_mounts(kernel, NEW) == ()
    assert acts(kernel) == [PRIVATE, *MOVES]


def test_a_place_that_is_not_there_is_made(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.directories.remove(NEW + "/run")
    assert switch_root.move_mounts(kernel, NEW) == ()
    assert acts(kernel) == [PRIVATE, *MOVES[:3], ("make_directory", NEW + "/run"), MOVES[3]]


def test_a_place_that_cannot_be_made_on_a_read_only_root_is_survived(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.directories.remove(NEW + "/sys")
    kernel.read_only = True
    assert switch_root.move_mounts(kernel, NEW) == ("/sys: Read-only file system",)
    assert acts(kernel) == [
        PRIVATE, MOVES[0], ("make_directory", NEW + "/sys"), ("umount2", "/sys", libc.MNT_DETACH), *MOVES[2:],
    ]  # fmt: skip


def test_a_place_that_is_a_link_or_a_file_is_not_mounted_on(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.links.add(NEW + "/dev")
    lost = switch_root.move_mounts(kernel, NEW)
    assert lost == ("/dev: no directory there, and no link is followed",)
    assert acts(kernel) == [PRIVATE, *MOVES[:2], ("umount2", "/dev", libc.MNT_DETACH), MOVES[3]]


def test_no_link_is_followed_on_the_way_either(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.mountinfo = MOUNTINFO + "30 22 0:30 / /a/b/c rw - tmpfs tmpfs rw\n"
    kernel.directories.add(NEW + "/a")
    kernel.links.add(NEW + "/a/b")
    assert switch_root.move_mounts(kernel, NEW) == ("/a/b/c: no directory there, and no link is followed",)
    assert [call[1] for call in kernel.calls if call[0] == "open_below"][-3:] == [NEW, NEW + "/a", NEW + "/a/b"]


def test_the_whole_way_to_a_place_is_made(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.mountinfo = MOUNTINFO + "30 22 0:30 / /a/b rw - tmpfs tmpfs rw\n"
    assert switch_root.move_mounts(kernel, NEW) == ()
    assert [call[1] for call in kernel.calls if call[0] == "make_directory"] == [NEW + "/a", NEW + "/a/b"]
    assert not kernel.opened, "no descriptor is left over"


def test_what_the_new_root_has_mounted_itself_is_kept(old_root: Path) -> None:
    kernel = FakeKernel(old_root)
    kernel.mountinfo = MOUNTINFO + "30 28 0:30 / /sysroot/run rw - tmpfs tmpfs rw\n"
    assert switch_root.move_mounts(kernel, NEW) == ("/run: the new root has its own there",)
    assert acts(kernel) == [PRIVATE, *MOVES[:3], ("umount2", "/run", libc.MNT_DETACH)]


def test_what_cannot_even_be_let_go_of_is_survived(old_root: Path) -> None:
    kernel = FakeKernel(old_root, umount2=22)
    kernel.links.add(NEW + "/sys")
    (lost,) = switch_root.move_mounts(kernel, NEW)
    assert lost.endswith("no link is followed (and it stays on the old root: Invalid argument)")


def test_the_mount_that_holds_the_new_root_is_neither_moved_nor_let_go(old_root: Path) -> None:
    text = "22 1 0:2 / / rw - r r rw\n23 22 0:3 / /run rw - t t rw\n24 23 8:1 / /run/new rw - e e rw\n"
    text += "25 22 0:4 / /run/newer rw - t t rw\n"
    assert switch_root.top_level(mountinfo.parse(text), "/run/new") == ("/run/newer",)
    kernel = FakeKernel(old_root)
    kernel.mountinfo = text
    kernel.directories = {"/run/new"}
    assert switch_root.move_mounts(kernel, "/run/new") == ()
    assert ("umount2", "/run", libc.MNT_DETACH) not in kernel.calls


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pid": 7}, "only PID 1 can hand over"),
        ({"mountinfo": MOUNTINFO.replace("/sysroot", "/elsewhere")}, "the real root is not mounted"),
        ({"mountinfo": MOUNTINFO, "new": "/"}, "it is the root already"),
        ({"magic": 0xEF53}, "the current root is not an initramfs"),
    ],
)
def test_the_preflight_refuses_and_changes_nothing(old_root: Path, change: dict[str, object], words: str) -> None:
    kernel = FakeKernel(old_root)
    for name, value in change.items():
        setattr(kernel, name, value)
    with pytest.raises(SwitchRootError, match=words):
        switch_root.preflight(kernel, str(change.get("new", NEW)))
    assert {call[0] for call in kernel.calls} <= {"getpid", "read_mountinfo", "statfs_magic"}


# The whole boot on this host: the steps that touch the machine are taken away, the rest of main.boot is real.

CONFIG = Config(1, BootConfig(Root(DeviceRef("PATH", "/dev/vda"))), ImageConfig())


class Silent(console.Log):
    """A log that this host's kernel does not get."""

    def __init__(self) -> None:
        self._fd = -1


def boot(kernel: FakeKernel, patch: pytest.MonkeyPatch, program: str = "/sbin/init") -> Stage:
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
    patch.setattr(new_root, "resolve", lambda root, init: root + program)
    patch.setattr(signals, "reset", lambda: kernel._ask("reset_signals"))
    patch.setattr(sys, "argv", ["/init", "one", "three"])
    this = steps.Boot(Silent(), Timeline())
    try:
        main.boot(this, stage)
    except Executed as end:
        stage.executed = end.args  # type: ignore[attr-defined]
    return stage


WHOLE = ["step"] * 3 + ["getpid", "read_mountinfo", "statfs_magic", "choose_init", "mount", "read_mountinfo"]


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
    assert [c for c in acts(kernel) if c[0] not in ("step", "choose_init")][1:-3] == [PRIVATE, *MOVES, *PIVOT]


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
    last = ["umount2"] if way == "pivot_root" else []  # the one that finds nothing left to let go of
    assert survived == ["open_below", "open_below", "close", "close", "mount"] * 4 + last, "only a mount may be lost"


def test_an_init_that_does_not_start_is_named(old_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel(old_root, execve=8)
    with pytest.raises(SwitchRootError) as caught:
        boot(kernel, monkeypatch)
    assert (caught.value.errno, caught.value.subject) == (8, "/sbin/init")


def boot_to_systemd(kernel: FakeKernel, patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The arguments that an init gets which is a link to systemd."""
    argv: tuple[str, ...] = boot(kernel, patch, "/usr/lib/systemd/systemd").executed[1]  # type: ignore[attr-defined]
    return argv


def test_systemd_is_told_of_the_initramfs_before_the_kernels_words(
    old_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = boot_to_systemd(FakeKernel(old_root), monkeypatch)
    assert (argv[:4], argv[5:]) == (
        ("/sbin/init", "--switched-root", "--system", "--deserialize"),
        ("one", "three"),
    )
    os.close(int(argv[4]))


def test_without_memory_files_systemd_starts_as_any_init(old_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> int:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert boot_to_systemd(FakeKernel(old_root), monkeypatch) == ("/sbin/init", "one", "three")


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
from rootfall import main, steps
from rootfall.timeline import Timeline
kernel = t.FakeKernel(pathlib.Path({str(old_root)!r}), pivot_root=22, execve=8)

def late(name, *rest, **more):
    raise SystemExit("late import of " + name)

class Stage(steps.Stage):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "irreversible" and value:
            builtins.__import__ = late

t.Stage = Stage
patch = pytest.MonkeyPatch()
main.stand_still = lambda: None
main.libc.reboot = lambda command: None
main.console.say = lambda *lines: os.write(1, "\\n".join(lines).encode()) and None
os.sync = lambda: None
stage = Stage()
this = steps.Boot(t.Silent(), Timeline())
try:
    t.boot(kernel, patch)
except BaseException as error:
    stage.irreversible = True
    stage.on_failure = stage.on_failure._replace(action="halt")
    main.fail(error, this, stage)
os.write(1, b"\\nDONE" if kernel.calls[-1][0] == "execve" else repr(kernel.calls[-1]).encode())
os._exit(0)
"""
    done = run_python(code)
    assert done.endswith("\nDONE"), done
    assert "late import" not in done
    assert "cannot execute init /sbin/init" in done
    assert "Exec format error (errno 8)" in done


def run_python(code: str) -> str:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root, timeout=60
    )
    return done.stdout + done.stderr
