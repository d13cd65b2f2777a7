# SPDX-License-Identifier: MIT
"""Every system call of a boot fails once: the boot goes on, or it ends in a report that names what failed. See faults.py."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rootfall import config
from rootfall.modules import READY, ready_index
from tests.kernel import faults
from tests.kernel.faults import Case, Outcome, Run

UUID = "7b0d5c7e-3a4f-4a55-9d0e-5f9a1c2b3d4e"
CONFIG = f"""\
version: 1
boot:
  root: {{device: UUID={UUID}, timeout: 100ms}}
  on_failure: {{action: reboot}}
image:
  modules: [needed]
  drivers: [storage]
""".encode()
MODULES = f"usr/lib/modules/{os.uname().release}"
INDEX = (b"kernel/needed.ko: kernel/base.ko\nkernel/base.ko:\n", b"", b"alias virtio:d0* base\n")
FILES = {
    "init": b"",
    "cmdline": b"quiet one two=2\n",
    "etc/rootfall/rootfall.yaml": CONFIG,
    "etc/rootfall/rootfall.plan": config.ready(CONFIG, config.parse(CONFIG, "the test")),
    f"{MODULES}/{READY}": ready_index(INDEX),
    f"{MODULES}/modules.dep": INDEX[0],
    f"{MODULES}/modules.softdep": INDEX[1],
    f"{MODULES}/modules.alias": INDEX[2],
    f"{MODULES}/kernel/needed.ko": b"",
    f"{MODULES}/kernel/base.ko": b"",
}
MOST = 2000  # calls: many more than a boot makes


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    faults.everything_imported()


def root_device(tmp_path: Path, loop: Callable[[Path], str], init: bool) -> str:
    """A device with an ext4 that has UUID, and an init that any machine could execute, or none."""
    for name in ("proc", "sys", "dev", "run", "sbin"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    if init:
        (tmp_path / "tree/sbin/init").write_text("#!/sbin/interpreter\n")
        (tmp_path / "tree/sbin/init").chmod(0o755)
        (tmp_path / "tree/sbin/interpreter").touch()
    image = tmp_path / "ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", tmp_path / "tree", image, "4M"], check=True)
    return loop(image)


def every(errno: int, pivot: bool) -> tuple[Iterator[Case], Callable[[Outcome], None]]:
    """Cases for call after call, until one was not reached."""
    more = [True]

    def seen(outcome: Outcome) -> None:
        more[0] = bool(outcome.failed)

    cases = (Case(number, errno, pivot) for number in itertools.count(1))
    return itertools.takewhile(lambda case: more[0] and case.fail < MOST, cases), seen


def verdict(outcome: Outcome) -> str:
    """What is wrong with the end of a boot; empty when it is as it should be."""
    if outcome.end == "executed":
        return ""
    if outcome.end not in ("rebooted", "stood still"):
        return outcome.end
    if not outcome.report:
        return f"{outcome.end} without a report"
    if outcome.end == "stood still" and "stands still" not in outcome.console:
        return "stood still without saying why"
    bad = [word for word in ("internal error", "Traceback") if word in outcome.console]
    return f"{', '.join(bad)} on the console" if bad else ""


# By pivot_root(2) as from Linux 7.0 on, by MS_MOVE as before it, and into a report, whose calls fail in their turn.
@pytest.mark.parametrize(("errno", "pivot", "init"), [(5, True, True), (2, False, True), (5, False, False)])
def test_whichever_call_of_a_boot_fails_it_goes_on_or_ends_in_a_report(
    in_namespace: Run, tmp_path: Path, loop: Callable[[Path], str], errno: int, pivot: bool, init: bool
) -> None:
    device = root_device(tmp_path, loop, init)
    (tmp_path / "cases").mkdir()

    def test() -> None:
        cases, seen = every(errno, pivot)
        ends: dict[str, int] = {}
        wrong = []
        for case, outcome in faults.boots(cases, FILES, device, tmp_path / "cases"):
            seen(outcome)
            ends[outcome.end] = ends.get(outcome.end, 0) + 1
            if fault := verdict(outcome):
                wrong.append(f"{case.fail}. {outcome.failed}: {fault}\n{outcome.console[-1500:]}")
        assert not wrong, "\n".join(wrong[:20])
        assert not outcome.failed, "the last boot was whole"
        assert outcome.end == ("executed" if init else "rebooted")
        assert sum(ends.values()) > 90, ends  # so many were really made to fail
        assert ends["rebooted"] > 10, ends

    in_namespace(test)
