# SPDX-License-Identifier: MIT
"""`rootfall plan`: what a boot would do, printed on a laptop."""

from pathlib import Path

import pytest

from rootfall_build.cli import main

CONFIG = """\
version: 1
boot:
  root: {device: LABEL=data, timeout: 5s}
image:
  modules: [virtio_blk, ext4]
"""


def test_the_plan_of_a_configuration_is_printed_in_the_order_of_the_boot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    assert main(["plan", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    order = [
        "mount /proc /sys /dev /run",
        "load the modules virtio_blk ext4",
        "find the block device LABEL=data, waiting for up to 5 s",
        "mount it on /sysroot as the type that is on it, options ro",
        "execute /sbin/init",
    ]
    at = [next(n for n, line in enumerate(lines) if words in line) for words in order]
    assert at == sorted(at)


def test_the_command_line_overrides_the_file_in_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    words = "root=/dev/sda2 rw rootwait panic=7 init=/bin/other color=red -- single"
    assert main(["plan", str(config), "--append", words]) == 0
    out = capsys.readouterr().out
    assert "find the block device /dev/sda2, waiting for ever" in out
    assert "options rw" in out
    assert "argv: /bin/other single" in out
    assert "color=red" in out
    assert "reboot after 7 s" in out


def test_a_plan_without_a_root_says_where_to_name_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("version: 1\n")
    assert main(["plan", str(config)]) == 1
    assert "boot.root.device" in capsys.readouterr().err
