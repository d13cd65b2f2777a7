# SPDX-License-Identifier: MIT
"""`rootfall container run` from its words to what the command sees: each option in effect, by the kernel's own account."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel import namespace

START = "import sys; from rootfall.container.command import main; sys.exit(main(sys.argv[1:]))"

pytestmark = pytest.mark.skipif(bool(why := namespace.why_not()), reason=f"no mount and PID namespaces here: {why}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if not Path("/bin/busybox").exists():
        pytest.skip("no busybox here")
    made = tmp_path / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "work", "mnt"):
        (made / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", made / "bin/busybox")
    for name in "sh cat grep id umask pwd hostname touch ls readlink mount env tty".split():
        (made / "bin" / name).symlink_to("busybox")
    (made / "etc/secret").write_text("secret")
    return made


def run(*words: str | Path, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(each for each in sys.path if each)
    return subprocess.run(
        [sys.executable, "-c", START, "run", *words],
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(root: Path, script: str, *options: str, environment: dict[str, str] | None = None) -> list[str]:
    """What a shell script prints in the container, in lines."""
    done = run(*options, root, "--", "sh", "-c", script, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_who_and_where_the_command_is(root: Path) -> None:
    script = "pwd; umask; hostname; readlink /proc/self/ns/uts; id -u; id -g"
    found = said(root, script, "--cwd", "/work", "--umask", "027", "--hostname", "try", "--user", "7:8")
    assert found[:3] == ["/work", "0027", "try"]
    assert found[3] != os.readlink("/proc/self/ns/uts")
    assert found[4:] == ["7", "8"]


def test_the_environment_is_what_was_said(root: Path) -> None:
    found = said(root, "env", "-e", "A=1", "--env", "SECRET_NO", "-e", "B", environment={"B": "2", "LEAK": "x"})
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    wanted = {"A=1", "B=2", "HOME=/root", "container=rootfall", f"PATH={path}"}
    assert {line for line in found if not line.startswith(("PWD=", "SHLVL=", "OLDPWD="))} == wanted


def test_the_roots_own_words_hold(root: Path) -> None:
    script = "touch /work/x 2>/dev/null || echo refused"
    assert said(root, script, "--read-only") == ["refused"]
    assert said(root, "touch /mnt/x && ls /mnt", "--tmpfs", "/mnt:size=1M") == ["x"]
    assert list((root / "mnt").iterdir()) == []
    assert said(root, "ls / /tmp", "--put-old", "/tmp/old")[-1] == "/tmp:", "the old root is gone from there"
    assert said(root, "cat /etc/secret") == ["secret"]
    assert said(root, "cat /etc/secret", "--mask", "/etc/secret") == []


def test_binds_show_the_hosts_files_as_far_as_they_should(root: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "file").write_text("here")
    script = "cat /work/file; echo; touch /work/new 2>/dev/null || echo refused"
    assert said(root, script, "--ro-bind", f"{shown}:/work") == ["here", "refused"]
    assert said(root, script, "-v", f"{shown}:/work:ro") == ["here", "refused"]
    assert said(root, script, "--bind", f"{shown}:/work") == ["here"]
    assert (shown / "new").exists()


def test_privileges_are_those_that_were_given(root: Path) -> None:
    script = (
        "grep -E '^(CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp):' /proc/self/status; grep 'open files' /proc/self/limits"
    )
    found = [line.split() for line in said(root, script, "--cap-add", "chown", "--rlimit", "NOFILE=64:128")]
    values = {words[0]: words[1] for words in found[:5]}
    one, none = f"{1:016x}", f"{0:016x}"
    assert values == {"CapInh:": none, "CapEff:": one, "CapBnd:": one, "NoNewPrivs:": "1", "Seccomp:": "2"}
    assert found[5][3:5] == ["64", "128"]


def test_namespaces_are_made_and_shared(root: Path) -> None:
    kinds = "mnt pid net uts ipc cgroup".split()
    script = "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds)
    host = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert [inside != outside for inside, outside in zip(said(root, script), host, strict=True)] == [True] * len(kinds)
    shared = said(root, script, "--network", "host", "--share", "ipc")
    assert [inside == outside for inside, outside in zip(shared, host, strict=True)] == [
        kind in ("net", "ipc") for kind in kinds
    ]


def test_a_descriptor_is_preserved_and_no_other(root: Path) -> None:
    assert said(root, "ls /proc/self/fd") == ["0", "1", "2", "3"], "3 is the directory that ls reads"


def test_a_file_says_the_same_and_the_command_line_wins(root: Path) -> None:
    file = root.parent / "c.yaml"
    file.write_text(
        "version: 1\nroot: {path: root}\nprocess: {args: [sh, -c, 'echo $A'], env: [A=file]}\nhostname: one\n"
    )
    file.chmod(0o644)
    assert run("--config", file).stdout == "file\n"
    assert run("--config", file, "-e", "A=words").stdout == "words\n"
    assert run("--config", file, "--", "hostname").stdout == "one\n"


def test_the_exit_status_says_who_failed(root: Path) -> None:
    assert run(root, "sh", "-c", "exit 3").returncode == 3
    assert run(root, "sh", "-c", "kill -TERM $$").returncode == 143
    assert run(root, "/no/such").returncode == 127
    assert run(root, "/etc/secret").returncode == 126
    for words in (["--no-such-option"], ["--cwd", "/no/such"], ["--user", "0x1"]):
        done = run(*words, root, "sh")
        assert done.returncode == 125
        assert done.stderr.startswith("rootfall: cannot ")
        assert done.stderr.count("\n") == 1
