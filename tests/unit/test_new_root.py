# SPDX-License-Identifier: MIT
"""The preflight of the new root's init: every way in which it cannot be executed, seen from outside."""

import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootfall import new_root
from rootfall.errors import SwitchRootError
from rootfall.new_root import Elf

X86, ARM64, OWN = 62, 183, Elf(62, "")


def elf(machine: int = X86, interpreter: str = "", wide: bool = True, order: str = "<") -> bytes:
    """An ELF header with one program header, PT_INTERP where there is an interpreter (elf(5))."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    name = interpreter.encode() + b"\0"
    kind = 3 if interpreter else 1
    if wide:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        return ident + head + struct.pack(f"{order}IIQQQQQQ", kind, 4, 120, 0, 0, len(name), len(name), 1) + name
    head = struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return ident + head + struct.pack(f"{order}IIIIIIII", kind, 84, 0, 0, len(name), len(name), 4, 1) + name


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples of hypothesis."""
    return tmp_path_factory.mktemp("scratch")


def program(root: Path, name: str, data: bytes, mode: int = 0o755) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("interpreter", ["", "/lib/ld.so.1"])
def test_an_elf_header_of_any_kind_is_read(tmp_path: Path, order: str, wide: bool, interpreter: str) -> None:
    program(tmp_path, "a", elf(21, interpreter, wide, order))
    assert new_root.read_elf(f"{tmp_path}/a") == Elf(21, interpreter)


def test_this_python_is_read_as_the_linker_wrote_it() -> None:
    found = new_root.read_elf(os.path.realpath(sys.executable))
    assert found is not None
    asked = subprocess.run(
        ["readelf", "-l", os.path.realpath(sys.executable)], capture_output=True, text=True, check=True
    )
    assert f"[Requesting program interpreter: {found.interpreter}]" in asked.stdout


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 3), st.binary(max_size=200))
def test_a_damaged_file_never_breaks_the_check(scratch: Path, head: bytes, kind: int, tail: bytes) -> None:
    data = {0: head, 1: b"#!" + head, 2: b"\x7fELF" + head + tail, 3: elf(interpreter="/x")[: len(tail)]}[kind]
    program(scratch, "init", data)
    assert isinstance(new_root.check(str(scratch), "/init", OWN), str)


@pytest.mark.parametrize(
    ("offset", "fields"),
    [
        (32, struct.pack("<Q", (1 << 64) - 1)),  # e_phoff
        (54, struct.pack("<HH", 0xFFFF, 0xFFFF)),  # e_phentsize, e_phnum
        (54, struct.pack("<HH", 0, 9)),
        (72, struct.pack("<Q", (1 << 64) - 1)),  # p_offset
        (96, struct.pack("<Q", (1 << 64) - 1)),  # p_filesz
    ],
)
def test_numbers_out_of_all_proportion_are_survived(tmp_path: Path, offset: int, fields: bytes) -> None:
    data = bytearray(elf(interpreter="/lib/ld.so"))
    data[offset : offset + len(fields)] = fields
    program(tmp_path, "init", bytes(data))
    assert isinstance(new_root.check(str(tmp_path), "/init", OWN), str)


def test_symbolic_links_are_followed_inside_the_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    program(root, "usr/lib/systemd/systemd", elf())
    (root / "sbin").symlink_to("usr/bin")
    (root / "usr/bin").mkdir()
    (root / "usr/bin/init").symlink_to("/lib/systemd/systemd")
    (root / "lib").symlink_to("../../../usr/./lib")
    assert new_root.resolve(str(root), "/sbin/init") == f"{root}/usr/lib/systemd/systemd"
    assert new_root.check(str(root), "/sbin/init", OWN) == ""
    (root / "out").symlink_to("/../../../../../../etc")
    with pytest.raises(FileNotFoundError):
        new_root.resolve(str(root), "/out/passwd")
    (root / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        new_root.resolve(str(root), "/loop")


NAMES = st.sampled_from(["a", "b", "c", ".."])


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(NAMES, min_size=1, max_size=5), max_size=3),
    st.booleans(),
    st.lists(NAMES, max_size=6),
)
def test_no_path_leads_out_of_the_root(
    scratch: Path, links: dict[str, list[str]], absolute: bool, path: list[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=scratch) as root:
        for name, target in links.items():
            Path(root, name).symlink_to(("/" if absolute else "") + "/".join(target))
        for name in set("abc") - set(links):
            Path(root, name).mkdir()
        try:
            found = new_root.resolve(root, "/".join(path))
        except OSError:
            return
        assert (found + "/").startswith(root + "/")
        assert os.path.realpath(found) == found


@pytest.mark.parametrize(
    ("data", "mode", "words"),
    [
        (elf(), 0o644, "is not executable (mode 0644)"),
        (elf(ARM64), 0o755, "is a program for aarch64, this machine is x86_64"),
        (elf(999), 0o755, "is a program for machine 999"),
        (elf(3), 0o755, ""),
        (elf(interpreter="/lib64/ld-linux-x86-64.so.2"), 0o755, "needs /lib64/ld-linux-x86-64.so.2, which is not in"),
        (elf(interpreter="/there"), 0o755, ""),
        (b"#!/there -x\n", 0o755, ""),
        (elf(interpreter="/foreign"), 0o755, "needs /foreign, a program for aarch64, this machine is x86_64"),
        (b"#!/foreign\n", 0o755, "needs /foreign, a program for aarch64, this machine is x86_64"),
        (elf(3, interpreter="/older"), 0o755, ""),
        (b"#!/pipe\n", 0o755, "needs /pipe, which is not a regular file"),
        (b"#! /bin/bash\n", 0o755, "needs /bin/bash, which is not in the root"),
        (b"#!\n", 0o755, "has an empty #! line"),
        (b"#!/th\0ere\n", 0o755, "needs /th, which is not in the root"),
        (b"", 0o755, "is neither an ELF program nor a #! script"),
        (b"echo\n", 0o755, "is neither an ELF program nor a #! script"),
        (b"\x7fELF", 0o755, "is neither an ELF program"),
    ],
)
def test_what_the_kernel_could_not_execute_is_named(tmp_path: Path, data: bytes, mode: int, words: str) -> None:
    program(tmp_path, "init", data, mode)
    for name, content in (("there", b""), ("foreign", elf(ARM64)), ("older", elf(3))):
        program(tmp_path, name, content)
    os.mkfifo(tmp_path / "pipe", 0o755)
    found = new_root.check(str(tmp_path), "/init", OWN)
    assert (words in found) if words else (found == "")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "fifo", 0o755)
    assert new_root.check(str(tmp_path), "/directory", OWN) == "/directory is not a regular file"
    assert new_root.check(str(tmp_path), "/fifo", OWN) == "/fifo is not a regular file"
    assert "a symbolic link to /nowhere" in new_root.check(str(tmp_path), "/dangling", OWN)
    assert new_root.check(str(tmp_path), "/absent", OWN) == "/absent: No such file or directory"


def test_a_root_that_is_mounted_noexec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "init", elf())
    status = os.statvfs(tmp_path)
    fields = (*status[:8], 8, status[9])
    monkeypatch.setattr(new_root.os, "statvfs", lambda path: os.statvfs_result(fields))  # type: ignore[attr-defined]
    assert "mounted noexec" in new_root.check(str(tmp_path), "/init", OWN)


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        (["sbin/init", "bin/sh"], "/sbin/init", "/sbin/init"),
        (["bin/sh"], "/sbin/init", "/bin/sh"),
        (["etc/init", "bin/init"], "/opt/init", "/etc/init"),
        (["opt/init", "sbin/init"], "/opt/init", "/opt/init"),
    ],
)
def test_the_wanted_init_comes_first_then_the_kernels_own_list(
    tmp_path: Path, there: list[str], wanted: str, chosen: str
) -> None:
    own = new_root.read_elf("/proc/self/exe")
    assert own is not None
    for name in there:
        program(tmp_path, name, elf(own.machine))
    init, passed_over = new_root.choose_init(str(tmp_path), wanted)
    assert init == chosen
    order = [wanted, *(each for each in new_root.FALLBACKS if each != wanted)]
    assert len(passed_over) == order.index(chosen)


def test_without_any_init_each_fault_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(SwitchRootError) as caught:
        new_root.choose_init(str(tmp_path), "/etc/init")
    assert caught.value.seen.count("; ") == 3
    assert "init=" in caught.value.hint
