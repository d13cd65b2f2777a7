# SPDX-License-Identifier: MIT
"""Lines of /proc/self/mountinfo, as the kernel writes them."""

import pytest

from rootfall.mountinfo import Mount, parse


def test_a_mount_is_read_with_its_optional_fields() -> None:
    text = (
        "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n"
        "30 22 0:20 /a /b rw shared:7 master:3 propagate_from:2 - tmpfs none rw\n"
        "31 30 0:21 / /c rw unbindable - cgroup cgroup rw,cpu,cpuacct\n"
    )
    assert parse(text) == (
        Mount(22, 1, "/", "/", 1, "ext4", options="rw"),
        Mount(30, 22, "/a", "/b", 7, "tmpfs", options="rw"),
        Mount(31, 30, "/", "/c", 0, "cgroup", unbindable=True, options="rw,cpu,cpuacct"),
    )


def test_its_names_are_read_without_their_escapes() -> None:
    (mount,) = parse("7 1 8:1 /gone//deleted /a\\040b\\011c\\012d\\134040e\\043f rw - ext4 x rw\n")
    assert (mount.root, mount.path) == ("/gone//deleted", "/a b\tc\nd\\040e#f")


@pytest.mark.parametrize("odd", ["\r", "\f", "\x85", "\u2028", "\udcff", "-"])
def test_a_name_may_hold_all_that_is_not_escaped(odd: str) -> None:
    (mount,) = parse(f"5 4 0:1 / /a{odd}b rw - tmpfs tmpfs rw\n")
    assert mount.path == f"/a{odd}b"


def test_no_text_has_no_mounts() -> None:
    assert parse("") == ()
