# SPDX-License-Identifier: MIT
"""Paths below a root that somebody else made: the kernel's own look-up and ours find the same, and neither leaves the root."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootfall.container import in_root
from rootfall.linux import libc
from tests.kernel import container

Run = Callable[[Callable[[], None]], None]


@pytest.fixture
def root(tmp_path: Path) -> int:
    (tmp_path / "root/inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("the host's")
    return os.open(tmp_path / "root", os.O_PATH)


def found(look_up: Callable[[], int]) -> tuple[int, int] | int:
    """What a look-up finds, as device and inode, or its errno."""
    try:
        fd = look_up()
    except OSError as error:
        return error.errno or 0
    status = os.fstat(fd)
    os.close(fd)
    return status.st_dev, status.st_ino


_NAMES = st.sampled_from(["a", "b", "c", "..", "."])
_PATHS = st.builds(
    lambda names, slash: slash + "/".join(names), st.lists(_NAMES, min_size=1, max_size=5), st.sampled_from(["", "/"])
)
_PLACES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.dictionaries(_PLACES, _PATHS, max_size=5), path=_PATHS, follow=st.booleans())
def test_our_look_up_finds_what_the_kernels_finds(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], path: str, follow: bool
) -> None:
    top = tmp_path_factory.mktemp("root")
    for place in ("a", "b", "c", "a/b", "a/c", "b/a", "a/b/c"):
        above = os.path.realpath(top / place / "..")  # below a link nothing is made: that would be elsewhere
        if above != str((top / place).parent) or not os.path.isdir(above):
            continue
        if place in links:
            (top / place).symlink_to(links[place])
        else:
            (top / place).mkdir()
    root = os.open(top, os.O_PATH)
    kernels = found(lambda: in_root.open_place(root, path, follow))
    assert found(lambda: in_root._walk(root, path, follow, "")) == kernels
    os.close(root)


@pytest.mark.parametrize("old", [(), container.OPENAT2], ids=["openat2", "walk"])
@pytest.mark.parametrize(
    ("link", "path", "inside"),
    [
        ("/inside", "link", "inside"),
        ("../../../inside", "link", "inside"),
        ("/../outside", "link/made", "outside/made"),
        ("../outside/file", "link", "outside/file"),
        ("nowhere", "link/../link/x", "nowhere/x"),
        ("inside", "link/../../..//./link/y", "inside/y"),
    ],
)
def test_what_is_missing_is_made_in_the_root_wherever_the_links_point(
    in_namespace: Run, tmp_path: Path, root: int, old: tuple[int, ...], link: str, path: str, inside: str
) -> None:
    (tmp_path / "root/link").symlink_to(link)
    before = sorted(os.listdir(tmp_path / "outside"))

    def test() -> None:
        if old:
            container.without(old)
        os.umask(0o077)
        os.close(in_root.make_place(root, path, in_root.FILE))
        assert os.umask(0o022) == 0o077

    in_namespace(test)
    if inside != "inside":
        assert (tmp_path / "root" / inside).read_bytes() == b""
        assert (tmp_path / "root" / inside).parent.stat().st_mode & 0o777 == 0o755
    assert sorted(os.listdir(tmp_path / "outside")) == before
    assert (tmp_path / "outside/file").read_text() == "the host's"


@pytest.mark.parametrize("old", [(), container.OPENAT2], ids=["openat2", "walk"])
def test_a_directory_that_may_only_be_passed_is_passed(
    in_namespace: Run, tmp_path: Path, root: int, old: tuple[int, ...]
) -> None:
    (tmp_path / "root/inside/deep").mkdir()
    (tmp_path / "root/inside").chmod(0o111)

    def test() -> None:
        if old:
            container.without(old)
        os.close(in_root.open_place(root, "/inside/deep"))

    in_namespace(test)
    (tmp_path / "root/inside").chmod(0o755)


@pytest.mark.parametrize("old", [(), container.OPENAT2], ids=["openat2", "walk"])
def test_a_magic_link_of_proc_leads_nowhere(in_namespace: Run, tmp_path: Path, root: int, old: tuple[int, ...]) -> None:
    (tmp_path / "root/proc").symlink_to("inside")

    def test() -> None:
        libc.mount("proc", str(tmp_path / "root/inside"), "proc")
        if old:
            container.without(old)
        out = os.open(tmp_path / "outside", os.O_PATH)
        here = os.open(tmp_path / "root", os.O_PATH)  # in this namespace, where proc is mounted in it
        inside = (os.fstat(here).st_dev, os.fstat(here).st_ino)
        for path in ("/proc/self/root", "/proc/self/cwd", f"/proc/self/fd/{out}", f"/proc/self/fd/{out}/file"):
            # The kernel refuses it (ELOOP); our walk reads its text, as any link's, in the root, where little is.
            seen = found(partial(in_root.open_place, here, path))
            assert seen in ((2, inside) if old else (40,)), path

    in_namespace(test)


def test_a_circle_of_links_ends(tmp_path: Path, root: int) -> None:
    (tmp_path / "root/a").symlink_to("b")
    (tmp_path / "root/b").symlink_to("a")
    assert found(lambda: in_root.open_place(root, "a")) == found(lambda: in_root._walk(root, "a", True, "")) == 40
    before = len(os.listdir("/proc/self/fd"))
    assert found(lambda: in_root.make_place(root, "a/x", in_root.FILE)) == 40
    assert len(os.listdir("/proc/self/fd")) == before


def test_however_deep_a_place_is_no_descriptor_is_left_open(tmp_path: Path, root: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    os.close(in_root.make_place(root, "d/" * 200 + "file", in_root.FILE))
    assert len(os.listdir("/proc/self/fd")) == before
