# SPDX-License-Identifier: MIT
"""The old root is deleted: all of it, nothing but it. On a real tmpfs, in a mount namespace."""

import errno
import fcntl
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootfall.linux import libc
from rootfall.switch_root import delete_contents
from tests.kernel.namespace import tmpfs

Run = Callable[[Callable[[], None]], None]
FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x40086602, 0x10


def delete(directory: str) -> int:
    """delete_contents on an open directory; no descriptor may be left over."""
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    deleted = delete_contents(fd)
    os.fstat(fd)
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before
    return deleted


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 256
)
TREES = st.recursive(
    st.sampled_from(["file", "link", "dangling", "fifo"]),
    lambda below: st.dictionaries(NAMES, below, max_size=5),
    max_leaves=30,
)


def grow(directory: str, tree: dict[str, object]) -> int:
    """Make the tree; returns how many entries it has."""
    count = len(tree)
    for name, what in tree.items():
        path = f"{directory}/{name}"
        match what:
            case dict():
                os.mkdir(path)
                count += grow(path, what)
            case "file":
                Path(path).touch()
            case "fifo":
                os.mkfifo(path)
            case _:
                os.symlink("/" if what == "link" else "/nowhere", path)
    return count


def test_any_tree_goes_to_the_last_entry(in_namespace: Run, tmp_path: Path) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.dictionaries(NAMES, TREES, max_size=6))
    def any_tree(tree: dict[str, object]) -> None:
        count = grow(f"{tmp_path}", tree)
        assert delete(f"{tmp_path}") == count
        assert os.listdir(tmp_path) == []

    def test() -> None:
        tmpfs(tmp_path)
        any_tree()

    in_namespace(test)


def test_names_of_any_bytes_and_of_full_length_go(in_namespace: Run, tmp_path: Path) -> None:
    names = [b"a\nb", b"\xff\xfe", b"-rf", b" ", b"\x1b[2J", b"x" * 255, b"*", "é".encode()]

    def test() -> None:
        root = os.fsencode(tmpfs(tmp_path))
        for name in names:
            os.mkdir(root + b"/" + name)
            os.close(os.open(root + b"/" + name + b"/" + name, os.O_CREAT | os.O_WRONLY))
        assert delete(str(tmp_path)) == 2 * len(names)
        assert os.listdir(tmp_path) == []

    in_namespace(test)


def test_a_hundred_thousand_files_go(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        fd = os.open(tmpfs(tmp_path), os.O_RDONLY)
        for number in range(100_000):
            os.mknod(f"{number}", 0o600, dir_fd=fd)
        os.close(fd)
        assert delete(str(tmp_path)) == 100_000
        assert os.listdir(tmp_path) == []

    in_namespace(test)


def test_a_tree_deeper_than_descriptors_and_recursion_goes(in_namespace: Run, tmp_path: Path) -> None:
    depth = 3000

    def test() -> None:
        fd = os.open(tmpfs(tmp_path), os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=fd)
            os.mknod("f", dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        few = max(map(int, os.listdir("/proc/self/fd"))) + 5
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
        assert delete(str(tmp_path)) == 2 * depth
        assert os.listdir(tmp_path) == []

    in_namespace(test)


def test_a_symbolic_link_goes_and_what_it_names_stays(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        old, real = tmpfs(tmp_path / "old"), tmpfs(tmp_path / "real")
        Path(real, "precious").touch()
        os.symlink(real, f"{old}/absolute")
        os.symlink("../real", f"{old}/relative")
        os.mkdir(f"{old}/below")
        os.symlink("../../real/precious", f"{old}/below/file")
        assert delete(old) == 4
        assert os.listdir(old) == []
        assert os.listdir(real) == ["precious"]

    in_namespace(test)


def mounts_inside(tmp_path: Path) -> tuple[str, str]:
    """A tree with a tmpfs, a bind mount of the same file system and a bind-mounted file in it."""
    old, new = tmpfs(tmp_path / "old"), tmpfs(tmp_path / "new")
    for name in ("kept", "a/b/tmpfs", "a/bind", "deleted/x"):
        os.makedirs(f"{old}/{name}")
    Path(new, "precious").touch()
    libc.mount(new, f"{old}/a/b/tmpfs", None, libc.MS_BIND)
    Path(old, "file").touch()
    libc.mount(f"{new}/precious", f"{old}/file", None, libc.MS_BIND)
    return old, new


def test_mounts_inside_stay_with_all_that_is_on_them(in_namespace: Run, tmp_path: Path) -> None:
    def test() -> None:
        old, new = mounts_inside(tmp_path)
        # The nasty one: the very same file system, seen from another mount; its device number is the same.
        outside = tmp_path / "outside"
        outside.mkdir()
        libc.mount(old, str(outside), None, libc.MS_BIND)
        Path(outside, "kept/precious").touch()
        libc.mount(f"{old}/kept", f"{old}/a/bind", None, libc.MS_BIND)
        libc.mount(f"{old}/kept", f"{old}/kept", None, libc.MS_BIND)
        assert delete(old) == 2
        assert sorted(os.listdir(old)) == ["a", "file", "kept"]
        assert os.listdir(f"{old}/kept") == os.listdir(f"{old}/a/bind") == ["precious"]
        assert os.listdir(new) == os.listdir(f"{old}/a/b/tmpfs") == ["precious"]

    in_namespace(test)


def test_before_openat2_other_file_systems_stay_too(
    in_namespace: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux before 5.6 answers ENOSYS; there the device number tells."""

    def absent(*arguments: object) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(libc, "openat2", absent)

    def test() -> None:
        old, new = mounts_inside(tmp_path)
        os.symlink(new, f"{old}/link")
        assert delete(old) == 5
        assert sorted(os.listdir(old)) == ["a", "file"]
        assert os.listdir(new) == ["precious"]

    in_namespace(test)


def test_what_cannot_be_deleted_stays_and_the_rest_goes(in_namespace: Run, tmp_path: Path) -> None:
    """An immutable file (chattr +i) in the middle of it."""

    def test() -> None:
        old = tmpfs(tmp_path)
        grow(old, {"a": {"b": {"stuck": "file", "x": "file"}, "c": "file"}, "d": {}})
        with open(f"{old}/a/b/stuck") as file:
            try:
                fcntl.ioctl(file, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL.to_bytes(8, "little"))
            except OSError:
                return  # a tmpfs before Linux 6.6, or not root
        assert delete(old) == 3
        assert [os.listdir(f"{old}/{name}") for name in ("", "a", "a/b")] == [["a"], ["b"], ["stuck"]]

    in_namespace(test)
