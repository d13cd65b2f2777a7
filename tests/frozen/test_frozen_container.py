# SPDX-License-Identifier: MIT
"""The frozen program as `rootfall container`: it needs nothing that is not in it, whatever the command line says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from rootfall_build.freeze import FrozenRuntime
from tests.kernel import namespace

pytestmark = pytest.mark.skipif(bool(why := namespace.why_not()), reason=f"no mount and PID namespaces here: {why}")


@pytest.fixture(scope="module")
def program(runtime: FrozenRuntime) -> Path:
    return runtime.directory / "rootfall"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path("/bin/busybox").exists():
        pytest.skip("no busybox here")
    made = tmp_path_factory.mktemp("frozen") / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (made / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", made / "bin/sh")
    return made


def run(program: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, "container", *words], capture_output=True, text=True, timeout=60, check=False)


def test_a_command_runs_and_its_status_comes_back(program: Path, root: Path) -> None:
    done = run(program, "run", root, "sh", "-c", "echo $$ $HOME $container; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "2 /root rootfall\n", "")


def test_a_file_is_read_without_a_python_beside_it(program: Path, root: Path) -> None:
    file = root.parent / "c.yaml"
    file.write_text("version: 1\nroot: {path: root}\nprocess: {args: [sh, -c, 'echo $A'], env: [A=hello]}\n")
    file.chmod(0o644)
    assert run(program, "run", "--config", file).stdout == "hello\n"
    assert run(program, "run", "--config", file, "--env", "A=you", "--", "sh", "-c", "echo $A!").stdout == "you!\n"
    file.write_text("version: 1\nroot: {path: root}\nproces: {}\n")
    done = run(program, "check", file)
    assert done.returncode == 2
    assert f'{file}:3:1: proces: unknown key; did you mean "process"?' in done.stderr


def test_what_fails_is_one_line(program: Path, root: Path) -> None:
    done = run(program, "run", "--memroy", "1", root, "sh")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "rootfall: cannot use --memroy; seen: no such option; did you mean --memory?\n"
    assert run(program, "run", root, "no-such-command").returncode == 127
    assert run(program, "run", "--help").stdout.startswith("usage: rootfall container run")
    assert "would" in run(program, "explain", root, root).stdout
