# SPDX-License-Identifier: MIT
"""A container's process on the real kernel, seen from inside: ids, capabilities, limits, descriptors, how it starts and ends.

Each test runs as root, and as a user who has nothing but user namespaces, unless it says otherwise.
"""

import os
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from rootfall.container import reaper
from rootfall.container.model import CAPABILITIES, Container, Mount, Rlimit, User
from tests.kernel import contained

_NO_DESCRIPTOR = "can't open '/proc/1/fd/*': No such file or directory"
NAMESPACES = ("mnt", "pid", "net", "uts", "ipc", "cgroup")


@pytest.fixture
def root(container_root: Path) -> Path:
    return container_root


# Signals 32 and 33, which glibc lets nobody set (nptl(7)): what ignores them before us stays.
OF_THE_C_LIBRARY = 0b11 << 31


def status_of(said: str) -> dict[str, str]:
    """/proc/self/status as a dict."""
    return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in said.splitlines())}


def shell(root: Path, script: str, uid: int = 0, **process: object) -> tuple[int, str]:
    """Run a script of the shell in a container."""
    return contained.run(contained.container(root, "sh", "-c", script, uid=uid, **process), uid)


def test_the_command_has_no_capability_no_group_and_no_way_to_get_one(root: Path, uid: int) -> None:
    made = contained.container(root, "cat", "/proc/self/status", uid=uid)
    code, said = contained.run(made, uid, **({} if uid else {"extra_groups": (4, 24)}))
    seen = status_of(said)
    assert code == 0, said
    assert {seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (seen["NoNewPrivs"], seen["Groups"], seen["Uid"], seen["Gid"]) == ("1", "", "0 0 0 0", "0 0 0 0")


def test_what_is_kept_is_kept_and_never_inheritable_for_root(root: Path, uid: int) -> None:
    kept = ("CAP_CHOWN", "CAP_KILL")
    made = contained.container(root, "cat", "/proc/self/status", uid=uid, capabilities=kept)
    seen = status_of(contained.run(made, uid)[1])
    assert [seen[name] for name in ("CapPrm", "CapEff", "CapBnd")] == ["0000000000000021"] * 3
    assert [seen[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2


def test_a_user_who_is_not_root_keeps_what_is_kept_by_the_ambient_set(root: Path, uid: int) -> None:
    made = contained.container(
        root, "cat", "/proc/self/status", uid=uid, capabilities=("CAP_CHOWN",), user=User(1000, 1000)
    )
    if uid:
        made = made._replace(
            uid_mappings=(made.uid_mappings[0]._replace(container_id=1000),),
            gid_mappings=(made.gid_mappings[0]._replace(container_id=1000),),
        )
    seen = status_of(contained.run(made, uid)[1])
    assert {seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0000000000000001"}
    assert (seen["Uid"], seen["Gid"]) == ("1000 1000 1000 1000", "1000 1000 1000 1000")


def test_as_many_can_be_kept_as_the_caller_has_and_no_more(root: Path) -> None:
    ours = int(status_of(Path("/proc/self/status").read_text())["CapEff"], 16)
    had = tuple(name for number, name in enumerate(CAPABILITIES) if ours >> number & 1)
    seen = status_of(contained.run(contained.container(root, "cat", "/proc/self/status", capabilities=had))[1])
    assert int(seen["CapEff"], 16) == ours
    without = [
        "setpriv",
        "--bounding-set=-mknod",
        *contained.command(contained.container(root, "true", capabilities=had)),
    ]
    done = subprocess.run(without, capture_output=True, text=True, timeout=contained.LIMIT)
    assert (done.returncode, "cannot keep CAP_MKNOD" in done.stderr) == (125, True), done.stderr


def test_no_new_privileges_can_be_turned_off(root: Path, uid: int) -> None:
    made = contained.container(root, "cat", "/proc/self/status", uid=uid, no_new_privileges=False)
    assert status_of(contained.run(made, uid)[1])["NoNewPrivs"] == "0"


def test_groups_are_just_those_that_are_asked_for(root: Path) -> None:
    made = contained.container(root, "cat", "/proc/self/status", user=User(1000, 1000, (7, 9)))
    assert status_of(contained.run(made, extra_groups=(4, 24))[1])["Groups"] == "7 9"


def test_an_id_that_is_not_mapped_is_refused_by_name(root: Path) -> None:
    made = contained.container(root, "true", uid=contained.NOBODY, user=User(1000, 0))
    code, said = contained.run(made, contained.NOBODY)
    assert code == 125
    assert "cannot become user 1000" in said
    assert "map it" in said


def test_groups_without_a_range_are_refused_with_the_remedy(root: Path) -> None:
    made = contained.container(root, "true", uid=contained.NOBODY, user=User(0, 0, (7,)))
    code, said = contained.run(made, contained.NOBODY)
    assert code == 125
    assert "cannot join the groups 7" in said
    assert "/etc/subgid" in said


def test_limits_are_in_force(root: Path, uid: int) -> None:
    limits = (Rlimit("RLIMIT_NOFILE", 64, 128), Rlimit("RLIMIT_CORE", 0, 0))
    made = contained.container(root, "cat", "/proc/self/limits", uid=uid, rlimits=limits)
    said = contained.run(made, uid)[1]
    assert re.search(r"Max open files +64 +128 ", said)
    assert re.search(r"Max core file size +0 +0 ", said)


def test_an_ordinary_user_cannot_raise_a_hard_limit_and_is_told_who_can(root: Path) -> None:
    hard = (1 << 20) * 64
    made = contained.container(root, "true", uid=contained.NOBODY, rlimits=(Rlimit("RLIMIT_NOFILE", 64, hard),))
    code, said = contained.run(made, contained.NOBODY)
    assert code == 125
    assert "cannot set the limit RLIMIT_NOFILE" in said
    assert "takes root" in said


def test_each_namespace_is_another_one_than_the_hosts(root: Path, uid: int) -> None:
    names = NAMESPACES + (("user",) if uid else ())
    said = shell(root, "; ".join(f"readlink /proc/self/ns/{name}" for name in names), uid)[1].split()
    assert len(said) == len(names)
    assert set(said).isdisjoint(os.readlink(f"/proc/self/ns/{name}") for name in names)


def test_an_ordinary_user_is_root_inside_and_nothing_but_himself_outside(root: Path) -> None:
    said = shell(root, "cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups", contained.NOBODY)[1]
    assert said.split() == ["0", "65534", "1", "0", "65534", "1", "deny"]


def test_the_loopback_interface_is_up(root: Path, uid: int) -> None:
    assert "UP LOOPBACK RUNNING" in shell(root, "ifconfig lo", uid)[1]


@pytest.mark.parametrize("as_pid1", [False, True])
def test_the_clocks_of_a_time_namespace_are_ahead_for_all_of_the_container(root: Path, uid: int, as_pid1: bool) -> None:
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("this kernel has no time namespaces")
    made = contained.container(
        root, "sh", "-c", "cat /proc/uptime; readlink /proc/self/ns/time", uid=uid, as_pid1=as_pid1
    )
    made = made._replace(
        namespaces=(*made.namespaces, "time"), time_offsets=(("boottime", 10**8), ("monotonic", 10**8))
    )
    code, said = contained.run(made, uid)
    assert float(said.split()[0]) > 10**8, said
    assert code == 0
    assert said.split()[2] != os.readlink("/proc/self/ns/time")


def test_clocks_before_the_start_of_time_are_refused(root: Path) -> None:
    made = contained.container(root, "true")
    made = made._replace(namespaces=(*made.namespaces, "time"), time_offsets=(("boottime", -(10**9)),))
    code, said = contained.run(made)
    assert code == 125
    assert "cannot set the clocks boottime -1000000000" in said


def test_the_environment_is_exactly_the_records(root: Path, uid: int) -> None:
    made = contained.container(root, "/bin/env", uid=uid, env=("A=1", "B=x=y", "PATH=/bin"))
    dirty = {"LD_LIBRARY_PATH": "/nowhere", "_PYI_ARCHIVE_FILE": "x", "HOME": "/root"}
    assert contained.run(made, uid, env=dirty)[1].splitlines() == ["A=1", "B=x=y", "PATH=/bin"]


def test_umask_hostname_and_working_directory(root: Path, uid: int) -> None:
    made = contained.container(root, "sh", "-c", "umask; hostname; pwd", uid=uid, cwd="/tmp", user=User(umask=0o027))
    _code, said = contained.run(made._replace(hostname="within"), uid)
    assert said.split() == ["0027", "within", "/tmp"]
    assert os.uname().nodename != "within"


def test_a_host_name_that_is_too_long_is_refused(root: Path, uid: int) -> None:
    code, said = contained.run(contained.container(root, "true", uid=uid)._replace(hostname="x" * 65), uid)
    assert code == 125
    assert "at most 64 bytes" in said


def with_open(fds: str, made: Container, uid: int) -> tuple[int, str]:
    """Run it by a shell that first opens or closes descriptors, as a careless parent does."""
    argv = ["sh", "-c", f'exec {fds}; exec "$@"', "sh", *contained.command(made)]
    who = {"user": uid, "group": uid, "extra_groups": ()} if uid else {}
    done = subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=contained.LIMIT, **who
    )  # type: ignore[call-overload]
    return done.returncode, done.stdout + done.stderr


def test_no_descriptor_of_the_caller_leaks(root: Path, uid: int) -> None:
    made = contained.container(root, "sh", "-c", "ls /proc/self/fd; ls /proc/self/fd/9/", uid=uid)
    code, said = with_open("9</ 5<&0", made, uid)
    assert code != 0
    assert "/proc/self/fd/9/: No such file" in said
    assert said.split()[:4] == ["0", "1", "2", "3"]
    assert said.split()[4] == "ls:"


def test_descriptors_are_preserved_when_asked_for_and_no_more(root: Path, uid: int) -> None:
    (root / "etc/name").write_text("of the host\n")
    made = contained.container(root, "sh", "-c", "cat <&3; cat <&4; cat <&5", uid=uid, preserve_fds=2)
    code, said = with_open(f"3<{root}/etc/name 4<{root}/etc/name 5<{root}/etc/name", made, uid)
    assert said.count("of the host") == 2
    assert code != 0


def test_a_descriptor_to_preserve_that_is_closed_is_an_error(root: Path, uid: int) -> None:
    code, said = with_open("3<&0 4<&-", contained.container(root, "true", uid=uid, preserve_fds=2), uid)
    assert code == 125
    assert "descriptor 4" in said
    assert "it is not open" in said


def test_standard_descriptors_that_are_closed_become_dev_null(root: Path, uid: int) -> None:
    made = contained.container(root, "sh", "-c", "stat -L -c %t:%T /proc/self/fd/0 /proc/self/fd/2", uid=uid)
    assert with_open("0<&- 2>&-", made, uid) == (0, "1:3\n1:3\n")


@pytest.mark.parametrize("cwd", ["/proc/self/fd/9", "/nowhere", "/bin/busybox"])
def test_a_working_directory_outside_of_the_root_is_refused(root: Path, uid: int, cwd: str) -> None:
    code, said = with_open("9</", contained.container(root, "true", uid=uid, cwd=cwd), uid)
    assert code == 125
    assert f"cannot enter the working directory {cwd}" in said


def test_pid_1_cannot_be_looked_into_not_even_by_root(root: Path, uid: int) -> None:
    script = """for n in exe root cwd mem environ maps ns/mnt; do head -c 1 /proc/1/$n; done; ls /proc/1/root/ /proc/1/cwd/
        cat /proc/1/fd/*; echo x > /proc/1/exe"""
    ours = int(status_of(Path("/proc/self/status").read_text())["CapEff"], 16)
    looking = (
        "CAP_SYS_PTRACE",
        "CAP_PERFMON",
        "CAP_SYS_ADMIN",
    )  # with these, and no user namespace, one may look at anybody
    powers = tuple(each for n, each in enumerate(CAPABILITIES) if ours >> n & 1 and each not in looking)
    code, said = shell(root, script, uid, capabilities=powers)
    lines = said.splitlines()
    assert code != 0
    # Root may list its descriptors, of which there are none.
    assert {each for each in lines if not each.endswith("Permission denied")} <= {f"cat: {_NO_DESCRIPTOR}"}
    assert len(lines) == 11


def test_the_environment_of_the_launcher_is_wiped_out(root: Path) -> None:
    made = contained.container(root, "cat", "/proc/1/environ", capabilities=("CAP_SYS_PTRACE",))
    assert contained.run(made, env={"SECRET": "sesame"})[1].strip("\0") == ""


def test_the_hosts_command_line_is_not_shown_inside(root: Path, uid: int) -> None:
    code, said = shell(root, "cat /proc/1/cmdline /proc/1/comm", uid)
    assert (code, said.strip("\0\n").split("\0")[0].startswith("rootfall test-")) == (0, True)
    assert str(root) not in said


def test_a_script_whose_interpreter_is_our_own_executable_is_refused(root: Path, uid: int) -> None:
    for name, text in (("direct", "#!/proc/self/exe\n"), ("nested", "#!/bin/direct\n"), ("linked", "#!/bin/link\n")):
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(0o755)
    (root / "bin/link").unlink(missing_ok=True)
    (root / "bin/link").symlink_to("/proc/self/exe")
    for name in ("direct", "nested", "linked", "link"):
        code, said = contained.run(contained.container(root, name, uid=uid), uid)
        assert (code, "rootfall's own executable" in said) == (126, True), said


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such", 127, "no such file in /bin"),
        ("/no/such", 127, "cannot execute /no/such: No such file"),
        ("/bin", 126, "no regular file"),
        ("plain", 126, "chmod +x /bin/plain"),
        ("text", 126, "a script without #! runs as: sh /bin/text"),
        ("lost", 127, "its interpreter /no/interpreter is not in the root"),
        ("dangling", 127, "a symbolic link to nothing"),
        ("foreign", 127, "is not in the root; copy it there"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_executed_is_explained(
    root: Path, uid: int, command: str, code: int, said: str
) -> None:
    for name, text, mode in (
        ("plain", "x", 0o644),
        ("text", "hello\n", 0o755),
        ("lost", "#!/no/interpreter -x\n", 0o755),
    ):
        (root / "bin" / name).write_text(text)
        (root / "bin" / name).chmod(mode)
    if not (root / "bin/dangling").is_symlink():
        (root / "bin/dangling").symlink_to("/nowhere")
    if command == "foreign":
        shutil.copy(contained.PYTHON, root / "bin/foreign")  # dynamically linked, and its loader is not in the root
    found = contained.run(contained.container(root, command, uid=uid), uid)
    assert found[0] == code, found[1]
    assert said in found[1]


@pytest.mark.parametrize(
    ("script", "code", "as_pid1"),
    [
        ("exit 0", 0, False), ("exit 7", 7, False), ("exit 255", 255, False), ("exit 7", 7, True),
        ("kill -9 $$", 137, False), ("kill -TERM $$", 143, False),
    ],
)  # fmt: skip
def test_the_exit_status_is_the_commands(root: Path, uid: int, script: str, code: int, as_pid1: bool) -> None:
    assert shell(root, script, uid, as_pid1=as_pid1)[0] == code


def test_the_command_is_pid_2_and_leads_a_session_or_pid_1_if_asked(root: Path, uid: int) -> None:
    script = "read pid comm state ppid pgrp session rest < /proc/self/stat; echo $pid $ppid $session"
    assert shell(root, script, uid)[1].split() == ["2", "1", "2"]
    assert shell(root, script, uid, as_pid1=True)[1].split() == ["1", "0", "1"]


def test_orphans_are_reaped(root: Path, uid: int) -> None:
    script = "p=$(sh -c 'sh -c \"exit 3\" & echo $!'); while kill -0 $p 2>/dev/null; do true; done; echo reaped"
    assert shell(root, script, uid) == (0, "reaped\n")


def test_nothing_is_left_when_the_command_ends(root: Path, uid: int) -> None:
    assert shell(root, "setsid sleep 1000 & sleep 1000 & exit 5", uid)[0] == 5  # their output would not have ended


def test_nothing_is_left_in_the_hosts_pid_namespace_either(root: Path) -> None:
    script = "echo ready; setsid sh -c 'sleep 1000 & sleep 1000' & sleep 1000 & test $1 || wait; exit 5"
    made = contained.container(root, "sh", "-c", script, "sh", "end")
    made = made._replace(namespaces=tuple(each for each in made.namespaces if each != "pid"))
    assert contained.run(made) == (5, "ready\n")
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 128 + signal.SIGTERM)):
        process = contained.start(made._replace(process=made.process._replace(args=made.process.args[:3])))
        started(process)
        process.send_signal(number)
        process.communicate(timeout=contained.LIMIT)  # it ends when the last of them has closed it
        assert process.returncode == code


def started(process: "subprocess.Popen[str]", word: str = "ready") -> None:
    """Wait until the command says so."""
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == f"{word}\n", said + process.stdout.read()


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"])
@pytest.mark.parametrize("as_pid1", [False, True])
def test_a_signal_to_the_launcher_reaches_the_command(root: Path, uid: int, name: str, as_pid1: bool) -> None:
    script = f"trap 'echo got; exit 3' {name}; echo ready; sleep 1000 & while :; do wait; done"
    process = contained.start(contained.container(root, "sh", "-c", script, uid=uid, as_pid1=as_pid1), uid)
    started(process)
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert (process.communicate(timeout=contained.LIMIT)[0], process.returncode) == ("got\n", 3)


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM"])
def test_a_command_that_handles_no_signal_is_ended_by_it(root: Path, uid: int, name: str) -> None:
    process = contained.start(contained.container(root, "sh", "-c", "echo ready; sleep 1000; sleep 1000", uid=uid), uid)
    started(process)
    process.send_signal(getattr(signal, f"SIG{name}"))
    process.communicate(timeout=contained.LIMIT)
    assert process.returncode == 128 + getattr(signal, f"SIG{name}")


def test_a_signal_that_the_caller_ignores_is_not_passed_on(root: Path, uid: int) -> None:
    script = "trap 'echo hup' HUP; trap 'echo term; exit' TERM; echo ready; sleep 1000 & while :; do wait; done"
    process = contained.start(
        contained.container(root, "sh", "-c", script, uid=uid),
        uid,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    started(process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=contained.LIMIT)[0] == "term\n"


def test_signals_that_the_caller_ignores_or_blocks_are_the_commands_to_use(root: Path, uid: int) -> None:
    def careless() -> None:
        for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})

    made = contained.container(root, "cat", "/proc/self/status", uid=uid)
    code, said = contained.run(made, uid, preexec_fn=careless)
    ignored = int(status_of(said)["SigIgn"], 16) & ~OF_THE_C_LIBRARY
    assert (code, ignored, status_of(said)["SigBlk"]) == (0, 0, "0" * 16)


def test_a_killed_launcher_takes_the_container_with_it_at_any_moment(root: Path, uid: int) -> None:
    made = contained.container(root, "sh", "-c", "sleep 1000 & setsid sleep 1000 & wait", uid=uid)
    for milliseconds in range(0, 60, 4):
        process = contained.start(made, uid)
        assert process.stdout is not None
        select.select([process.stdout], [], [], milliseconds / 1000)
        process.kill()
        said, _ = process.communicate(timeout=contained.LIMIT)  # it ends when the last process has closed it
        assert (process.returncode, said) == (-signal.SIGKILL, "")


def test_a_signal_that_ends_ends_the_launcher_at_any_moment(root: Path, uid: int) -> None:
    # The more there is to set up, the likelier the signal comes meanwhile.
    made = contained.container(root, "sh", "-c", "sleep 1000 & sleep 1000", uid=uid)
    made = made._replace(mounts=(*made.mounts, *(Mount("/tmp", "tmpfs") for _ in range(100))))
    seen = set()
    for milliseconds in range(20, 120, 5):
        process = contained.start(made, uid)
        assert process.stdout is not None
        select.select([process.stdout], [], [], milliseconds / 1000)
        process.terminate()
        said, _ = process.communicate(timeout=contained.LIMIT)
        # Before the launcher could do anything about it, during set-up, and when the command is there.
        assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM), said
        assert not said or "signal 15 while it was set up" in said
        seen.add((process.returncode, said != ""))
    assert (128 + signal.SIGTERM, False) in seen or (128 + signal.SIGTERM, True) in seen


def test_a_filter_can_be_installed_without_no_new_privileges(root: Path, uid: int) -> None:
    made = contained.container(root, "cat", "/proc/self/status", uid=uid, no_new_privileges=False, seccomp="default")
    seen = status_of(contained.run(made, uid)[1])
    assert (seen["NoNewPrivs"], seen["Seccomp"], seen["CapEff"]) == ("0", "2", "0" * 16)


def first_of(process: "subprocess.Popen[str]") -> int:
    """The host's pid of the container's PID 1."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


def test_a_killed_pid_1_is_an_exit_status(root: Path, uid: int) -> None:
    process = contained.start(
        contained.container(root, "sh", "-c", "echo ready; sleep 1000 & setsid sleep 1000 & wait", uid=uid), uid
    )
    started(process)
    os.kill(first_of(process), signal.SIGKILL)
    process.communicate(timeout=contained.LIMIT)
    assert process.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_a_command_that_leads_no_group_yet(number: int) -> None:
    """Between fork(2) and setsid(2) there is no group to send to: Ctrl-C just then was lost, and the container stayed."""
    command = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    reaper.pass_on(command, number)
    assert os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]) == -number


def test_a_signal_to_a_command_that_has_ended_is_no_error() -> None:
    command = os.posix_spawn("/bin/true", ["true"], {}, setsid=True)
    os.waitid(os.P_PID, command, os.WEXITED | os.WNOWAIT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP):
        reaper.pass_on(command, number)
    assert os.waitpid(command, 0) == (command, 0)
