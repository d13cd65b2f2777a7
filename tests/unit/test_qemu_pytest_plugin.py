# SPDX-License-Identifier: MIT
"""The plug-in as a project that is not ours uses it: a pytest run of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_TEST = """
from pathlib import Path
from rootfall_qemu.machine import Machine

def test_firmware_says_nothing_on_the_serial_line(vm):
    machine = vm(Machine(None, accel="tcg", extra=("-device", "sga")))
    machine.console.expect("SeaBIOS", 30)
    assert False, "shown"
"""


def pytest_in(directory: Path, **environment: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "rootfall_qemu.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-rs",
        "-q",
    ]
    (directory / "test_project.py").write_text(PROJECT_TEST)
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    done = subprocess.run(
        command, cwd=directory, env=os.environ | {"PYTHONPATH": path} | environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.vm
def test_a_failed_test_shows_the_console_of_its_machine(tmp_path: Path) -> None:
    report = pytest_in(tmp_path)
    assert "AssertionError: shown" in report
    section = report.partition("- console of machine 0 -")[2]
    assert "SeaBIOS" in section


def test_without_qemu_a_test_is_skipped_with_the_reason(tmp_path: Path) -> None:
    report = pytest_in(tmp_path, PATH=str(tmp_path))
    assert "no qemu-system-x86_64 (Debian: apt install qemu-system-x86)" in report
    assert "1 skipped" in report


def test_the_plug_in_imports_none_of_the_library() -> None:
    code = (
        "import sys, rootfall_qemu.pytest_plugin; print([m for m in sys.modules if m.startswith(('rootfall', 'qemu'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rootfall_qemu', 'rootfall_qemu.pytest_plugin']"
