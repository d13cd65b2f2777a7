# SPDX-License-Identifier: MIT
"""What the frozen program imports to run a command in a container: no more than it may."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from rootfall_build.freeze import FrozenRuntime
from tests.frozen.test_frozen_boot import BUDGET, loud
from tests.guest.material import compile_static
from tests.kernel import namespace

BENCH = Path(__file__).parents[1] / "bench"
# What costs more than it gives, and what only some runs need.
UNWANTED = """
    re enum typing types inspect ctypes dataclasses subprocess threading random tempfile logging pathlib argparse yaml pyudev
    rootfall.schema rootfall.config rootfall.main rootfall.linux.udev rootfall.linux.blkid rootfall.container.config
    rootfall.container.cgroups rootfall.container.terminal rootfall.container.overlay rootfall.container.boot
    rootfall.container.refusal
""".split()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one program."""
    if lack := namespace.why_not():
        pytest.skip(f"no mount and PID namespaces here: {lack}")
    for name in ("bin", "dev", "proc", "sys"):
        (tmp_path / "root" / name).mkdir(parents=True)
    compile_static(BENCH / "true.c", tmp_path / "root/bin/true")
    return tmp_path / "root"


def test_a_run_imports_no_more_modules_than_its_budget(runtime: FrozenRuntime, tmp_path: Path, root: Path) -> None:
    """About a millisecond of every run for fifteen. A number of modules is the same on every machine."""
    copy = tmp_path / "usr/lib/rootfall"
    copy.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", runtime.directory, copy], check=True)
    loud(tmp_path)
    command = [str(copy / "rootfall"), "container", "run", str(root), "/bin/true"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = set(re.findall(r"^import '([\w.]+)' #", done.stderr, re.MULTILINE))
    budget = json.loads(BUDGET.read_text())["container"]
    assert not names & set(UNWANTED)
    assert len(names) <= budget, f"{len(names)} imports: {' '.join(sorted(names))}"
    assert len(names) > budget - 8, f"{len(names)} imports only: lower it in {BUDGET.name}"


def test_what_nobody_reads_is_no_error_of_ours(runtime: FrozenRuntime) -> None:
    program = runtime.directory / "rootfall"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([program, "container", "run", "--help"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""
