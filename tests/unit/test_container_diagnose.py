# SPDX-License-Identifier: MIT
"""The causes of a failed pivot_root from texts and records alone: what cannot be provoked here, and which one wins."""

import errno

import pytest

from rootfall import mountinfo
from rootfall.container import pivot_command
from rootfall.container.diagnose import checks, diagnose
from rootfall.container.facts import Act, Facts, Place, quote, uppermost
from rootfall.container.pivot_command import Request, UsageError, parse
from rootfall.mountinfo import Mount

# A machine as it is, with a new root and a mount whose name needs care.
MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw - proc proc rw
40 27 0:40 / /new rw,relatime shared:7 master:3 propagate_from:2 - tmpfs tmpfs rw
41 40 0:41 / /new/a\\040b\\011c\\134d rw unbindable - tmpfs tmpfs rw
42 27 254:0 /gone//deleted /bound rw - ext4 /dev/vda rw
"""
MOUNTS = {each.id: each for each in (*mountinfo.parse(MOUNTINFO), Mount(1, 1, "", "", 0, "rootfs"))}
ROOT = Place("/", "/", 27)
NEW = Place("/new", "/new", 40)
OLD = Place("/new/old", "/new/old", 40, mount_root=False)


def facts(new: Place = NEW, old: Place = OLD, root: Place = ROOT, **others: object) -> Facts:
    """A pivot_root that would succeed, but for what is given; no mount is shared."""
    mounts = {number: mount._replace(peers=0) for number, mount in MOUNTS.items()}
    return Facts(new, old, root, mounts)._replace(**others)  # type: ignore[arg-type]


def test_what_is_mounted_on_top_is_what_counts() -> None:
    assert uppermost(OLD, MOUNTS) == OLD
    assert uppermost(Place(".", "/new", 27, mount_root=False), MOUNTS) == Place(".", "/new", 40)
    assert uppermost(Place("/bound", "/bound", 27, mount_root=False), MOUNTS).deleted
    stacked = {**MOUNTS, 50: Mount(50, 40, "/", "/new", 0, "tmpfs"), 51: Mount(51, 50, "/", "/new", 0, "tmpfs")}
    assert uppermost(NEW, stacked).mount == 51


def test_nothing_is_the_matter() -> None:
    assert diagnose(facts()) is None
    assert [check.found for check in checks(facts())] == [None] * 19


@pytest.mark.parametrize(
    ("fstype", "cause", "words"),
    [
        ("rootfs", "initial ramfs", "use switch_root"),
        ("tmpfs", "initial ramfs", "use switch_root"),
        ("nullfs", "bottom of all mounts", "chroot into that"),
    ],
)
def test_the_bottom_of_all_mounts_cannot_be_left(fstype: str, cause: str, words: str) -> None:
    """The initial ramfs before Linux 7.0; from then on a nullfs is below it, and this is about that one."""
    mounts = {**facts().mounts, 27: Mount(27, 27, "/", "/", 0, fstype)}
    found = diagnose(facts(mounts=mounts), errno.EINVAL)
    assert found
    assert (found.cause, found.errno) == (cause, errno.EINVAL)
    assert words in found.remedy
    assert found.fix == ()


def test_a_new_root_that_is_the_bottom_of_all_mounts() -> None:
    mounts = {**facts().mounts, 40: Mount(40, 40, "/", "", 0, "rootfs")}
    found = diagnose(facts(mounts=mounts))
    assert found
    assert found.cause == "bottom of all mounts"


def test_the_first_check_that_fails_is_the_kernels_answer_and_the_others_are_told() -> None:
    """A plain directory on the shared root, on a locked mount: shared comes before locked, locked before EBUSY."""
    new = Place("/dir", "/dir", 27, mount_root=False, locked=True)
    mounts = {**facts().mounts, 1: Mount(1, 1, "", "", 9, "rootfs")}
    asked = facts(new, Place("/dir", "/dir", 27, mount_root=False), mounts=mounts)
    failed = [check.found.cause for check in checks(asked) if check.found]
    assert failed == ["shared", "shared", "locked", "not a mount point", "same mount"]
    first = diagnose(asked)
    assert first
    assert first.errno == errno.EINVAL


def test_the_errno_is_the_authority() -> None:
    """The kernel stopped at another check than we think: the cause is one that gives its errno."""
    asked = facts(
        Place("/dir", "/dir", 27, mount_root=False), Place("/", "/", 27), Place("/", "/", 27, mount_root=False)
    )
    assert [diagnose(asked), diagnose(asked, errno.EBUSY)] == [diagnose(asked, errno.EBUSY)] * 2
    found = diagnose(asked, errno.EINVAL)
    assert found
    assert found.cause == "chroot"
    for code, cause in ((errno.EPERM, "security module"), (errno.EACCES, "security module"), (errno.ENOMEM, "unknown")):
        found = diagnose(facts(), code)
        assert found
        assert (found.cause, found.errno) == (cause, code)


def test_before_linux_7_permission_comes_first_and_since_then_after_the_names() -> None:
    nowhere = Place("/none", errno=errno.ENOENT, culprit="/none")
    for first, code in ((True, errno.EPERM), (False, errno.ENOENT)):
        found = diagnose(facts(nowhere, refused=errno.EPERM, refused_first=first, capable=False))
        assert found
        assert found.errno == code
    found = diagnose(facts(refused=errno.EPERM, refused_first=False, capable=False))
    assert found
    assert found.cause == "CAP_SYS_ADMIN"


def test_what_is_out_of_sight_is_a_perhaps() -> None:
    """Before Linux 6.8 there is no statmount(2): the parent of the root's mount is not known, nor a foreign mount."""
    known = {number: mount for number, mount in facts().mounts.items() if number != 1}
    unsure = facts(complete=False, mounts=known)
    assert diagnose(unsure) is None
    found = diagnose(unsure, errno.EINVAL)
    assert found
    assert (found.cause, found.path, found.certain) == ("shared", "/", False)
    door = Place("/proc/7/root", "/", 99)
    found = diagnose(facts(door, door, complete=False), errno.EINVAL)
    assert found
    assert (found.cause, found.certain) == ("another mount namespace", False)
    found = diagnose(facts(NEW._replace(locked=None)), errno.EINVAL)
    assert found
    assert (found.cause, found.certain) == ("locked", False)


def test_in_a_chroot_without_statmount_the_roots_mount_is_hidden_and_the_chroot_still_found() -> None:
    known = {number: mount for number, mount in facts().mounts.items() if number not in (1, 27)}
    found = diagnose(facts(root=Place("/", "/", 27, mount_root=False), complete=False, mounts=known), errno.EINVAL)
    assert found
    assert found.cause == "chroot"


def test_an_act_is_shown_as_a_shell_takes_it() -> None:
    assert str(Act(None, "/a b", 1 << 19)) == "mount --make-slave '/a b'"
    assert str(Act("/it's", "/it's", 4096)) == r"mount --rbind '/it'\''s' '/it'\''s'"
    assert quote("") == "''"


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["/new", "/new/old"], Request("/new", "/new/old")),
        (["--fix", ".", "."], Request(".", ".", fix=True)),
        ([".", ".", "--", "sh", "--", "-c"], Request(".", ".", ("sh", "--", "-c"))),
        (["--", "-odd", "--fix"], Request("-odd", "--fix")),
    ],
)
def test_the_command_line_is_read(words: list[str], request_: Request) -> None:
    assert parse(words) == request_


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "NEW_ROOT and PUT_OLD are missing"),
        (["/new"], "PUT_OLD is missing"),
        (["-x", "/new", "/old"], "unknown option -x"),
        (["/new", "/old", "sh"], "sh: a COMMAND comes after --"),
        (["/new", "/old", "--"], "-- is not followed by a COMMAND"),
    ],
)
def test_a_wrong_command_line_is_2_and_says_why(
    words: list[str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(words)
    for command in (pivot_command.pivot, pivot_command.explain):
        assert command(words) == 2
        assert capfd.readouterr().err.startswith(f"rootfall: {complaint}\nUsage: rootfall container ")


def test_explain_takes_no_command_and_mends_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["--fix", "/", "/"], ["/", "/", "--", "true"]):
        assert pivot_command.explain(words) == 2
        assert "explain takes NEW_ROOT and PUT_OLD alone" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["pivot", "explain"])
def test_help_is_on_standard_output(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert getattr(pivot_command, command)(["--help"]) == 0
    assert capfd.readouterr().out.startswith(f"Usage: rootfall container {command} ")
