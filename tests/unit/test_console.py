# SPDX-License-Identifier: MIT
"""The log and the console of a boot, also on a machine that has neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import console

INIT = str(Path(console.__file__).parents[1])


def records(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    written: list[bytes] = []

    def write(fd: int, data: bytes) -> int:
        written.append(data)
        return len(data)

    monkeypatch.setattr(console.os, "write", write)  # type: ignore[attr-defined]
    return written


@given(st.text(st.characters(codec=None)), st.sampled_from([3, 4, 6, 7]))
def test_a_line_is_one_record_that_the_kernel_takes(text: str, level: int) -> None:
    log = console.Log()
    log._fd = 1 << 20
    with pytest.MonkeyPatch.context() as patch:
        written = records(patch)
        log.line(level, text)
    (line,) = written
    assert line.startswith(f"<{level}>rootfall: ".encode())
    assert len(line) <= 992, "more is EINVAL"
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    log = console.Log()
    log.close()
    log.info("nobody hears this")
    log._fd = os.open(tmp_path / "file", os.O_RDONLY | os.O_CREAT)
    log.warning("nor this")
    log.close()
    assert log._fd == -1


def test_a_rate_limit_that_cannot_be_set_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_RATELIMIT", str(tmp_path / "absent/printk_devkmsg"))
    assert console.limit_rate("on") == ""
    (tmp_path / "printk_devkmsg").write_text("ratelimit\n")
    monkeypatch.setattr(console, "_RATELIMIT", str(tmp_path / "printk_devkmsg"))
    assert console.limit_rate("on") == "ratelimit"
    assert (tmp_path / "printk_devkmsg").read_text() == "on\n"


def test_descriptors_0_to_2_are_a_console_even_when_the_kernel_gave_none() -> None:
    """A kernel that finds no console starts init with all three closed; the log must not take their place."""
    code = f"""
import os, sys
sys.path.insert(0, {INIT!r})
from rootfall import console
out = os.dup(1)
real = os.open
os.open = lambda path, flags, *a, **k: real("/dev/null" if path in ("/dev/console", "/dev/kmsg") else path, flags, *a, **k)
os.closerange(0, 3)
log = console.Log()
assert log._fd > 2, log._fd
console.reopen_console()
os.write(out, repr([os.get_inheritable(fd) and os.readlink(f"/proc/self/fd/{{fd}}") for fd in (0, 1, 2)]).encode())
os.write(out, repr(os.get_inheritable(log._fd)).encode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "['/dev/null', '/dev/null', '/dev/null']False", done.stderr
