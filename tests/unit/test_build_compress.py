# SPDX-License-Identifier: MIT
"""What is compressed is what the kernel's unpackers read, and the same every time."""

import lzma
import shutil
import struct
import subprocess

import pytest
import zstandard

from rootfall.errors import BuildError
from rootfall_build import compress

DATA = b"".join(struct.pack("<I", n * 7919) for n in range(100_000)) + bytes(9 << 20)
COMMANDS = {
    "zstd": ["zstd", "-dcq"],
    "lz4": ["lz4", "-dcq"],
    "xz": ["xz", "-dc"],
    "gzip": ["gzip", "-dc"],
    "none": ["cat"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tool_of_each_method_unpacks_it(name: str) -> None:
    if shutil.which(COMMANDS[name][0]) is None:
        pytest.skip(f"{name} is not installed")
    packed = compress.pack(DATA, name)
    assert subprocess.run(COMMANDS[name], input=packed, capture_output=True, check=True).stdout == DATA
    assert compress.pack(DATA, name) == packed


def test_lz4_is_the_legacy_format_in_blocks_of_8_mib() -> None:
    packed = compress.pack(DATA, "lz4")
    (size,) = struct.unpack_from("<I", packed, 4)
    assert packed.startswith(b"\x02\x21\x4c\x18")
    assert len(packed) > 8 + size  # a second block follows


def test_xz_has_the_check_that_every_kernel_can() -> None:
    stream = lzma.LZMADecompressor()
    stream.decompress(compress.pack(DATA, "xz"))
    assert stream.check == lzma.CHECK_CRC32


def test_gzip_has_no_time_and_no_name() -> None:
    assert compress.pack(DATA, "gzip")[:9] == b"\x1f\x8b\x08\x00\0\0\0\0\x02"


@pytest.mark.parametrize("level", [1, 3, 19, 22])
def test_the_window_of_zstd_is_one_that_the_kernel_takes(level: int) -> None:
    packed = compress.pack(b"x" * (1 << 20), "zstd", level)
    assert zstandard.get_frame_parameters(packed).window_size <= 1 << 27


def test_a_level_and_a_method_are_checked() -> None:
    assert compress.parse("zstd:19") == ("zstd", 19)
    assert compress.parse("none") == ("none", None)
    for text, said in (
        ("zstd:23", "1 to 22"),
        ("brotli", "zstd, lz4, xz, gzip, none"),
        ("xz:", "METHOD"),
        ("none:1", "none at all"),
    ):
        with pytest.raises(BuildError, match=said):
            compress.parse(text)
