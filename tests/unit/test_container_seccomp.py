# SPDX-License-Identifier: MIT
"""The default seccomp profile: the program is run here, instruction by instruction, on every system call there is."""

import ctypes
import os
import struct

import pytest

from rootfall.container import profile, seccomp
from rootfall.container.model import CAPABILITIES, Process
from rootfall.errors import ContainerError

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
AUDIT = {0: 0xC000003E, 1: 0x40000003, 2: 0xC00000B7, 3: 0x40000028}
MACHINES = {0: "x86_64", 1: "x86_64", 2: "aarch64", 3: "aarch64"}
BY_ARGUMENT = ("clone", "unshare", "ioctl", "socket", "personality")


def answer(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would do: the interpreter of linux/bpf_common.h, as far as seccomp(2) has it here."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        op, yes, no, value = code[at]
        at += 1
        if op == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif op == 0x05:
            at += value
        elif op in (0x15, 0x35, 0x45):
            hit = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[op]
            at += yes if hit else no
        else:
            assert op == 0x06
            return int(value)


def program(column: int, *capabilities: str) -> bytes:
    found = seccomp.program(MACHINES[column], capabilities)
    assert found is not None
    return found


@pytest.mark.parametrize("column", AUDIT)
def test_each_call_of_the_list_is_refused_and_no_other(column: int) -> None:
    refused = {seccomp.NUMBERS[name][column] for name in seccomp.denied(())} - {-1}
    special = {seccomp.NUMBERS[name][column] for name in (*BY_ARGUMENT, "clone3")}
    code = program(column)
    for number in range(seccomp.LAST + 40):
        if number in special:
            continue
        expected = EPERM if number in refused else ENOSYS if number > seccomp.LAST else ALLOW
        assert answer(code, AUDIT[column], number) == expected, number


@pytest.mark.parametrize("column", AUDIT)
def test_arguments_decide_by_their_lower_half_alone(column: int) -> None:
    def ask(name: str, *arguments: int) -> int:
        return answer(program(column), AUDIT[column], seccomp.NUMBERS[name][column], *arguments)

    high = 1 << 32
    assert ask("clone", 17) == ask("clone", 0x3D0F00) == ALLOW
    for flag in (0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask("clone", flag | 17) == ask("unshare", flag) == ask("clone", flag | high) == EPERM
    assert (ask("unshare", 0x80), ask("unshare", 0x600)) == (EPERM, ALLOW)
    assert ask("clone3") == ENOSYS
    assert ask("ioctl", 0, 0x5413) == ALLOW
    assert ask("ioctl", 0, 0x5412) == ask("ioctl", 0, 0x541C) == ask("ioctl", 0, 0x5412 | high) == EPERM
    assert (ask("socket", 1), ask("socket", 40), ask("socket", 40 | high)) == (ALLOW, EPERM, EPERM)
    for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert ask("personality", persona) == ALLOW
    assert ask("personality", 0x40000) == ask("personality", 1) == EPERM


def test_other_tables_lead_nowhere() -> None:
    code = program(0)
    for number in (39, 101, 310, 512, 547):
        assert answer(code, AUDIT[0], 0x40000000 | number) == ENOSYS, "x32"
    assert answer(code, AUDIT[0], -1) == ENOSYS
    assert answer(code, AUDIT[2], 172) == KILL, "arm64 on x86"
    assert answer(program(3), AUDIT[3], 0xF0002) == ALLOW, "cacheflush"
    assert answer(program(3), AUDIT[3], 0xF0007) == ENOSYS
    assert answer(program(2), AUDIT[2], 0xF0002) == ENOSYS


def test_a_capability_gives_its_calls_back_and_no_other() -> None:
    assert set(seccomp.DENIED) - {""} <= set(CAPABILITIES)
    for capability, names in seccomp.DENIED.items():
        code = program(0, capability or "CAP_CHOWN")
        for name in seccomp.denied(()):
            number = seccomp.NUMBERS[name][0]
            if number >= 0:
                given = capability != "" and name in names.split()
                assert answer(code, AUDIT[0], number) == (ALLOW if given else EPERM), (capability, name)
    code = program(0, "CAP_SYS_ADMIN")
    assert (
        answer(code, AUDIT[0], 56, 0x10000000)
        == answer(code, AUDIT[0], 435)
        == answer(code, AUDIT[0], 272, 1 << 28)
        == ALLOW
    )
    assert answer(code, AUDIT[0], 16, 0, 0x5412) == EPERM


def test_the_numbers_are_those_of_libseccomp() -> None:
    """A second opinion, where it is installed; it knows no call that is younger than itself."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp2 is not installed")
    for name, numbers in seccomp.NUMBERS.items():
        for column, audit in AUDIT.items():
            known = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(audit), name.encode())
            if known >= 0:
                assert numbers[column] == known, (name, MACHINES[column])
            elif known < -1 and (name, column) != ("socket", 1):  # a pseudo number, for it is socketcall(2)'s too
                assert numbers[column] == -1, (name, MACHINES[column])


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_program_fits_into_the_kernel(machine: str) -> None:
    found = seccomp.program(machine, ())
    assert found is not None
    assert len(found) % 8 == 0
    assert len(found) // 8 <= seccomp.MOST
    assert all(yes <= 255 and no <= 255 for _, yes, no, _ in struct.iter_unpack("=HBBI", found))


def test_a_machine_without_a_profile_is_told_and_refused_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seccomp.program("vax", ()) is None
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", "7", "1", "vax")))
    assert profile.prepare(Process(("sh",))) is None
    assert "rootfall: no seccomp profile for vax" in capsys.readouterr().err
    with pytest.raises(
        ContainerError, match="cannot use the default seccomp profile on vax; seen: no such profile; known: x86_64"
    ):
        profile.prepare(Process(("sh",), seccomp="default"))
    assert profile.prepare(Process(("sh",), seccomp="unconfined")) is None


@pytest.mark.parametrize("size", [0, 7, 8 * 4097])
def test_a_program_of_no_whole_instructions_is_refused(size: int) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.write(write, bytes(min(size, 65536)))
    os.close(write)
    with pytest.raises(ContainerError, match=rf"descriptor {read}; seen: {size} bytes; a program is 1 to 4096"):
        profile.prepare(Process(("sh",), seccomp=f"fd:{read}"))
    with pytest.raises(ContainerError, match="cannot read the seccomp program from file descriptor 999"):
        profile.prepare(Process(("sh",), seccomp="fd:999"))
