# SPDX-License-Identifier: MIT
"""The command line of `rootfall container run`: words become a Container, and every mistake says what is right."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall.container import defaults, option_table, options, subordinate
from rootfall.container.defaults import Caller
from rootfall.container.model import (
    CAPABILITIES,
    MASKED,
    READ_ONLY,
    Container,
    IdMapping,
    Mount,
    Process,
    Resources,
    Rlimit,
    Root,
    User,
)
from rootfall.errors import ContainerError

ROOT = Caller(0, 0, 42, {"TERM": "vt220", "LANG": "C"}, lambda kind: ())
USER = Caller(1000, 100, 42, {}, lambda kind: ((100000, 65536),) if kind == "uid" else ((200000, 1000),))
PATH = f"PATH={defaults.PATH}"
MOUNTS = (
    Mount("/proc", "proc", "proc"),
    Mount("/dev", "dev", "dev", ("mqueue",)),
    Mount("/sys", "sysfs", "sysfs", ("ro",)),
)
NAMESPACES = ("mount", "pid", "network", "uts", "ipc", "cgroup")


def container(*words: str, caller: Caller = ROOT) -> Container:
    line = options.parse(list(words))
    return defaults.make(line.asked, line.root, line.command, caller)


def wrong(*words: str, caller: Caller = ROOT) -> str:
    with pytest.raises(ContainerError) as caught:
        container(*words, caller=caller)
    assert caught.value.status == 125
    return str(caught.value)


def process(*words: str) -> Process:
    return container(*words, "/r", "sh").process


def resources(*words: str) -> Resources:
    return container(*words, "/r", "sh").resources


def test_a_root_and_a_command_are_enough() -> None:
    assert container("/r", "sh", "-c", "id") == Container(
        id="rootfall-42",
        root=Root("/r"),
        process=Process(("sh", "-c", "id"), (PATH, "HOME=/root", "container=rootfall"), seccomp="auto"),
        mounts=MOUNTS,
        namespaces=NAMESPACES,
    )


def test_who_is_not_root_gets_a_user_namespace_with_the_one_id_that_is_theirs() -> None:
    found = container("/r", "sh", caller=USER)
    assert found.namespaces == ("user", *NAMESPACES)
    assert (found.uid_mappings, found.gid_mappings) == ((IdMapping(0, 1000, 1),), (IdMapping(0, 100, 1),))
    found = container("--user", "5:6", "/r", "sh", caller=USER)
    assert (found.uid_mappings, found.gid_mappings) == ((IdMapping(5, 1000, 1),), (IdMapping(6, 100, 1),))


def test_options_end_at_the_root() -> None:
    assert container("/r", "ls", "--read-only").process.args == ("ls", "--read-only")
    assert container("/r", "--", "ls", "--", "-l").process.args == ("ls", "--", "-l")
    assert container("--", "-r", "ls").root.path == "-r"
    assert container("-", "ls").root.path == "-"


def test_a_value_follows_or_is_joined_by_an_equals_sign() -> None:
    assert container("--name=a", "/r", "sh") == container("--name", "a", "/r", "sh")
    assert process("--env=A=b=c").env[-1] == "A=b=c"


@pytest.mark.parametrize(
    ("words", "root"),
    [
        (["--read-only"], Root("/r", readonly=True)),
        (["--read-only", "--no-read-only"], Root("/r")),
        (["--read-only=yes"], Root("/r", readonly=True)),
        (["--volatile"], Root("/r", overlay="volatile")),
        (["--overlay", "/u:/w"], Root("/r", overlay="/u:/w")),
        (["--put-old", "/mnt/old"], Root("/r", put_old="/mnt/old")),
    ],
)
def test_the_root(words: list[str], root: Root) -> None:
    assert container(*words, "/r", "sh").root == root


@pytest.mark.parametrize(
    ("words", "mount"),
    [
        (["--bind", "/a"], Mount("/a", "bind", "/a")),
        (["-v", "a:/b"], Mount("/b", "bind", "a")),
        (["--volume", "/a:/b:ro,noexec"], Mount("/b", "bind", "/a", ("ro", "noexec"))),
        (["--ro-bind", "/a:/b:noexec"], Mount("/b", "bind", "/a", ("noexec", "ro"))),
        (["--rro-bind", "/a:/b:ro"], Mount("/b", "bind", "/a", ("rro",))),
        (["--tmpfs", "/t"], Mount("/t", "tmpfs", "tmpfs")),
        (["--tmpfs", "/t:size=64M,mode=700,exec"], Mount("/t", "tmpfs", "tmpfs", ("size=64M", "mode=700", "exec"))),
        (["--tmpfs", "/t:size=50%"], Mount("/t", "tmpfs", "tmpfs", ("size=50%",))),
    ],
)
def test_a_mount(words: list[str], mount: Mount) -> None:
    assert container(*words, "/r", "sh").mounts == (*MOUNTS, mount)


def test_mounts_are_made_in_the_order_given() -> None:
    found = container("--tmpfs", "/a", "--bind", "/x:/a/b", "--tmpfs", "/a/b/c", "/r", "sh").mounts[len(MOUNTS) :]
    assert [mount.destination for mount in found] == ["/a", "/a/b", "/a/b/c"]


def test_the_default_mounts_can_be_left_out() -> None:
    assert container("--no-proc", "--no-dev", "--no-sysfs", "/r", "sh").mounts == ()
    assert container("--no-dev", "--mqueue", "/r", "sh").mounts[1] == Mount("/dev/mqueue", "mqueue", "mqueue")
    assert container("--no-mqueue", "/r", "sh").mounts[1] == Mount("/dev", "dev", "dev")
    assert container("--share", "ipc", "/r", "sh").mounts[1] == Mount("/dev", "dev", "dev")


def test_the_hosts_network_brings_no_sysfs_unless_it_is_asked_for() -> None:
    shared = container("--network", "host", "/r", "sh")
    assert "network" not in shared.namespaces
    assert shared.mounts == MOUNTS[:2]
    assert container("--network=host", "--sysfs", "/r", "sh").mounts == MOUNTS


def test_what_is_hidden() -> None:
    found = container("--mask", "/secret", "--unmask", "/proc/kcore", "--unmask", "/proc/sys", "/r", "sh")
    assert set(found.masked_paths) == {*MASKED, "/secret"} - {"/proc/kcore"}
    assert set(found.readonly_paths) == set(READ_ONLY) - {"/proc/sys"}
    all_shown = container("--unmask", "ALL", "--mask", "/secret", "/r", "sh")
    assert (all_shown.masked_paths, all_shown.readonly_paths) == (("/secret",), ())


def test_namespaces_are_shared_and_made_by_name() -> None:
    found = container("--share", "net,ipc", "--unshare", "time", "/r", "sh").namespaces
    assert found == ("mount", "pid", "uts", "cgroup", "time")
    assert container("--network", "host", "--unshare", "network", "/r", "sh").namespaces == NAMESPACES


def test_ids_are_mapped_in_ranges() -> None:
    found = container("--map-users", "0:100000:65536", "--map-groups", "0:5:1", "--map-groups", "1:9:1", "/r", "sh")
    assert "user" in found.namespaces
    assert found.uid_mappings == (IdMapping(0, 100000, 65536),)
    assert found.gid_mappings == (IdMapping(0, 5, 1), IdMapping(1, 9, 1))


def test_auto_maps_what_the_system_gives_the_caller() -> None:
    found = container("--map-users", "auto", "--map-groups", "auto", "--user", "7:7", "/r", "sh", caller=USER)
    assert found.uid_mappings == (IdMapping(0, 1000, 1), IdMapping(1, 100000, 65536))
    assert found.gid_mappings == (IdMapping(0, 100, 1), IdMapping(1, 200000, 1000))
    root = ROOT._replace(subordinate=lambda kind: ((500000, 65536), (900000, 10)))
    ranges = (IdMapping(0, 500000, 65536), IdMapping(65536, 900000, 10))
    assert container("--userns", "/r", "sh", caller=root).uid_mappings == ranges


def test_the_file_of_subordinate_ids_is_read_by_name_and_by_number() -> None:
    text = "other:1:1\nme:100000:65536\n\nme:x:1\n1000:300000:5\nme:1\nme:4294967000:65536\n:7:7\nme:5:0\n"
    assert subordinate.parse(text, "me", 1000) == ((100000, 65536), (300000, 5))
    assert subordinate.parse(text, "", 5) == ()


def test_a_clock_is_set_in_a_time_namespace() -> None:
    found = container("--time-offset", "boottime=86400", "--time-offset", "monotonic=-5", "/r", "sh")
    assert found.time_offsets == (("boottime", 86400), ("monotonic", -5))
    assert found.namespaces == (*NAMESPACES, "time")


def test_the_environment_is_clean_and_names_are_passed_on() -> None:
    env = process("-e", "A=1", "--env", "A=2", "--setenv", "LANG", "-e", "NOT_THERE", "-e", "HOME=/h", "-e", "E=").env
    assert env == (PATH, "HOME=/h", "container=rootfall", "A=2", "LANG=C", "E=")
    assert process("-t").env == (PATH, "HOME=/root", "container=rootfall", "TERM=vt220")
    assert process("--user", "5").env[1] == "HOME=/"


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["--user", "1000"], {"user": User(1000, 1000)}),
        (["-u", "1000:5", "--groups", "27", "--groups", "4", "--groups", "27"], {"user": User(1000, 5, (27, 4))}),
        (["--umask", "077"], {"user": User(umask=0o077)}),
        (["--cwd", "/a/b"], {"cwd": "/a/b"}),
        (["-w", "/"], {"cwd": "/"}),
        (["--workdir=/x"], {"cwd": "/x"}),
        (["--as-pid1"], {"as_pid1": True}),
        (["--as-pid1", "--init"], {"as_pid1": False}),
        (["--cap-add", "chown", "--cap-add=CAP_KILL"], {"capabilities": ("CAP_CHOWN", "CAP_KILL")}),
        (["--cap-add", "ALL"], {"capabilities": CAPABILITIES}),
        (
            ["--cap-add", "ALL", "--cap-drop", "sys_admin"],
            {"capabilities": tuple(c for c in CAPABILITIES if c != "CAP_SYS_ADMIN")},
        ),
        (["--cap-drop", "ALL", "--cap-add", "kill"], {"capabilities": ("CAP_KILL",)}),
        (["--no-new-privs=no"], {"no_new_privileges": False}),
        (["--no-new-privs"], {"no_new_privileges": True}),
        (["--rlimit", "NOFILE=1024:4096"], {"rlimits": (Rlimit("RLIMIT_NOFILE", 1024, 4096),)}),
        (["--ulimit", "nofile=1", "--ulimit", "nofile=2"], {"rlimits": (Rlimit("RLIMIT_NOFILE", 2, 2),)}),
        (["--rlimit", "RLIMIT_AS=1G:unlimited"], {"rlimits": (Rlimit("RLIMIT_AS", 1 << 30, -1),)}),
        (["--oom-score-adj", "-1000"], {"oom_score_adj": -1000}),
        (["--seccomp", "unconfined"], {"seccomp": "unconfined"}),
        (["--seccomp=default"], {"seccomp": "default"}),
        (["--seccomp-fd", "9"], {"seccomp": "fd:9"}),
        (["--preserve-fds", "2"], {"preserve_fds": 2}),
    ],
)
def test_the_process(words: list[str], change: dict[str, Any]) -> None:
    found = process(*words)
    assert found._replace(env=()) == Process(("sh",))._replace(**change)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--memory", "64M"], Resources(memory_max=64 << 20)),
        (["-m", "1g"], Resources(memory_max=1 << 30)),
        (["-m", "512"], Resources(memory_max=512)),
        (["-m", "max"], Resources()),
        (["-m", "1G", "--memory-swap", "3G"], Resources(memory_max=1 << 30, memory_swap_max=2 << 30)),
        (["-m", "1G", "--memory-swap", "-1"], Resources(memory_max=1 << 30)),
        (["--memory-swap-max", "0"], Resources(memory_swap_max=0)),
        (["--pids-limit", "100"], Resources(pids_max=100)),
        (["--cpus", "0.5"], Resources(cpu_quota=50_000)),
        (["--cpus", "2"], Resources(cpu_quota=200_000)),
        (["--cpus", "0.015"], Resources(cpu_quota=1500)),
        (["--cpu-weight", "50"], Resources(cpu_weight=50)),
        (["--cpuset", "0-1,3", "--cpuset-mems", "0"], Resources(cpuset_cpus="0-1,3", cpuset_mems="0")),
        (["--io-max", "8:0,wbps=1M,riops=max"], Resources(io_max=("8:0 wbps=1048576 riops=max",))),
        (["--io-max", "8:0 rbps=5", "--io-max", "8:16,wiops=1"], Resources(io_max=("8:0 rbps=5", "8:16 wiops=1"))),
        (["--cgroup-parent", "/a/b"], Resources(parent="/a/b")),
    ],
)
def test_limits(words: list[str], expected: Resources) -> None:
    assert resources(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no root; name a directory"),
        (["/r"], "no command; say what to run: rootfall container run /r"),
        (["--memroy", "1"], "cannot use --memroy; seen: no such option; did you mean --memory?"),
        (["--xyzzy"], "no such option; rootfall container run --help names all there are"),
        (["--no-memory", "/r"], "cannot use --no-memory; seen: no such option"),
        (["--rm", "/r", "sh"], "--rm; seen: no such option; nothing is left"),
        (["--memory"], "cannot use --memory; seen: no value; allowed: a number of bytes"),
        (["--memory=64Q"], "cannot use --memory=64Q; allowed: a number of bytes, with K, M, G or T"),
        (["--memory", ""], "cannot use --memory=; allowed: a number of bytes"),
        (["--memory", "99999999T"], "is more than any machine has"),
        (["--dev=maybe"], "cannot use --dev=maybe; allowed: yes or no"),
        (["--no-dev=no"], "cannot use --no-dev=no; allowed: yes or no"),
        (["--user", "nobody"], "must be numbers: a name would be looked up in the root's own /etc/passwd"),
        (["--share", "mount"], "the mount namespace is always made"),
        (["--share", "nets"], "allowed: namespaces, by commas: user, mount"),
        (["--network", "bridge"], "allowed: none (a network of its own"),
        (["--bind", "a"], "'a' is no destination: an absolute path in the new root"),
        (["--bind", "/a:/b:rox"], "'rox' is no option of a bind; there are ro, rw"),
        (["--bind", "/a:/b:ro:x"], "more than two colons"),
        (["--bind", ":/b"], "cannot use --bind=:/b; allowed: SOURCE"),
        (["--tmpfs", "/"], "is the root itself"),
        (["--tmpfs", "/a/../b"], "'/a/../b' is no destination"),
        (["--tmpfs", "/a:sice=1"], "'sice=1' is no option of a tmpfs"),
        (["--put-old", "/../x"], 'without ".."'),
        (["--cpus", "0.001"], "must be at least 0.01"),
        (["--cpus", "1e3"], "allowed: a number of processors"),
        (["--cpu-weight", "0"], "must be 1 to 10000"),
        (["--cpuset", "3-1"], "allowed: a list such as 0-3,7"),
        (["--io-max", "sda"], "MAJOR:MINOR"),
        (["--io-max", "8:0"], "MAJOR:MINOR"),
        (["--pids-limit", "0"], "must be 1 to"),
        (["--cap-add", "CAP_CHWON"], "allowed: a capability such as CAP_CHOWN"),
        (["--rlimit", "NOFILES=1"], "allowed: TYPE=SOFT[:HARD]"),
        (["--rlimit", "NOFILE=2:1"], "soft limit above the hard one"),
        (["--umask", "9"], "an octal number"),
        (["--umask", "1000"], "an octal number"),
        (["--oom-score-adj", "1001"], "must be -1000 to 1000"),
        (["--time-offset", "realtime=1"], "boottime=SECONDS or monotonic=SECONDS"),
        (["--map-users", "0:1"], "allowed: INSIDE:OUTSIDE:COUNT"),
        (["--map-users", "0:4294967290:10"], "beyond the last id"),
        (["--hostname", "a_b"], "allowed: letters, digits, dots and hyphens"),
        (["--env", "=x"], "allowed: NAME=VALUE"),
        (["--userns", "/r", "sh"], "no range for uid 0 in /etc/subuid; add a line there, or say it: --map-users 0:1"),
        (["--map-users", "0:1:1", "--map-groups", "0:1:1", "--user", "5", "/r", "sh"], "uid 5 is not mapped"),
        (["--map-users", "0:1:1", "--no-userns", "/r", "sh"], "without a user namespace; leave out --no-userns"),
        (["--time-offset", "boottime=1", "--share", "time", "/r", "sh"], "--time-offset without a time namespace"),
        (["--hostname", "a", "--share", "uts", "/r", "sh"], "it would rename the host"),
        (["--memory-swap", "1G", "/r", "sh"], "it needs --memory"),
        (["--memory", "2G", "--memory-swap", "1G", "/r", "sh"], "cannot be less"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_is_right(words: list[str], message: str) -> None:
    assert message in wrong(*words)


def test_only_root_can_do_without_a_user_namespace() -> None:
    assert "only root can do without" in wrong("--no-userns", "/r", "sh", caller=USER)


@pytest.mark.parametrize(
    "text", ["+1", " 1", "1 ", "0x1", "01", "-1", "1_0", "١", "4294967295", "", "1:", "1:+2", "1:2:3"]
)
def test_only_the_canonical_digits_are_a_user(text: str) -> None:
    """runc's CVE-2022-29162 and crun's CVE-2026-30892: what two parts of a program read differently is somebody else."""
    assert "--user" in wrong("--user", text, "/r", "sh")


@pytest.mark.parametrize("text", ["../x", "a/b", ".", "..", "", "-a", "a\nb", "é", "x" * 129, "a b"])
def test_a_name_is_no_path(text: str) -> None:
    assert "--name" in wrong("--name", text, "/r", "sh")


def test_a_name_that_is_one_is_kept() -> None:
    assert container("--id", "a.B-1_+", "/r", "sh").id == "a.B-1_+"


def test_the_help_names_every_option_and_fits_80_columns() -> None:
    text = option_table.usage()
    assert max(map(len, text.splitlines())) <= 80
    for option in option_table.rows():
        assert re.search(rf"{re.escape(option.names[0])}\b", text)


def test_every_option_is_found_by_each_of_its_names_and_none_has_two() -> None:
    names = [name for option in option_table.rows() for name in option.names]
    assert len(names) == len(set(names))
    for option in option_table.rows():
        assert {options.find(name) for name in option.names} == {(option, "" if option.form.metavar else "yes")}


NAMES = [name for option in option_table.rows() for name in option.names]
VALUES = st.text(max_size=12) | st.sampled_from(
    ["0", "1", "a:/b", "/a", "/a:ro", "64M", "yes", "auto", "0:1:2", "NOFILE=1", "\0"]
)
WORDS = st.lists(st.sampled_from([*NAMES, "--no-dev", "--", "/r", "sh"]) | VALUES, max_size=8)


@given(WORDS, st.sampled_from([ROOT, USER]))
def test_any_words_give_a_container_or_one_message(words: list[str], caller: Caller) -> None:
    try:
        line = options.parse(words)
        made = defaults.make(line.asked, line.root, line.command, caller)
    except ContainerError as error:
        assert str(error).startswith("cannot ")  # noqa: PT017
    else:
        assert made.root.path
        assert made.process.args
        assert all(
            mount.destination.startswith("/") and ".." not in mount.destination.split("/") for mount in made.mounts
        )
