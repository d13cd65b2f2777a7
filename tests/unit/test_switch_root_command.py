# SPDX-License-Identifier: MIT
"""`rootfall switch-root`: its command line, what it refuses and in which words, and that a refusal changes nothing."""

import os
import stat
from pathlib import Path

import pytest

from rootfall import main, switch_root_command
from rootfall.errors import SwitchRootError
from rootfall.linux import libc
from rootfall.switch_root_command import Request, UsageError, environment, hand_over, parse
from rootfall_build import cli
from tests.unit.test_switch_root import Executed, FakeKernel


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["/new"], Request("/new")),
        (["/new", "/sbin/init", "a", "-b"], Request("/new", "/sbin/init", ("a", "-b"))),
        (["-c", "/dev/tty1", "/new", "init", "-c"], Request("/new", "init", ("-c",), "/dev/tty1")),
        (["-c/dev/tty1", "--", "-odd"], Request("-odd", console="/dev/tty1")),
    ],
)
def test_the_command_line_is_that_of_the_peers(words: list[str], request_: Request) -> None:
    assert parse(words) == request_


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "NEWROOT is missing"),
        (["--"], "NEWROOT is missing"),
        ([""], "must not be empty"),
        (["/new", ""], "must not be empty"),
        (["-x", "/new"], "unknown option -x"),
        (["-c"], "-c needs a device"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_why(
    words: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(words)
    assert switch_root_command.main(["rootfall", "switch-root", *words]) == 2
    said = capfd.readouterr()
    assert said.err.startswith(f"switch-root: {complaint}" if words[-1:] != [""] else "switch-root: NEWROOT and INIT")
    assert "Usage: switch-root" in said.err
    assert said.out == ""


def test_help_and_version_are_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert switch_root_command.main(["switch_root", "--help"]) == 0
    assert capfd.readouterr().out == switch_root_command.USAGE
    assert switch_root_command.main(["rootfall", "switch-root", "-V"]) == 0
    assert capfd.readouterr().out.startswith("switch-root of rootfall ")


@pytest.mark.parametrize("name", ["rootfall switch-root", "/sbin/switch_root"])
def test_any_process_but_pid_1_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [*name.split(), "/proc", "/sbin/init"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 1
    assert capfd.readouterr().err == (
        f"switch-root: cannot switch root /proc; seen: process {os.getpid()}; only PID 1 can hand over\n"
    )


def test_the_builders_command_line_has_it_and_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["switch-root", "/proc", "/sbin/init", "--help"]) == 1
    assert "only PID 1 can hand over" in capfd.readouterr().err
    assert cli.main(["switch-root"]) == 2
    assert cli.main(["switch-root", "--help"]) == 0
    assert "switch-root" in capfd.readouterr().out


def test_a_word_of_the_kernel_command_line_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel runs /init with whatever words it does not know."""
    monkeypatch.setattr("sys.argv", ["/init", "switch-root", "/proc"])
    with pytest.raises(SystemExit, match="the frozen PID 1"):
        main.main()


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A new root with an init that could run."""
    place = tmp_path / "new"
    (place / "sbin").mkdir(parents=True)
    (place / "sbin/init").write_bytes(Path("/proc/self/exe").read_bytes()[:64] + bytes(64))
    (place / "sbin/init").chmod(0o755)
    (place / "script").write_text("#!/sbin/init\n")
    (place / "script").chmod(0o755)
    return place


@pytest.fixture
def kernel(tmp_path: Path, new: Path) -> FakeKernel:
    """PID 1 on a ramfs, with `new` mounted."""
    old = tmp_path / "old"
    (old / "usr").mkdir(parents=True)
    kernel = FakeKernel(old)
    kernel.mountinfo = f"22 1 0:2 / / rw - r r rw\n23 22 8:1 / {new} rw - ext4 x rw\n"
    kernel.directories = {str(new)}
    return kernel


CHANGES = {"mount", "umount2", "pivot_root", "chroot", "chdir", "execve"}


@pytest.mark.parametrize(
    ("change", "init", "words"),
    [
        ({"magic": 0xEF53}, "/sbin/init", "not an initramfs: it would have to be deleted, and will not be"),
        ({"mountinfo": "22 1 0:2 / / rw - r r rw\n"}, "/sbin/init", "no mount there"),
        ({"pid": 2}, "/sbin/init", "only PID 1"),
        ({}, "/bin/gone", "/bin/gone: No such file or directory; nothing has been changed"),
        ({}, "/sbin", "/sbin is not a regular file"),
    ],
)
def test_a_refusal_names_what_is_in_the_way_and_changes_nothing(
    kernel: FakeKernel, new: Path, change: dict[str, object], init: str, words: str
) -> None:
    for name, value in change.items():
        setattr(kernel, name, value)
    with pytest.raises(SwitchRootError, match=words):
        hand_over(Request(str(new), init), kernel)
    assert not CHANGES & {call[0] for call in kernel.calls}
    assert (kernel.old_root / "usr").exists()


def test_without_proc_it_says_what_it_needs(kernel: FakeKernel, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(kernel), "read_mountinfo", lambda self: Path("/proc/gone/mountinfo").read_text())
    with pytest.raises(SwitchRootError, match="mount proc on /proc first"):
        hand_over(Request(str(new)), kernel)


@pytest.mark.parametrize("wanted", ["script", "/script"])
def test_init_gets_the_arguments_and_is_asked_for_from_the_new_root(
    kernel: FakeKernel, new: Path, wanted: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(new)
    with pytest.raises(Executed) as end:
        hand_over(Request(f"{tmp_path}/link/", wanted, ("a", "b c")), kernel)
    path, argv, given = end.value.args
    assert (path, argv) == ("/script", ("/script", "a", "b c"))
    assert given == environment(os.environ)
    assert ("chdir", str(new)) in kernel.calls


def test_without_an_init_the_kernels_list_is_gone_through_aloud(
    kernel: FakeKernel, new: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (new / "sbin/init").rename(new / "init")
    (new / "bin").mkdir()
    (new / "bin/sh").symlink_to("/init")
    with pytest.raises(Executed) as end:
        hand_over(Request(str(new)), kernel)
    assert end.value.args[0] == "/bin/sh"
    assert "switch-root: pass over /sbin/init: No such file or directory\n" in capfd.readouterr().err


def test_an_init_that_does_not_start_is_an_error_with_its_errno(kernel: FakeKernel, new: Path) -> None:
    kernel.refusals["execve"] = 8
    with pytest.raises(SwitchRootError) as caught:
        hand_over(Request(str(new), "/sbin/init"), kernel)
    assert caught.value.errno == 8


def test_whichever_request_is_refused_it_is_an_error_and_nothing_is_deleted_before_the_switch(
    tmp_path: Path, new: Path, kernel: FakeKernel
) -> None:
    with pytest.raises(Executed):
        hand_over(Request(str(new), "/sbin/init"), kernel)
    for number in range(len(kernel.calls) + 3):  # MS_MOVE makes a few more than pivot_root
        old = tmp_path / f"old{number}"
        (old / "usr").mkdir(parents=True)
        refusing = FakeKernel(old, number, pivot_root=22)
        refusing.mountinfo, refusing.directories = kernel.mountinfo, {str(new)}
        with pytest.raises((OSError, SwitchRootError, Executed)):
            hand_over(Request(str(new), "/sbin/init"), refusing)
        switched = ("chroot", ".") in refusing.calls[:number]
        assert (old / "usr").exists() or switched, refusing.calls[number]


def test_the_environment_passes_but_for_pyinstallers_own() -> None:
    given = {"PATH": "/bin", "root": "x", "_PYI_ARCHIVE_FILE": "/x", "LD_LIBRARY_PATH_ORIG": "/lib/mine"}
    given["LD_LIBRARY_PATH"] = "/usr/lib/rootfall/_internal"
    assert environment(given) == {"PATH": "/bin", "root": "x", "LD_LIBRARY_PATH": "/lib/mine"}


def test_the_mountinfo_of_a_proc_that_was_moved_over_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("its own\n")
    kernel = switch_root_command.CallersKernel(str(tmp_path))
    assert kernel.read_mountinfo() != "its own\n"

    def gone(self: object) -> str:
        raise FileNotFoundError(2, "No such file or directory", "/proc/self/mountinfo")

    monkeypatch.setattr("rootfall.linux.kernel.Kernel.read_mountinfo", gone)
    assert kernel.read_mountinfo() == "its own\n"


def test_a_console_that_is_not_there_leaves_the_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    switch_root_command._connect(f"{tmp_path}/tty")
    assert f"the streams stay: cannot open {tmp_path}/tty: No such file or directory" in capfd.readouterr().err
    assert not stat.S_ISBLK(os.fstat(1).st_mode)


def test_only_a_ramfs_or_a_tmpfs_is_an_initramfs(kernel: FakeKernel, new: Path) -> None:
    kernel.magic = libc.TMPFS_MAGIC
    with pytest.raises(Executed):
        hand_over(Request(str(new), "/sbin/init"), kernel)
