# SPDX-License-Identifier: MIT
"""`rootfall switch-root` and the move set with the real kernel: PID 1 of a PID namespace."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rootfall import mountinfo, switch_root, switch_root_command
from rootfall.errors import SwitchRootError
from rootfall.linux import libc
from rootfall.linux.kernel import Kernel
from rootfall.switch_root_command import Request
from tests.kernel.namespace import become_root, tmpfs

Run = Callable[[Callable[[], None]], None]


class Executed(BaseException):
    """Where execve(2) would not return."""


class NoExec(switch_root_command.CallersKernel):
    """The running kernel, but for the last call."""

    def execve(self, path: str, argv: tuple[str, ...], environment: Mapping[str, str]) -> None:
        raise Executed(path, argv)


def initramfs(tmp_path: Path) -> None:
    """A tmpfs as the root, with the API file systems that a caller's script has mounted."""
    become_root(tmpfs(tmp_path))
    for each in ("/sysroot", "/proc"):
        os.mkdir(each)
    for each in ("/sys", "/dev", "/run"):
        tmpfs(each)
    libc.mount("proc", "/proc", "proc")


def init_in(root: str) -> None:
    """An init that could run here."""
    os.makedirs(f"{root}/sbin")
    with open("/proc/self/exe", "rb") as file:
        Path(root, "sbin/init").write_bytes(file.read(64) + bytes(64))
    os.chmod(f"{root}/sbin/init", 0o755)


def test_a_root_that_is_no_initramfs_is_refused_and_nothing_of_it_is_touched(
    in_namespace: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The root of this very machine, seen by PID 1 of a namespace."""
    if libc.statfs_magic("/") in (libc.RAMFS_MAGIC, libc.TMPFS_MAGIC):
        pytest.skip("this machine's own root is a tmpfs: it would not survive a mistake")

    def test() -> None:
        root = tmpfs(tmp_path / "new")
        init_in(root)
        before = Kernel().read_mountinfo()
        assert switch_root_command.main(["rootfall", "switch-root", root, "/sbin/init"]) == 1
        assert Kernel().read_mountinfo() == before
        assert os.path.exists("/etc/passwd")

    in_namespace(test)
    assert (
        "the current root is not an initramfs: it would have to be deleted, and will not be" in capfd.readouterr().err
    )


def test_the_hand_over_of_a_caller_who_has_moved_proc_himself(in_namespace: Run, tmp_path: Path) -> None:
    """As scripts for busybox do; the new root's own mount is then kept."""

    def test() -> None:
        initramfs(tmp_path)
        tmpfs("/sysroot")
        init_in("/sysroot")
        os.mkdir("/sysroot/proc")
        libc.mount("/proc", "/sysroot/proc", None, libc.MS_MOVE)
        with pytest.raises(Executed) as end:
            switch_root_command.hand_over(Request("/sysroot", "sbin/init", ("a",)), NoExec("/sysroot"))
        assert end.value.args == ("/sbin/init", ("/sbin/init", "a"))
        found = [mount.path for mount in mountinfo.parse(Kernel().read_mountinfo())]
        assert sorted(found) == ["/", "/dev", "/proc", "/run", "/sys"]

    in_namespace(test)


def test_no_link_is_followed_and_no_mount_is_covered(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        initramfs(tmp_path)
        tmpfs("/sysroot")
        for name in ("proc", "elsewhere", "run", "a"):
            os.mkdir(f"/sysroot/{name}")
        os.symlink("/sysroot/elsewhere", "/sysroot/dev")
        os.symlink("../elsewhere", "/sysroot/a/b")
        os.makedirs("/a/b/c")
        tmpfs("/a/b/c")
        tmpfs("/sysroot/run")
        Path("/sysroot/run/its-own").touch()
        lost = switch_root.move_mounts(Kernel(), "/sysroot")
        link = "no directory there, and no link is followed"
        assert lost == (f"/dev: {link}", "/run: the new root has its own there", f"/a/b/c: {link}")
        assert os.listdir("/sysroot/elsewhere") == []
        assert os.listdir("/sysroot/run") == ["its-own"]
        assert os.stat("/dev").st_dev == os.stat("/run").st_dev == os.stat("/").st_dev, "let go of"
        assert os.stat("/sysroot/sys").st_dev != os.stat("/sysroot").st_dev, "a place that was missing was made"

    in_namespace(test)


def test_a_new_root_inside_another_mount_takes_over(in_namespace: Run, tmp_path: Path) -> None:
    """The mount that holds it is not let go of: the new root would go with it."""

    def test() -> None:
        initramfs(tmp_path)
        device = os.stat(tmpfs("/run/new")).st_dev
        os.mkdir("/run/new/proc")
        assert switch_root.move_mounts(Kernel(), "/run/new") == ()
        assert os.stat("/run/new").st_dev == device
        switch_root.switch(Kernel(), "/run/new")
        assert os.stat("/").st_dev == device

    in_namespace(test)


def test_a_directory_that_is_no_mount_is_refused(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        initramfs(tmp_path)
        with pytest.raises(SwitchRootError, match=r"no mount there; .*mount --bind"):
            switch_root_command.hand_over(Request("/sysroot"), NoExec("/sysroot"))
        with pytest.raises(SwitchRootError, match="it is the root already"):
            switch_root_command.hand_over(Request("/"), NoExec("/"))

    in_namespace(test)
