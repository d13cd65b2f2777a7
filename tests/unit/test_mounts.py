# SPDX-License-Identifier: MIT
"""Mount options as mount(8) writes them, and the API file systems where they are not mounted yet."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import mounts
from rootfall.errors import MountError
from rootfall.linux import libc

# The kernel's own numbers (include/uapi/linux/mount.h), written down a second time.
FLAGS = {
    "ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "sync": 0x10, "mand": 0x40, "dirsync": 0x80,
    "nosymfollow": 0x100, "noatime": 0x400, "nodiratime": 0x800, "silent": 0x8000, "relatime": 0x200000,
    "strictatime": 0x1000000, "lazytime": 0x2000000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (0, "")),
        (("rw", "defaults"), (0, "")),
        (("noatime", "data=ordered", "ro"), (0x401, "data=ordered")),
        (("subvol=@", "compress=zstd:3", "x-systemd.automount", "_netdev"), (0, "subvol=@,compress=zstd:3")),
        (("context=system_u:object_r:tmp_t:s0:c1,c2",), (0, "context=system_u:object_r:tmp_t:s0:c1,c2")),
        *[((word,), (flag, "")) for word, flag in FLAGS.items()],
    ],
)
def test_options_become_flags_and_data(options: tuple[str, ...], expected: tuple[int, str]) -> None:
    assert mounts.parse_options(options) == expected


@given(st.lists(st.sampled_from([*FLAGS, "rw", "defaults", "x-a", "nofail", "errors=continue", "usrquota"])))
def test_every_option_is_a_flag_or_data_or_for_nobody(options: list[str]) -> None:
    flags, data = mounts.parse_options(tuple(options))
    assert flags == sum({FLAGS[each] for each in options if each in FLAGS})
    assert (data.split(",") if data else []) == [each for each in options if each in ("errors=continue", "usrquota")]


def answers(monkeypatch: pytest.MonkeyPatch, replies: dict[str, int]) -> list[tuple[object, ...]]:
    """libc.mount as a kernel that answers each type with an errno (0: done)."""
    calls: list[tuple[object, ...]] = []

    def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
        calls.append((source, target, fstype, flags, data))
        if errno := replies.get(fstype, 0):
            raise OSError(errno, os.strerror(errno), target)

    monkeypatch.setattr(libc, "mount", mount)
    return calls


def test_types_are_tried_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answers(monkeypatch, {"xfs": 22})
    assert mounts.mount_root("/dev/x", "/sysroot", ("xfs", "ext4", "btrfs"), ("noatime", "a=b"), "ro") == "ext4"
    assert calls == [("/dev/x", "/sysroot", "xfs", 0x401, "a=b"), ("/dev/x", "/sysroot", "ext4", 0x401, "a=b")]


def test_a_file_system_that_the_kernel_lacks_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"ext4": 19})
    with pytest.raises(MountError) as caught:
        mounts.mount_root("/dev/x", "/sysroot", ("ext4",), (), "rw")
    assert (caught.value.errno, caught.value.subject) == (19, "/dev/x as ext4")
    assert "image.modules" in caught.value.hint


def test_of_several_types_each_is_reported_with_what_the_kernel_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"xfs": 19, "ext4": 22})
    with pytest.raises(MountError) as caught:
        mounts.mount_root("/dev/x", "/sysroot", ("xfs", "ext4"), (), "rw")
    assert caught.value.seen == "xfs: No such device (errno 19); ext4: Invalid argument (errno 22)"
    assert (caught.value.errno, caught.value.subject) == (22, "/dev/x as xfs, ext4")


def test_the_api_file_systems_are_those_of_the_initrd_interface() -> None:
    assert [(m.target, m.fstype) for m in mounts.API_MOUNTS] == [
        ("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs"), ("/run", "tmpfs"),
    ]  # fmt: skip
    run = mounts.API_MOUNTS[3]
    assert not run.flags & libc.MS_NOEXEC
    assert all(m.flags & libc.MS_NOSUID for m in mounts.API_MOUNTS)
