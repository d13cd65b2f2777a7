# SPDX-License-Identifier: MIT
"""The hook that docs/hooks.md shows, in an image and at boot: it lets a root of the site pass, and no other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rootfall_qemu.debian import fetch_kernel
from rootfall_qemu.machine import Machine
from tests.boot import images, roots
from tests.boot.booted import Booted, snapshots
from tests.boot.failure import report
from tests.guest.report import parse
from tests.house import site_hook

pytestmark = pytest.mark.vm

Boot = Callable[[str], Booted]


@pytest.fixture
def booted(boot: Callable[[Machine], Booted], shared: Path, tmp_path: Path) -> Boot:
    """`booted(mark)` boots a root whose /etc/site says so with an image of the site "here"."""
    config = site_hook.write(tmp_path).replace("hooks_from: hooks", f"hooks_from: {tmp_path}/hooks")
    config = config.replace("image:\n", f"  on_failure: {{action: reboot}}\nimage:\n  programs_from: {tmp_path}\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/site").write_text("here\n")

    def run(mark: str) -> Booted:
        def fill(tree: Path) -> None:
            roots.witness(tree)
            (tree / "etc/site").write_text(f"{mark}\n")

        kernel = fetch_kernel("6.1")
        disk = roots.disk(shared, f"site-{mark}", fill)
        append = f"console=ttyS0 panic=-1 root=UUID={roots.UUID}"
        return boot(Machine(kernel.image, images.built(tmp_path, kernel, config), append, disks=snapshots(disk)))

    return run


def test_a_root_of_the_site_is_booted(booted: Boot) -> None:
    record = booted("here")
    assert "hook: perform same_site: it is of here" in record.console
    assert parse(record.console).pid == 1


def test_another_root_ends_in_the_report_with_the_words_of_the_hook(booted: Boot) -> None:
    record = booted("elsewhere")
    said = report(record.console)
    assert said["failed"] == ("cannot accept the root /etc/site",)
    assert said["seen"] == ("elsewhere",)
    assert said["remedy"] == ("a root of this site says here",)
    assert record.end == "guest-reset"
