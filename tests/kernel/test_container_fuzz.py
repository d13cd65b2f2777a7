# SPDX-License-Identifier: MIT
"""Any list of options and mounts, right or wrong, ends in a documented exit status, without a traceback, the host unchanged.

The options are those of the program's own table, so that a new one is tried as soon as there is one. ROOTFALL_EXAMPLES=5000
tries so many, each time others.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rootfall.container import option_table
from rootfall.container.forms import Form
from rootfall.container.model import CAPABILITIES, NAMESPACES, RLIMITS
from tests.kernel import container_host
from tests.kernel.container_host import Answer, Look

EXAMPLES = int(os.environ.get("ROOTFALL_EXAMPLES", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ROOTS = (*["/tmp/root"] * 8, "/tmp/hostile", "/tmp/hostile", "/tmp/data/file", "/nowhere", "/", "tmp/root", "", "-")
# The command, and what it makes the exit status where it runs.
COMMANDS = (
    (["true"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["/bin/busybox", "false"], 1),
    (["nowhere"], 127),
    (["/etc"], 126),
)
# Most of the time what works, or the fuzzer tries nothing but the first refusal.
PLACES = (
    "/mnt /mnt /mnt /tmp /root /new /new/place /etc/passwd /mnt/ /new/deep/er /dev /dev/null /dev/new /proc /proc/self /sys / "
    "/proc/sys/kernel . .. /../mnt //mnt /mnt/../etc /bin/busybox /out /out/new /in/link /loop mnt relative/mnt "
    "/proc/self/fd/0 /dev/pts /dev/shm /root/.x"
).split()
SOURCES = (
    "/tmp/data /tmp/data /tmp/data/file /tmp/data/file /tmp/outside /nowhere / /proc /dev/null /tmp/root /tmp/hostile/out "
    ". data /dev /sys"
).split()
MOUNT_WORDS = (
    "ro ro rw nosuid nosuid nodev noexec exec dev rro rbind bind private slave size=64K size=-1 mode=0700 mode=x nonsense uid=0"
).split()
# What each word of a usage line may be: right ones, wrong ones, borderline ones.
NUMBERS = (
    "0 1 2 7 100 1000 65534 65535 4294967294 4294967295 18446744073709551616 -1 -0 +1 01 0x1 1.5 1e3 ١ max".split()
)
SIZES = "0 1 4096 64K 64M 1G 9T 8E 64m max -1 -2 ٣M K 9223372036854775807 9223372036854775808".split()
NAMES = "x name a.b _x -x ../x x/y . .. é".split()
WORDS = (
    *NUMBERS,
    *SIZES,
    *NAMES,
    *CAPABILITIES[::9],
    *(f"{each[7:].lower()}={value}" for each in RLIMITS for value in ("0", "1", "64K", "unlimited", "2:1", "x")),
    *NAMESPACES,
    *(
        "net,uts",
        "mount",
        "user,time",
        "boottime=100",
        "boottime=-99999999999",
        "monotonic=1",
        "0:0:1",
        "0:65534:1",
        "auto",
    ),
    *(
        "0:0",
        "1:1",
        "65534:65534",
        "root",
        "0.5",
        "0.001",
        "0-1",
        "99",
        "1-0",
        "022",
        "0999",
        "8:0,rbps=1M",
        "8:0",
        "x:y,z",
    ),
    *(
        "A=b",
        "A",
        "=b",
        "PATH=",
        "HOME=/x",
        "private",
        "slave",
        "shared",
        "unbindable",
        "default",
        "unconfined",
        "none",
        "host",
    ),
    *("/tmp/upper:/tmp/work", "/tmp/upper:/nowhere", "/tmp/upper", "yes", "no", "/old", "/mnt", "/"),
)


def listed(values: tuple[str, ...] | list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


mount_options = st.one_of(st.just(""), st.lists(listed(MOUNT_WORDS), max_size=2).map(",".join))
binds = st.tuples(listed(SOURCES), listed(PLACES), mount_options).map(lambda parts: ":".join(filter(None, parts)))
tmpfs = st.tuples(listed(PLACES), mount_options).map(lambda parts: ":".join(filter(None, parts)))
anything = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)
MOUNTS = {
    "--bind": binds,
    "--ro-bind": binds,
    "--rro-bind": binds,
    "--tmpfs": tmpfs,
    "--mask": listed(PLACES),
    "--cwd": listed(PLACES),
}
# Of a file; and what prints instead of running: they have tests of their own.
NOT_HERE = {"--config", "--help", "--plan"}


def right(form: Form, values: tuple[str, ...]) -> list[str]:
    """Those values that the form takes."""
    found = []
    for each in values:
        try:
            if form.read(each) is not None:
                found.append(each)
        except ValueError:
            pass
    return found


OPTIONS = tuple(each for each in option_table.rows() if each.names[0] not in NOT_HERE)
RIGHT = {each.names[0]: right(each.form, (*each.form.words, *WORDS)) for each in OPTIONS}


def joined(lists: list[list[str]]) -> list[str]:
    return [word for words in lists for word in words]


@st.composite
def option(draw: st.DrawFn, wrong: bool) -> list[str]:
    """One option of the table, its value as the table wants it, or anything if it may be `wrong`."""
    found = draw(st.sampled_from(OPTIONS))
    name = draw(listed(found.names))
    if not found.form.metavar:
        return [draw(st.sampled_from([name, name, f"--no-{found.names[0][2:]}", f"{name}=no"]))]
    usual = MOUNTS[found.names[0]] if found.names[0] in MOUNTS else listed(RIGHT[found.names[0]])
    value = draw(st.one_of(usual, usual, listed(WORDS), anything) if wrong else usual)
    return draw(st.sampled_from([[name, value], [f"{name}={value}"]]))


mounts_mostly = st.sampled_from(list(MOUNTS)).flatmap(lambda name: MOUNTS[name].map(lambda value: [name, value]))
junk = st.lists(
    st.one_of(anything, listed(["--", "-", "--no", "-x", "--bind", "--=", "--bind=", "--tmpfs"])), max_size=2
)
right_ones = st.lists(option(wrong=False), max_size=4)
wrong_ones = st.lists(st.one_of(option(wrong=True), mounts_mostly, junk), max_size=6)
options = st.one_of(right_ones, right_ones, wrong_ones).map(joined)


def place(entry: tuple[object, ...]) -> bool:
    """Whether a file is what our program may make: an empty one, or a directory, in a root or what is bound into one."""
    path, mode, content = str(entry[0]), int(str(entry[2])), entry[-1]
    mine = path.startswith(("/tmp/root/", "/tmp/hostile/", "/tmp/data/"))
    return mine and (mode & 0o170000 == 0o040000 or content == container_host.EMPTY)


def allow(look: Look) -> Look:
    """Places for mounts are made where they are missing, which changes their directories; an overlay keeps its own."""
    kept = []
    for entry in look.files:
        path = str(entry[0])
        if not (place(entry) or path.startswith(("/tmp/upper", "/tmp/work"))):
            kept.append(entry if path not in ("/tmp/root", "/tmp/hostile", "/tmp/data") else (path,))
    return replace(look, files=tuple(kept))


def hostile(directory: Path) -> None:
    """A root whose links lead out of it, beside the usual one, and a directory that they lead to."""
    root = directory / "tmp/hostile"
    for name in ("bin", "in", "mnt", "etc"):
        (root / name).mkdir(parents=True)
    (root / "bin/busybox").symlink_to("/tmp/data/file")
    for name, target in (
        ("dev", "/tmp/outside"),
        ("proc", "../outside"),
        ("sys", "/"),
        ("out", "/tmp/outside"),
        ("loop", "loop"),
    ):
        (root / name).symlink_to(target)
    (root / "in/link").symlink_to("../../outside/new")
    (directory / "tmp/root").mkdir()
    (directory / "tmp/root/out").symlink_to("../../tmp/outside")
    for name in ("outside", "upper", "work"):
        (directory / "tmp" / name).mkdir()


@pytest.fixture(
    scope="module", params=container_host.users(), ids=lambda uid: "as root" if uid == 0 else "as an ordinary user"
)
def ask(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[list[str]], Answer]]:
    container_host.check_machine()
    directory = tmp_path_factory.mktemp("host")
    hostile(directory)
    with container_host.served(directory, request.param, allow) as asked:
        yield asked


def check(answer: Answer, statuses: set[int]) -> None:
    event(f"status {answer.status}")
    said = f"{answer.status}: {answer.error}"
    assert "Traceback" not in answer.error, said
    assert answer.changed == "", f"{said}\n{answer.changed}"
    assert answer.status in statuses or 128 < answer.status < 128 + 65, said
    if answer.status == 125:
        assert answer.error.startswith("rootfall: cannot "), said


@PROFILE
@given(options, st.sampled_from(ROOTS), st.sampled_from(COMMANDS))
def test_any_options_end_in_a_documented_status(
    ask: Callable[[list[str]], Answer], words: list[str], root: str, command: tuple[list[str], int]
) -> None:
    check(ask([*words, root, *command[0]]), {command[1], 125, 126, 127})


@PROFILE
@given(st.lists(mounts_mostly, min_size=1, max_size=8).map(joined), st.sampled_from(ROOTS[4:9]))
def test_any_list_of_mounts_ends_in_a_documented_status(
    ask: Callable[[list[str]], Answer], words: list[str], root: str
) -> None:
    check(ask([*words, root, "true"]), {0, 125, 126, 127})


@PROFILE
@given(st.lists(anything, max_size=5))
def test_words_that_mean_nothing_are_refused_and_no_more(ask: Callable[[list[str]], Answer], words: list[str]) -> None:
    check(ask(words), {125, 126, 127})
