# SPDX-License-Identifier: MIT
"""A container's plan: what `--plan` prints, and that it is pure."""

import subprocess
import sys

import pytest

from rootfall.container import command, defaults, options, plan
from rootfall.container.defaults import Caller
from rootfall.container.plan import BringUpLoopback, Clone, Execute, MakeCgroup, MapIds, Name, Plan

CALLER = Caller(1000, 1000, 42, {}, lambda kind: ())
ROOT = CALLER._replace(uid=0, gid=0)


def made(*words: str, caller: Caller = ROOT) -> Plan:
    line = options.parse(list(words))
    return plan.make_plan(defaults.make(line.asked, line.root, line.command, caller))


def test_the_plan_of_a_small_container_as_text() -> None:
    words = ("--volatile", "--memory", "64M", "--hostname", "try", "--tmpfs", "/tmp:size=1M", "--ro-bind", "/src:/work")
    lines = str(
        made(*words, "--unmask", "ALL", "--mask", "/etc/shadow", "/srv/root", "id", "-u", caller=CALLER)
    ).splitlines()
    assert lines == [
        "1. make the cgroup rootfall-42 with memory.max=67108864",
        "2. start a process in new namespaces: user, mount, pid, network, uts, ipc, cgroup",
        "3. map the ids: user 0+1 is 1000 of the host; group 0+1 is 1000 of the host",
        "4. make the mounts of the new namespace slaves of the host's",
        "5. lay an overlay over /srv/root; what is written is thrown away",
        "6. mount proc on /proc",
        "7. make a minimal /dev on /dev with mqueue",
        "8. mount sysfs on /sys with ro",
        "9. mount tmpfs on /tmp with size=1M",
        "10. bind /src on /work with ro",
        "11. mask /etc/shadow; make read-only nothing",
        "12. set the host name to try",
        "13. bring lo up",
        '14. pivot_root(".", "."), let go of the old root, prove that /.. is /; make / private',
        "15. as 0:0 with no capability, the default seccomp profile, no_new_privs, execute id -u as PID 2",
    ]


def test_what_is_not_asked_for_is_not_in_the_plan() -> None:
    found = made("--network", "host", "--no-proc", "--no-dev", "--unmask", "ALL", "/r", "sh")
    assert found.outside == (Clone(("mount", "pid", "uts", "ipc", "cgroup")),)
    kinds = [type(step) for step in found.inside]
    assert not {MakeCgroup, MapIds, Name, BringUpLoopback, plan.MakeMount, plan.HidePaths} & set(kinds)
    assert kinds == [plan.Isolate, plan.PrepareRoot, plan.PivotRoot]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--cap-add", "CHOWN", "--seccomp", "unconfined"], "as 0:0 with CAP_CHOWN, no_new_privs, execute sh as PID 2"),
        (["--seccomp-fd", "9", "--as-pid1"], "the seccomp program of descriptor 9, no_new_privs, execute sh as PID 1"),
        (["--no-new-privs=no", "--user", "5"], "as 5:5 with no capability, the default seccomp profile, execute"),
    ],
)
def test_the_hand_over_says_what_the_command_may(words: list[str], text: str) -> None:
    last = made(*words, "/r", "sh").handover
    assert isinstance(last, Execute)
    assert text in str(last)


def test_limits_are_named_as_the_kernels_files() -> None:
    words = ("--memory", "1M", "--memory-swap-max", "0", "--pids-limit", "5", "--cpus", "0.5", "--cpu-weight", "9")
    more = ("--cpuset", "0", "--cpuset-mems", "0", "--io-max", "8:0,wbps=1", "--cgroup-parent", "/a", "--name", "b")
    assert str(made(*words, *more, "/r", "sh").outside[0]) == (
        "make the cgroup b in /a with memory.max=1048576, memory.swap.max=0, pids.max=5, cpu.max=50000 100000, cpu.weight=9, "
        "cpuset.cpus=0, cpuset.mems=0, io.max=8:0 wbps=1"
    )
    assert (
        str(made("--cgroup-parent", "/a", "--name", "b", "/r", "sh").outside[0])
        == "make the cgroup b in /a with no limits"
    )


def test_the_command_line_prints_the_plan_and_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no such root: a plan does not look."""
    assert command.main(["run", "--plan", "--map-users", "0:1:1", "--map-groups", "0:1:1", "/no/such/root", "sh"]) == 0
    assert "bind /no/such/root onto itself" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "where"),
    [
        ([], 2, "err"),
        (["rum"], 2, "err"),
        (["--help"], 0, "out"),
        (["run", "--help"], 0, "out"),
        (["run", "-h"], 0, "out"),
        (["run"], 125, "err"),
        (["run", "--nonsense", "/r", "sh"], 125, "err"),
        (["check"], 2, "err"),
        (["check", "--help"], 0, "out"),
        (["check", "/no/such/file"], 2, "err"),
        (["check", "/dev/null"], 2, "err"),
        (["run", "--config", "/no/such/file"], 125, "err"),
    ],
)
def test_each_answer_has_its_status_and_its_stream(
    words: list[str], status: int, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == status
    printed = capsys.readouterr()
    assert (bool(printed.out), bool(printed.err)) == (where == "out", where == "err")
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("words", [["run", "--plan", "/r", "sh"], ["run", "--help"], ["run", "--nonsense"], []])
def test_the_installed_command_does_not_import_the_builder(words: list[str]) -> None:
    code = "import sys; from rootfall_build.door import main; sys.exit(main())"
    command = [sys.executable, "-X", "importtime", "-c", code, "container", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "rootfall.container.command" in imported
    assert imported & {"click", "argparse", "yaml", "subprocess", "dataclasses", "rootfall_build.cli"} == set()
    assert done.returncode == command_status(words)


def command_status(words: list[str]) -> int:
    return {"--plan": 0, "--help": 0, "--nonsense": 125}[words[1]] if words else 2
