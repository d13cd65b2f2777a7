# SPDX-License-Identifier: MIT
"""The words of mount(8) as attributes of mounts."""

import pytest

from rootfall import mountinfo
from rootfall.container import attributes, mount_walk
from rootfall.container.model import Container, Process, Root
from rootfall.container.plan import make_plan
from rootfall.errors import ContainerError
from rootfall.linux import libc
from rootfall.linux.mount_api import (
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)

SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV


@pytest.mark.parametrize(
    ("words", "own", "below"),
    [
        ("", SAFE, 0),
        ("ro", SAFE | MOUNT_ATTR_RDONLY, 0),
        ("ro rw", SAFE, 0),
        ("rro", SAFE | MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY),
        ("dev suid exec", 0, 0),
        ("dev nodev", SAFE, 0),
        ("noexec rnoexec noatime", SAFE | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME, MOUNT_ATTR_NOEXEC),
        ("relatime defaults", SAFE, 0),
    ],
)
def test_words_are_attributes_of_a_mount_or_of_all_below_it(words: str, own: int, below: int) -> None:
    options = attributes.parse(tuple(words.split()), SAFE)
    assert (options.attributes, options.below, options.data) == (own, below, ())


@pytest.mark.parametrize(
    ("words", "propagation", "recursive"),
    [
        ("", libc.MS_PRIVATE, True),
        ("bind rslave", libc.MS_SLAVE, False),
        ("rbind shared", libc.MS_SHARED, True),
        ("unbindable", libc.MS_UNBINDABLE, True),
        ("rprivate", libc.MS_PRIVATE, True),
    ],
)
def test_words_of_trees(words: str, propagation: int, recursive: bool) -> None:
    options = attributes.parse(tuple(words.split()))
    assert (options.propagation, options.recursive, options.data) == (propagation, recursive, ())


def test_what_is_no_flag_is_the_file_systems_own() -> None:
    options = attributes.parse(("size=1m", "ro", "newinstance", "name=a=b", "relative"))
    assert options.data == (("size", "1m"), ("newinstance", None), ("name", "a=b"), ("relative", None))


def test_attributes_have_their_flags_of_mount_2() -> None:
    assert attributes.mount_flags(SAFE | MOUNT_ATTR_NOATIME) == libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOATIME


def test_what_is_inside_of_a_mount_is_found_at_any_depth() -> None:
    text = "".join(
        f"{number} {parent} 0:1 / / rw - tmpfs none rw\n" for number, parent in ((22, 1), (30, 22), (31, 30), (32, 31))
    )
    assert mount_walk.inside(mountinfo.parse(text), 30) == {30, 31, 32}


def test_a_container_without_a_mount_namespace_has_no_plan() -> None:
    asked = Container("x", Root("/"), Process(("true",)), namespaces=("pid",))
    with pytest.raises(ContainerError, match="start"):
        make_plan(asked)
