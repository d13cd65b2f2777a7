# SPDX-License-Identifier: MIT
"""The thin layer on the running kernel: system calls, libblkid on real images, the kernel's devices through pyudev."""

import errno
import os
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import rootfall
from rootfall.linux import blkid, libc, tty, udev

UUID = "0a1b2c3d-1111-2222-3333-444455556666"
INIT = str(Path(rootfall.__file__).parents[1])


def test_statfs_tells_a_file_system_by_name_and_by_descriptor(tmp_path: Path) -> None:
    assert libc.statfs_magic("/proc") == 0x9FA0
    with open("/proc/self/stat") as file:
        assert libc.statfs_magic(file.fileno()) == 0x9FA0
    asked = subprocess.run(["stat", "-f", "-c", "%t", tmp_path], capture_output=True, text=True, check=True)
    assert libc.statfs_magic(str(tmp_path)) == int(asked.stdout, 16)
    with pytest.raises(FileNotFoundError) as caught:
        libc.statfs_magic(str(tmp_path / "absent"))
    assert caught.value.filename == f"{tmp_path}/absent"
    with pytest.raises(OSError, match="Bad file descriptor"):
        libc.statfs_magic(1 << 20)


def test_openat2_neither_crosses_mounts_nor_follows_links(tmp_path: Path) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY
    root = os.open("/", flags)
    here = os.open(tmp_path, flags)
    try:
        with pytest.raises(OSError, match="cross-device") as crossed:
            libc.openat2(root, "proc", flags, libc.RESOLVE_NO_XDEV)
        if crossed.value.errno == errno.ENOSYS:
            pytest.skip("Linux before 5.6 has no openat2(2)")
        (tmp_path / "link").symlink_to("/")
        with pytest.raises(OSError, match="symbolic links"):
            libc.openat2(here, "link", flags, libc.RESOLVE_NO_SYMLINKS)
        (tmp_path / "below").mkdir()
        fd = libc.openat2(here, "below", flags, libc.RESOLVE_NO_XDEV | libc.RESOLVE_NO_SYMLINKS)
        assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "below"))
        assert not os.get_inheritable(fd)
        os.close(fd)
    finally:
        os.close(root)
        os.close(here)


@pytest.mark.parametrize(
    "call",
    [
        lambda: libc.mount("none", "/absent", "tmpfs"),
        lambda: libc.umount2("/absent"),
        lambda: libc.pivot_root("/absent", "/absent"),
        lambda: libc.finit_module(1 << 20, ""),
        lambda: libc.openat2(1 << 20, "x", 0, 0),
    ],
)
def test_a_refusal_is_an_os_error_with_its_number(call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=r"\[Errno \d+\] [A-Z]") as caught:
        call()
    assert caught.value.errno


def test_a_terminal_is_quiet_raw_and_of_the_size_of_another_when_told_so() -> None:
    master, fd = os.openpty()
    other, copy = os.openpty()
    try:
        before = termios.tcgetattr(fd)
        tty.echo(fd, False)
        assert termios.tcgetattr(fd)[3] == before[3] & ~termios.ECHO
        tty.echo(fd, True)
        assert termios.tcgetattr(fd) == before
        raw = tty.Raw(fd)
        raw.enter()
        assert not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        raw.leave()
        assert termios.tcgetattr(fd) == before
        termios.tcsetwinsize(fd, (33, 99))
        tty.copy_size(fd, copy)
        assert termios.tcgetwinsize(copy) == (33, 99)
        peer = tty.open_peer(master)
        assert os.ttyname(peer) == os.ttyname(fd)
        os.close(peer)
        with pytest.raises(OSError, match="TIOCSPTLCK"):
            tty.open_peer(fd)
    finally:
        for each in (master, fd, other, copy):
            os.close(each)


def test_what_is_no_terminal_stays_as_it_is(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    raw = tty.Raw(fd)
    raw.enter()
    raw.leave()
    tty.echo(fd, False)
    tty.copy_size(fd, fd)
    assert os.fstat(fd).st_size == 0
    os.close(fd)


def image(path: Path, *command: str, size: int = 4 << 20) -> str:
    """A file of this size with what the command puts into it."""
    path.touch()
    os.truncate(path, size)
    if command:
        subprocess.run([*command, str(path)], check=True, capture_output=True)
    return str(path)


def test_an_ext4_has_its_tags(tmp_path: Path) -> None:
    tags = blkid.probe(image(tmp_path / "i", "mke2fs", "-q", "-t", "ext4", "-U", UUID, "-L", "my disk é"))
    assert tags == {"TYPE": "ext4", "USAGE": "filesystem", "UUID": UUID, "LABEL": "my disk é"}


@pytest.mark.parametrize("kind", ["ext2", "swap", "squashfs", "btrfs", "xfs", "vfat"])
def test_other_contents_are_what_blkid_says(tmp_path: Path, kind: str) -> None:
    """The tool of the same library, which is the reference; a kind that this machine cannot make is left out."""
    path = tmp_path / "i"
    (tmp_path / "empty").mkdir()
    make = {
        "ext2": ["mke2fs", "-q"],
        "swap": ["mkswap"],
        "squashfs": ["sh", "-c", f'mksquashfs {tmp_path}/empty "$0" -noappend'],
    }
    try:
        found = blkid.probe(image(path, *make.get(kind, [f"mkfs.{kind}"]), size=320 << 20))
    except FileNotFoundError as error:
        pytest.skip(f"no {error.filename} here")
    names = ("TYPE", "UUID", "USAGE", "LABEL", "PTTYPE")
    asked = subprocess.run(["blkid", "-p", "-o", "export", path], capture_output=True, text=True, check=True)
    theirs = dict(line.split("=", 1) for line in asked.stdout.splitlines())
    assert found == {name: theirs[name] for name in names if name in theirs}
    assert found["TYPE"] == kind


def test_nothing_known_is_no_tags_and_no_error(tmp_path: Path) -> None:
    assert blkid.probe(image(tmp_path / "zeros")) == {}
    assert blkid.probe(image(tmp_path / "tiny", size=512)) == {}


def test_two_file_systems_on_one_device_are_never_guessed_between(tmp_path: Path) -> None:
    path = Path(image(tmp_path / "i", "mke2fs", "-q", "-t", "ext4"))
    squashfs = b"hsqs" + bytes(24) + (4).to_bytes(2, "little") + bytes(66)
    with path.open("r+b") as file:
        file.write(squashfs)
    assert blkid.probe(str(path)) == {"TYPE": "ambivalent"}


@pytest.mark.parametrize("name", ["absent", "directory"])
def test_what_cannot_be_probed_is_an_os_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match=name) as caught:
        blkid.probe(f"{tmp_path}/{name}")
    assert caught.value.errno


def test_partitions_have_their_own_tags(tmp_path: Path, loop: Callable[[Path], str]) -> None:
    table = f'label: gpt\nstart=2048, size=4096, uuid={UUID}, name="my root"\nsize=4096\n'
    path = image(tmp_path / "disk", size=8 << 20)
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    assert blkid.probe(path) == {"PTTYPE": "gpt"}
    disk = loop(Path(path))
    if not os.path.exists(f"{disk}p1"):
        pytest.skip(f"the kernel made no {disk}p1")
    tags = blkid.probe(f"{disk}p1")
    assert (tags["PARTUUID"], tags["PARTLABEL"], tags["PARTN"]) == (UUID, "my root", "1")
    assert blkid.probe(f"{disk}p2")["PARTN"] == "2"


def test_the_block_devices_of_this_host_are_present() -> None:
    found = {device.sys_name for device in udev.Monitor(("block",)).present()}
    assert found == set(os.listdir("/sys/class/block"))


def test_the_kernels_uevents_arrive(loop: Callable[[Path], str], tmp_path: Path) -> None:
    monitor = udev.Monitor(("block",))
    device = loop(Path(image(tmp_path / "i")))
    deadline = time.monotonic() + 20
    while (event := monitor.poll(0)) is None or event.device_node != device:
        assert time.monotonic() < deadline, f"no uevent of {device} within 20 s"
        monitor.wait(1)


def test_in_the_frozen_program_pyudev_brings_nothing_that_it_does_not_use() -> None:
    """And what is put in its imports' places is gone afterwards: yaml gets the real ones."""
    code = f"""
import sys
sys.path.insert(0, {INIT!r})
sys.path += {[each for each in sys.path if each]!r}
sys.frozen = True
from rootfall.linux import standins
standins.install()
before = set(sys.modules)
from rootfall.linux import udev
monitor = udev.Monitor(("block",))
names = [device.sys_name for device in monitor.present()]
assert monitor.poll(0) is None or True
unwanted = "re subprocess threading typing enum contextlib _pydatetime _strptime tempfile random shutil selectors signal"
print("new:", sorted(set(unwanted.split()) & set(sys.modules) - before))
print("datetime:", sys.modules["datetime"].__name__)
import yaml
print("yaml:", yaml.safe_load("a: [1, 2.5, 2024-01-02, yes, x]"))
import re, threading, subprocess
print("real:", re.compile("a+").match("aa").end(), threading.Thread.__name__, subprocess.run.__name__)
print("present:", len(names) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "new: []",
        "datetime: _datetime",
        "yaml: {'a': [1, 2.5, datetime.date(2024, 1, 2), True, 'x']}",
        "real: 2 Thread run",
        "present: True",
    ]


@pytest.mark.parametrize(
    ("machine", "bits", "number"),
    [
        ("x86_64", 64, 313), ("x86_64", 32, 350), ("i586", 32, 350), ("i686", 32, 350), ("ia64", 64, 273),
        ("armv6l", 32, 379), ("armv7l", 32, 379), ("armv8l", 32, 379), ("aarch64", 32, 379), ("aarch64", 64, 273),
        ("ppc64", 64, 353), ("ppc64le", 64, 353), ("ppc", 32, 353), ("s390x", 64, 344),
        ("mips", 32, 4348), ("mips64", 32, 4348), ("mips64", 64, 5307), ("riscv64", 64, 273), ("loongarch64", 64, 273),
    ],
)  # fmt: skip
def test_finit_module_has_its_number_on_every_machine(machine: str, bits: int, number: int) -> None:
    assert libc.finit_module_number(machine, bits) == number
