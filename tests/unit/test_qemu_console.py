# SPDX-License-Identifier: MIT
import re
import socket
from collections.abc import Iterator

import pytest

from rootfall_qemu.console import Console
from rootfall_qemu.errors import ExpectError, GuestPanic


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, Console]]:
    ours, guest = socket.socketpair()
    console = Console(ours)
    yield guest, console
    guest.close()
    console.close()


Line = tuple[socket.socket, Console]


def test_expect_passes_what_it_has_found(line: Line) -> None:
    guest, console = line
    guest.sendall(b"one two one")
    assert console.expect("one", 5).start() == 0
    assert console.expect(re.compile("o(n)e"), 5).group(1) == "n"
    assert console.log == "one two one"


def test_a_character_and_a_line_end_that_arrive_in_halves_are_whole(line: Line) -> None:
    guest, console = line
    for half in (b"caf\xc3", b"\xa9\r", b"\nnext"):
        guest.sendall(half)
    console.expect("next", 5)
    assert console.log == "café\nnext"


def test_a_deadline_names_what_was_waited_for_and_shows_the_last_30_lines(line: Line) -> None:
    guest, console = line
    guest.sendall("".join(f"line {number}\n" for number in range(40)).encode())
    console.expect("line 39\n", 5)
    with pytest.raises(ExpectError, match=r"(?s)the login prompt \(not within 0\.01 s\).*line 10\n.*line 39") as error:
        console.expect("login:", 0.01, "the login prompt")
    assert "line 9\n" not in str(error.value)
    assert error.value.timed_out


def test_a_silent_console_is_said_to_be_silent(line: Line) -> None:
    with pytest.raises(ExpectError, match=r"'login:'.*nothing at all on the console"):
        line[1].expect("login:", 0.01)


def test_a_guest_that_goes_away_ends_the_wait_at_once(line: Line) -> None:
    guest, console = line
    guest.sendall(b"bye")
    guest.close()
    with pytest.raises(ExpectError, match="the machine was gone first") as error:
        console.expect("login:", 3600)
    assert not error.value.timed_out
    assert console.ended


def test_a_panic_ends_the_wait_at_once_with_what_the_kernel_said(line: Line) -> None:
    guest, console = line
    guest.sendall(b"fine\n[ 1.0] Kernel pa")
    console.expect("Kernel pa", 5)
    guest.sendall(b"nic - not syncing: no init\nCPU: 0\n---[ end Kernel panic - not syncing: no init ]---\n")
    with pytest.raises(GuestPanic) as error:
        console.expect("login:", 3600)
    assert error.value.lines[:2] == ("[ 1.0] Kernel panic - not syncing: no init", "CPU: 0")
    assert console.panic == error.value.lines


def test_a_panic_that_is_waited_for_is_found(line: Line) -> None:
    guest, console = line
    guest.sendall(b"Kernel panic - not syncing: x\n")
    assert console.expect("Kernel panic", 5)


def test_what_is_sent_reaches_the_guest_and_the_mirror_sees_raw_bytes() -> None:
    ours, guest = socket.socketpair()
    seen: list[bytes] = []
    console = Console(ours, seen.append)
    with guest:
        console.send("yes\n")
        assert guest.recv(10) == b"yes\n"
        guest.sendall(b"ok\r\n")
    console.wait_end(5)
    console.close()
    assert b"".join(seen) == b"ok\r\n"


def test_a_megabyte_is_read_without_anyone_waiting_for_it(line: Line) -> None:
    guest, console = line
    guest.settimeout(30)
    guest.sendall(b"x" * 1_000_000 + b"!")
    console.expect("!", 30)
    assert len(console.log) == 1_000_001
