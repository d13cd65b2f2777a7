# SPDX-License-Identifier: MIT
"""What an image may hold, and what is refused."""

from pathlib import Path

import pytest

from rootfall.errors import BuildError
from rootfall_build.image import Directory, File, Image, Node, Symlink


def paths(image: Image) -> list[str]:
    return [placed.entry.path for placed in image]


def test_parents_are_added_before_what_they_hold() -> None:
    image = Image()
    image.add(File("usr/lib/b", 0o644, b""), "b")
    image.add(File("usr/lib-x", 0o644, b""), "x")
    image.add(File("usr/lib/a", 0o644, b""), "a")
    assert paths(image) == ["usr", "usr/lib", "usr/lib/a", "usr/lib/b", "usr/lib-x"]
    assert image["usr/lib"].why == "holds usr/lib/b"


def test_the_same_entry_twice_is_one_entry_with_its_first_reason() -> None:
    image = Image()
    image.add(File("init", 0o755, b"x"), "first")
    image.add(File("init", 0o755, b"x"), "second")
    assert len(image) == 1
    assert image["init"].why == "first"


def test_two_things_at_one_path_are_refused_and_both_are_named() -> None:
    image = Image()
    image.add(File("init", 0o755, b"x"), "the runtime")
    with pytest.raises(BuildError, match=r"a link to y \(the hook\).*a file of 1 bytes, mode 0755 \(the runtime\)"):
        image.add(Symlink("init", "y"), "the hook")


def test_an_explicit_directory_replaces_an_implied_one() -> None:
    image = Image()
    image.add(File("tmp/x", 0o644, b""), "x")
    image.add(Directory("tmp", 0o1777), "skeleton")
    image.add(File("tmp/y", 0o644, b""), "y")
    assert image["tmp"].entry == Directory("tmp", 0o1777)


def test_nothing_can_be_put_below_a_link() -> None:
    image = Image()
    image.add(Symlink("lib", "usr/lib"), "skeleton")
    with pytest.raises(BuildError, match=r"its parent lib is a link to usr/lib"):
        image.add(File("lib/x", 0o644, b""), "x")


@pytest.mark.parametrize("path", ["/init", "", "a//b", "a/../b", "./a", "a/"])
def test_paths_that_are_not_plain_are_refused(path: str) -> None:
    with pytest.raises(BuildError, match="not plain"):
        Image().add(Node(path, 0o600, 5, 1), "x")


def test_a_file_is_read_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    entry = File("f", 0o644, tmp_path / "f")
    assert (entry.size, entry.read()) == (5, b"12345")
