# SPDX-License-Identifier: MIT
"""Archives are written as cpio(1) reads them, and those of others are read in every form the kernel takes."""

import shutil
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall.errors import BuildError
from rootfall_build import compress, cpio, rootfs
from rootfall_build.image import Directory, Entry, File, Node, Symlink

ENTRIES: tuple[Entry, ...] = (
    Directory("dev"),
    Node("dev/console", 0o600, 5, 1),
    Directory("tmp", 0o1777),
    File("tmp/größe", 0o640, b"12345"),
    Symlink("init", "tmp/größe"),
)
PLAIN = b"".join(cpio.archive(ENTRIES, 1234))
OTHER = b"".join(cpio.archive([File("kernel/x86/microcode/GenuineIntel.bin", 0o644, b"\0" * 1000)], 0))


def names(image: bytes) -> list[str]:
    return [member.path for member in cpio.read(image)]


def tool(*command: str, stdin: bytes, cwd: Path | None = None) -> bytes:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=stdin, capture_output=True, check=True, cwd=cwd).stdout


def test_cpio_lists_what_was_written() -> None:
    listing = tool("cpio", "-tvn", "--quiet", stdin=PLAIN).decode().splitlines()
    assert [line.split()[0] for line in listing] == [
        "drwxr-xr-x",
        "crw-------",
        "drwxrwxrwt",
        "-rw-r-----",
        "lrwxrwxrwx",
    ]
    assert "5,   1" in listing[1]
    assert listing[1].split()[2:4] == ["0", "0"] or "root" in listing[1]


def test_what_was_written_is_read_back_the_same() -> None:
    members = list(cpio.read(PLAIN))
    assert [member.path for member in members] == [entry.path for entry in ENTRIES]
    assert {member.mtime for member in members} == {1234}
    assert len({member.ino for member in members}) == len(ENTRIES)
    assert members[1].rdev == (5, 1)
    assert bytes(members[3].data) == b"12345"
    assert stat.S_ISLNK(members[4].mode)


@pytest.mark.parametrize("form", ["newc", "crc"])
def test_archives_of_gnu_cpio_are_read_with_their_hard_links(form: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"the same")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"other")
    image = tool("cpio", "-o", "-H", form, "--quiet", stdin=b"./a\n./b\n./c\n", cwd=tmp_path)
    tree = rootfs.unpack(cpio.read(image))
    assert {path: bytes(member.data) for path, member in tree.items()} == {
        "a": b"the same",
        "b": b"the same",
        "c": b"other",
    }


@pytest.mark.parametrize("method", [method.name for method in compress.METHODS if method.pack])
@pytest.mark.parametrize("padding", [0, 4, 509])
def test_microcode_comes_before_and_padding_around_the_compressed_archive(method: str, padding: int) -> None:
    zeros = bytes(padding)
    image = OTHER + zeros + compress.pack(PLAIN, method) + zeros + OTHER + zeros
    members = list(cpio.read(image))
    assert [member.segment for member in members] == [0] * 1 + [1] * len(ENTRIES) + [2]
    assert members[1].path == "dev"


@pytest.mark.parametrize(
    "command",
    [
        ("zstd", "-19", "-q"),
        ("lz4", "-l", "-q"),
        ("gzip", "-n"),
        ("xz", "--check=crc32"),
        ("xz", "--format=lzma"),
        ("bzip2",),
    ],
)
def test_what_the_compressors_of_other_builders_write_is_read(command: tuple[str, ...]) -> None:
    assert names(tool(*command, "-c", stdin=PLAIN)) == names(PLAIN)


def test_one_archive_may_be_spread_over_several_frames() -> None:
    half = len(PLAIN) // 2
    assert names(compress.pack(PLAIN[:half], "zstd") + compress.pack(PLAIN[half:], "zstd")) == names(PLAIN)


def test_names_padded_with_zeros_end_at_the_first() -> None:
    """dracut-cpio aligns data by lengthening the name."""
    name = b"abc" + bytes(15)
    header = b"070701" + b"".join(b"%08X" % n for n in (1, 0o100644, 0, 0, 1, 0, 2, 0, 0, 0, 0, len(name), 0))
    member = header + name + b"hi" + bytes(2)
    assert names(member + PLAIN[-124:]) == ["abc"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "no archive in it"),
        (bytes(512), "no archive in it"),
        (b"hello, world", "no compression that is known at offset 0: 68 65 6c 6c"),
        (PLAIN[:-124], f"no trailer.*|breaks off at offset {len(PLAIN) - 124}"),
        (PLAIN[:50], "breaks off .*at offset 0"),
        (PLAIN[:300], "at offset 240.*cut off|breaks off .*at offset"),
        (PLAIN[:20] + b"zz" + PLAIN[22:], "not hexadecimal at offset 0"),
        (OTHER + b"\x04\x22\x4d\x18xxxx", f"at offset {len(OTHER)}: an lz4 frame"),
        (OTHER + b"junk", f"at offset {len(OTHER)}: 6a 75 6e 6b"),
        (compress.pack(PLAIN, "gzip")[:-9], "gzip data at offset 0 cannot be unpacked: the data ends too early"),
        (compress.pack(PLAIN[:-124], "xz"), "of what the xz data at offset 0 unpacks to"),
    ],
)
def test_a_damaged_image_is_one_error_with_the_offset(image: bytes, said: str) -> None:
    with pytest.raises(BuildError, match=said):
        list(cpio.read(image, "x.img"))


@given(st.binary(max_size=300), st.integers(0, len(PLAIN)))
def test_no_bytes_make_the_reader_fail_in_another_way(junk: bytes, at: int) -> None:
    for image in (
        PLAIN[:at] + junk,
        PLAIN[:at] + junk + PLAIN[at + len(junk) :],
        compress.pack(PLAIN, "lz4")[:at] + junk,
    ):
        with suppress(BuildError):
            list(cpio.read(image))


def test_a_path_is_looked_up_through_links_and_never_leaves_the_image() -> None:
    entries: list[Entry] = [
        Symlink("lib", "usr/lib"),
        Directory("usr"),
        Directory("usr/lib"),
        File("usr/lib/x", 0o644, b"x"),
        Symlink("usr/up", "../../../lib/x"),
        Symlink("abs", "/lib/x"),
        Symlink("loop", "loop"),
    ]
    tree = rootfs.unpack(cpio.read(b"".join(cpio.archive(entries, 0))))
    for path in ("lib/x", "/usr/up", "./abs", "usr/lib/../lib/x"):
        assert bytes(rootfs.look_up(tree, path, "i").data) == b"x"
    with pytest.raises(BuildError, match="a loop of symbolic links"):
        rootfs.look_up(tree, "loop", "i")
    with pytest.raises(BuildError, match="no /usr/lib/y there"):
        rootfs.look_up(tree, "lib/y", "i")


def test_a_later_archive_replaces_what_an_earlier_one_had() -> None:
    first, second = (b"".join(cpio.archive([File("x", 0o644, data)], 0)) for data in (b"1", b"2"))
    assert bytes(rootfs.unpack(cpio.read(first + second))["x"].data) == b"2"
