# SPDX-License-Identifier: MIT
"""The state that systemd is handed: its form, and the descriptor that it comes in."""

import errno
import os
import re
import time
from pathlib import Path

import pytest

from rootfall import systemd


def test_the_state_is_the_one_line_that_every_systemd_knows() -> None:
    started = time.monotonic_ns() - 2_000_000_000
    found = re.fullmatch(r"initrd-timestamp=(\d+) (\d+)\n", systemd.state(started))
    assert found
    realtime, monotonic = int(found[1]), int(found[2])
    assert monotonic == started // 1000
    assert abs(time.time() * 1e6 - realtime - (time.monotonic() * 1e6 - monotonic)) < 1e6, "one moment on both clocks"


def test_a_clock_that_was_never_set_is_no_unset_timestamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd takes a zero for "there is none"."""
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert re.fullmatch(r"initrd-timestamp=1 1\n", systemd.state(0))


def test_the_words_name_a_descriptor_at_its_start_that_survives_execve() -> None:
    words = systemd.hand_over_words(time.monotonic_ns())
    assert words[:3] == ("--switched-root", "--system", "--deserialize")
    fd = int(words[3])
    try:
        assert fd > 2
        assert os.get_inheritable(fd)
        assert str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("/memfd:systemd-state")
        assert os.read(fd, 100).startswith(b"initrd-timestamp=")
    finally:
        os.close(fd)


def test_a_kernel_that_does_not_know_the_flag_is_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = os.memfd_create, []

    def old_kernel(name: str, flags: int) -> int:
        asked.append(flags)
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", old_kernel)
    os.close(int(systemd.hand_over_words(1)[3]))
    assert asked == [8, 0]
