# SPDX-License-Identifier: MIT
"""Shared libraries are found as ld.so finds them, in ELF files that gcc makes here."""

import json
import subprocess
from pathlib import Path

import pytest

from rootfall.errors import BuildError
from rootfall_build import elf, libraries

NOTE = """
__asm__(".pushsection .note.dlopen,\\"a\\",@note\\n.align 4\\n.long 4\\n.long 2f-1f\\n.long 0x407c0c0a\\n"
        ".asciz \\"FDO\\"\\n1: .asciz \\"%s\\"\\n2: .align 4\\n.popsection\\n");
"""


def compile_(output: Path, *arguments: str, source: str = "") -> Path:
    output.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-nostdlib", "-o", str(output), "-x", "c", "-", "-x", "none", *arguments]
    subprocess.run(command, input=source.encode(), check=True)
    return output


def library(path: Path, *arguments: str, source: str = "") -> Path:
    return compile_(
        path, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", *arguments, source=source
    )


def program(path: Path, *arguments: str, source: str = "") -> Path:
    return compile_(
        path,
        "-pie",
        "-Wl,--no-as-needed",
        "-Wl,--allow-shlib-undefined",
        *arguments,
        source=source + "void _start(void){}",
    )


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A merged system root with a loader and libone, which needs libtwo."""
    root = tmp_path / "sysroot"
    home = root / "usr/lib/x86_64-linux-gnu"
    home.mkdir(parents=True)
    (root / "usr/lib64").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "lib64").symlink_to("/usr/lib64")
    library(home / "ld-linux-x86-64.so.2")
    (root / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    two = library(home / "libtwo.so.2.1")
    (home / "libtwo.so.2").symlink_to("libtwo.so.2.1")
    library(home / "libone.so.1", str(two))
    # What libone needs is the soname, which here is a link.
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", "-o", two, "-Wl,-soname,libtwo.so.2", "-x", "c", "/dev/null"], check=True
    )
    library(home / "libone.so.1", str(two), "-Wl,--no-as-needed")
    return root


def found(sysroot: Path, *programs: Path, **options: object) -> dict[str, libraries.Library]:
    return {item.path: item for item in libraries.closure(programs, sysroot, **options)}  # type: ignore[arg-type]


def test_libraries_of_libraries_come_with_their_links_and_the_loader(sysroot: Path) -> None:
    path = program(sysroot / "usr/bin/p", str(sysroot / "usr/lib/x86_64-linux-gnu/libone.so.1"))
    items = found(sysroot, path)
    base = "usr/lib/x86_64-linux-gnu"
    assert list(items) == [f"{base}/ld-linux-x86-64.so.2", f"{base}/libone.so.1", f"{base}/libtwo.so.2.1"]
    assert items[f"{base}/libtwo.so.2.1"].links == ((f"{base}/libtwo.so.2", "libtwo.so.2.1"),)
    loader = items[f"{base}/ld-linux-x86-64.so.2"]
    assert loader.links == (("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),)
    assert items[f"{base}/libone.so.1"].why == "needed by /usr/bin/p"


def test_a_missing_library_is_named_with_who_needs_it_and_where_it_was_sought(sysroot: Path) -> None:
    path = program(sysroot / "usr/bin/p", str(sysroot / "usr/lib/x86_64-linux-gnu/libone.so.1"))
    (sysroot / "usr/lib/x86_64-linux-gnu/libtwo.so.2").unlink()
    with pytest.raises(
        BuildError, match=r"libtwo\.so\.2; seen: needed by /lib/.*libone\.so\.1; looked in .*/usr/lib64"
    ):
        libraries.closure([path], sysroot)


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_runpath_and_rpath_with_origin_are_honoured(sysroot: Path, tags: str) -> None:
    private = library(sysroot / "opt/x/lib/libprivate.so")
    path = program(sysroot / "opt/x/bin/p", str(private), f"-Wl,{tags}", "-Wl,-rpath,$ORIGIN/../lib")
    assert "opt/x/lib/libprivate.so" in found(sysroot, path)


def test_rpath_holds_for_what_a_library_needs_and_runpath_does_not(sysroot: Path) -> None:
    deep = library(sysroot / "opt/x/lib/libdeep.so")
    middle = library(sysroot / "opt/x/lib/libmiddle.so", str(deep))
    for tags, works in (("--disable-new-dtags", True), ("--enable-new-dtags", False)):
        path = program(sysroot / "opt/x/bin/p", str(middle), f"-Wl,{tags}", "-Wl,-rpath,/opt/x/lib")
        if works:
            assert "opt/x/lib/libdeep.so" in found(sysroot, path)
        else:
            with pytest.raises(BuildError, match=r"libdeep\.so"):
                libraries.closure([path], sysroot)


def test_a_library_found_through_ld_so_conf_gets_a_link_where_the_loader_looks(sysroot: Path) -> None:
    far = library(sysroot / "opt/far/libfar.so.1")
    (sysroot / "etc/ld.so.conf.d").mkdir(parents=True)
    (sysroot / "etc/ld.so.conf").write_text("# x\ninclude ld.so.conf.d/*.conf\n")
    (sysroot / "etc/ld.so.conf.d/far.conf").write_text("/opt/far\n")
    item = found(sysroot, program(sysroot / "usr/bin/p", str(far)))["opt/far/libfar.so.1"]
    assert item.links == (("usr/lib/x86_64-linux-gnu/libfar.so.1", "../../../opt/far/libfar.so.1"),)


def test_what_the_bundle_carries_is_not_listed_and_comes_first(sysroot: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "onedir"
    carried = library(bundle / "_internal/libone.so.1")
    path = program(bundle / "rootfall", str(carried))
    items = found(sysroot, path, bundle=bundle, carried=(bundle / "_internal",))
    assert list(items) == ["usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]


def test_a_library_for_another_machine_is_passed_over_and_said_so(sysroot: Path) -> None:
    path = program(sysroot / "usr/bin/p", str(sysroot / "usr/lib/x86_64-linux-gnu/libone.so.1"))
    target = sysroot / "usr/lib/x86_64-linux-gnu/libtwo.so.2.1"
    data = bytearray(target.read_bytes())
    data[18:20] = (183).to_bytes(2, "little")  # e_machine: EM_AARCH64
    target.write_bytes(data)
    with pytest.raises(BuildError, match=r"another machine than EM_X86_64: /lib/x86_64-linux-gnu/libtwo\.so\.2"):
        libraries.closure([path], sysroot)


@pytest.mark.parametrize(("priority", "there"), [("required", True), ("recommended", True), ("suggested", False)])
def test_what_a_program_notes_to_load_later_comes_by_priority(sysroot: Path, priority: str, there: bool) -> None:
    note = rf"[{{\\\"soname\\\":[\\\"libnone.so\\\",\\\"libone.so.1\\\"],\\\"priority\\\":\\\"{priority}\\\"}}]"
    path = program(sysroot / "usr/bin/p", source=NOTE % note)
    assert elf.read(path).dlopen == (elf.Dlopen(("libnone.so", "libone.so.1"), priority, ""),)
    assert ("usr/lib/x86_64-linux-gnu/libone.so.1" in found(sysroot, path)) == there
    assert "usr/lib/x86_64-linux-gnu/libone.so.1" in found(sysroot, path, priorities=("suggested", priority))


def test_only_a_required_note_makes_a_missing_library_an_error(sysroot: Path) -> None:
    for priority in ("recommended", "required"):
        keys = {"soname": ["libnone.so"], "feature": "tpm", "priority": priority}
        note = json.dumps([keys]).replace('"', r"\\\"")
        path = program(sysroot / "usr/bin/p", source=NOTE % note)
        if priority == "recommended":
            assert list(found(sysroot, path)) == ["usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]
        else:
            with pytest.raises(BuildError, match=r"libnone\.so; seen: required by /usr/bin/p for tpm \(dlopen\)"):
                libraries.closure([path], sysroot)


def test_a_file_that_is_no_proper_elf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\x7fELF and then nothing")
    with pytest.raises(BuildError, match="read the ELF file"):
        libraries.closure([tmp_path / "p"])


def test_the_real_python_of_this_machine_is_closed_over_as_ldd_says() -> None:
    path = Path("/usr/bin/python3").resolve()
    said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    names = {Path(word).resolve() for line in said.splitlines() for word in line.split() if word.startswith("/")}
    assert {item.source.resolve() for item in libraries.closure([path])} == names
