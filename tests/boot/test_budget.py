# SPDX-License-Identifier: MIT
"""The committed budget of speed, size and memory, on QEMU's instruction clock: counted, so a busy machine changes nothing."""

import pytest

from tests.bench.__main__ import main


@pytest.mark.vm
def test_the_boot_keeps_to_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("zstd:3",)) == 0, capsys.readouterr().out
