# SPDX-License-Identifier: MIT
"""The hand-over with the real kernel: PID 1 of a PID namespace, on a tmpfs that stands for the initramfs.

The last two steps of a real boot cannot be seen from here: a rootfs that pivot_root(2) refuses, and execve(2) of the real
init. tests/boot shows those in QEMU. Where MS_MOVE is tested, the refusal is made up and the rest is real.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall import mountinfo, mounts, switch_root
from rootfall.errors import MountError, SwitchRootError
from rootfall.linux import libc
from rootfall.linux.kernel import Kernel
from tests.kernel.namespace import become_root, tmpfs

Run = Callable[[Callable[[], None]], None]


def points() -> list[str]:
    return [mount.path for mount in mountinfo.parse(Kernel().read_mountinfo())]


def initramfs(tmp_path: Path) -> int:
    """A root like an unpacked image, with its API file systems; returns its device number."""
    device = become_root(tmpfs(tmp_path))
    for name in ("usr/lib", "sysroot"):
        os.makedirs(f"/{name}")
    Path("/init").touch()
    for each in ("/sys", "/dev", "/run"):
        tmpfs(each)
    os.mkdir("/proc")
    libc.mount("proc", "/proc", "proc")
    return device


def real_root(*directories: str) -> int:
    """A root on /sysroot; returns its device number."""
    tmpfs("/sysroot")
    for each in directories:
        os.mkdir(f"/sysroot{each}")
    os.makedirs("/sysroot/sbin")
    Path("/sysroot/sbin/init").touch()
    return os.stat("/sysroot").st_dev


class OldKernel(Kernel):
    """A kernel that refuses pivot_root(2) as Linux 6.1 does on a rootfs. It deletes nothing but the file system `own`."""

    def __init__(self, own: int) -> None:
        self.own = own

    def pivot_root(self, new_root: str, put_old: str) -> None:
        raise OSError(22, os.strerror(22), new_root)

    def open_directory(self, path: str) -> int:
        fd = super().open_directory(path)
        assert os.fstat(fd).st_dev == self.own, "this is not the tmpfs of the test"
        return fd


@pytest.mark.parametrize("way", ["pivot_root", "MS_MOVE"])
def test_the_real_root_becomes_the_root_and_takes_the_mounts_over(in_namespace: Run, tmp_path: Path, way: str) -> None:
    def test() -> None:
        own = initramfs(tmp_path)
        Path("/run/from-the-initramfs").touch()
        tmpfs("/dev/shm")
        kernel = Kernel() if way == "pivot_root" else OldKernel(own)
        device = real_root("/proc", "/sys", "/dev", "/run")
        old = os.open("/", os.O_RDONLY)
        switch_root.preflight(kernel, "/sysroot")
        assert switch_root.move_mounts(kernel, "/sysroot") == ()
        assert switch_root.switch(kernel, "/sysroot") == way
        assert os.stat("/").st_dev == os.stat(".").st_dev == device
        assert os.getcwd() == "/"
        assert sorted(os.listdir("/")) == ["dev", "proc", "run", "sbin", "sys"]
        assert os.listdir("/run") == ["from-the-initramfs"]
        found = points()
        assert sorted(each for each in found if each != "/") == ["/dev", "/dev/shm", "/proc", "/run", "/sys"]
        left = os.listdir(old)
        assert left == [] if way == "MS_MOVE" else "init" in left, "only our descriptor keeps it in memory"
        os.close(old)

    in_namespace(test)


@pytest.mark.parametrize("way", ["pivot_root", "MS_MOVE"])
def test_a_read_only_root_without_places_for_the_mounts_is_entered_all_the_same(
    in_namespace: Run, tmp_path: Path, way: str
) -> None:
    def test() -> None:
        own = initramfs(tmp_path)
        device = real_root("/proc", "/elsewhere")
        os.symlink("/elsewhere", "/sysroot/dev")
        libc.mount(None, "/sysroot", None, libc.MS_REMOUNT | libc.MS_RDONLY)
        kernel = Kernel() if way == "pivot_root" else OldKernel(own)
        lost = switch_root.move_mounts(kernel, "/sysroot")
        assert [each.partition(":")[0] for each in lost] == ["/sys", "/dev", "/run"]
        assert switch_root.switch(kernel, "/sysroot") == way
        assert os.stat("/").st_dev == device
        assert os.listdir("/elsewhere") == []
        assert points().count("/elsewhere") == 0

    in_namespace(test)


def test_mounts_that_propagate_do_not_follow_us(in_namespace: Run, tmp_path: Path) -> None:
    """A shared root makes pivot_root(2) and MS_MOVE EINVAL: it is made private first."""

    def test() -> None:
        initramfs(tmp_path)
        device = real_root("/proc", "/sys", "/dev", "/run")
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_SHARED)
        kernel = Kernel()
        try:
            switch_root.move_mounts(kernel, "/sysroot")
        finally:
            assert switch_root.switch(kernel, "/sysroot") == "pivot_root"
        assert os.stat("/").st_dev == device

    in_namespace(test)


def test_the_preflight_sees_what_is_not_mounted_and_what_is_no_initramfs(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        with pytest.raises(SwitchRootError, match="the real root is not mounted"):
            switch_root.preflight(Kernel(), str(tmp_path))
        tmpfs(tmp_path)
        if libc.statfs_magic("/") not in (libc.RAMFS_MAGIC, libc.TMPFS_MAGIC):
            with pytest.raises(SwitchRootError, match="not an initramfs"):
                switch_root.preflight(Kernel(), str(tmp_path))

    in_namespace(test)


def test_the_api_file_systems_are_mounted_once(in_namespace: Run, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("devtmpfs needs root")

    def test() -> None:
        become_root(tmpfs(tmp_path))
        os.mkdir("/proc")
        mounts.mount_api_file_systems()
        first = Kernel().read_mountinfo()
        kinds = {line.split()[4]: (line.split(" - ")[1].split()[0], line.split()[5]) for line in first.splitlines()}
        assert {point: kind for point, (kind, _) in kinds.items() if point != "/"} == {
            "/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/run": "tmpfs",
        }  # fmt: skip
        assert "noexec" not in kinds["/run"][1]
        assert {"nosuid", "nodev"} <= set(kinds["/run"][1].split(","))
        assert os.path.exists("/dev/null")
        assert os.stat("/run").st_mode & 0o7777 == 0o755
        mounts.mount_api_file_systems()
        assert Kernel().read_mountinfo() == first

    in_namespace(test)


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_a_real_ext4_is_mounted_as_it_is_asked_for(
    in_namespace: Run, tmp_path: Path, loop: Callable[[Path], str], mode: str
) -> None:
    image = tmp_path / "ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", image, "8M"], check=True)
    device = loop(image)
    (tmp_path / "root").mkdir()

    def test() -> None:
        target = str(tmp_path / "root")
        with pytest.raises(MountError, match="errno 22"):
            mounts.mount_root(device, target, ("squashfs", "ext4"), ("no-such-option",), mode)
        assert mounts.mount_root(device, target, ("squashfs", "ext4"), ("noatime", "errors=remount-ro"), mode) == "ext4"
        line = next(line for line in Kernel().read_mountinfo().splitlines() if f" {target} " in line)
        assert {mode, "noatime"} <= set(line.split()[5].split(","))
        assert "errors=remount-ro" in line.split(" - ")[1]
        with pytest.raises(MountError, match="Device or resource busy"):
            mounts.mount_root(device, target, ("ext4",), (), "ro")
        with pytest.raises(MountError, match=r"add its module to image\.modules"):
            mounts.mount_root(device, target, ("nosuchfs",), (), "ro")

    in_namespace(test)
