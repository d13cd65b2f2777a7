# SPDX-License-Identifier: MIT
"""A pytest plug-in: the `vm` fixture starts machines that end with the test, and a failed test shows their consoles.

Every run of pytest loads this, so what costs time is imported when a test asks for a machine. A test is skipped, with
the reason, where there is no QEMU. Rules: pytest's "Writing plugins".
"""

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rootfall_qemu.machine import Machine
    from rootfall_qemu.vm import VM

MACHINES: pytest.StashKey[list["VM"]] = pytest.StashKey()


@pytest.fixture
def vm(request: pytest.FixtureRequest) -> Generator[Callable[["Machine"], "VM"], None, None]:
    """`vm(machine)` starts `machine` and returns its VM; all that a test has started ends with it."""
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no qemu-system-x86_64 (Debian: apt install qemu-system-x86)")
    from rootfall_qemu.vm import VM

    started = request.node.stash.setdefault(MACHINES, [])
    with ExitStack() as stack:

        def start(machine: "Machine") -> VM:
            new = stack.enter_context(VM(machine))
            started.append(new)
            return new

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the whole console of every machine of a failed test to its report."""
    report = yield
    if report.failed:
        machines = item.stash.get(MACHINES, [])
        report.sections += [(f"console of machine {number}", vm.console.log) for number, vm in enumerate(machines)]
    return report
