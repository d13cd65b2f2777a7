# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from rootfall_qemu.accel import VARIABLE, usable_accelerator
from rootfall_qemu.errors import MachineError


@pytest.mark.parametrize("name", ["kvm", "tcg"])
def test_the_environment_is_believed(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, name)
    assert usable_accelerator(Path("/no/kernel"), tmp_path) == name
    assert not list(tmp_path.iterdir())


def test_an_unknown_accelerator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "xen")
    with pytest.raises(MachineError, match="ROOTFALL_ACCEL=xen; it is kvm or tcg"):
        usable_accelerator(None)


def test_without_a_kernel_to_try_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert usable_accelerator(None, tmp_path) == "tcg"
    assert not list(tmp_path.iterdir())
