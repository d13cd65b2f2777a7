# SPDX-License-Identifier: MIT
"""The compressions of an initramfs, as the kernel's unpackers read them (lib/decompress_*.c), in one table.

The same bytes give the same output on every machine: one thread, no time, no name. It refuses what the kernel would
refuse at boot: the modern lz4 frame (the kernel knows only the legacy one), xz with another check than CRC32 (the
kernel may not have CRC64, which is xz's default), a zstd window above 2^27. bzip2 and lzma are read and not written.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from rootfall.errors import BuildError

LZ4_LEGACY_MAGIC = b"\x02\x21\x4c\x18"
LZ4_BLOCK = 8 << 20  # lib/decompress_unlz4.c, LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE
ZSTD_WINDOWLOG_MAX = 27  # lib/decompress_unzstd.c, ZSTD_WINDOWSIZE_MAX


class CorruptError(ValueError):
    """Compressed data that cannot be unpacked; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One compression: `pack` (data, level) is None where it is only read; `unpack` gives (data, bytes it took)."""

    name: str
    magics: tuple[bytes, ...]
    unpack: Callable[[bytes], tuple[bytes, int]]
    pack: Callable[[bytes, int], bytes] | None = None
    levels: range = range(0)
    default: int = 0


def _pack_zstd(data: bytes, level: int) -> bytes:
    import zstandard

    # from_level knows no bound; the kernel's unpacker does.
    window = min(zstandard.ZstdCompressionParameters.from_level(level).window_log, ZSTD_WINDOWLOG_MAX)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=window, write_content_size=True, write_checksum=False, threads=0
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _unpack_zstd(data: bytes) -> tuple[bytes, int]:
    import zstandard

    stream = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
    try:
        unpacked = stream.decompress(data)
    except zstandard.ZstdError as error:
        raise CorruptError(str(error)) from None
    if not stream.eof:
        raise CorruptError("the data ends too early")
    return unpacked, len(data) - len(stream.unused_data)


def _pack_lz4(data: bytes, level: int) -> bytes:
    import lz4.block

    mode = {"mode": "fast"} if level < 3 else {"mode": "high_compression", "compression": level}
    packed = [LZ4_LEGACY_MAGIC]
    for start in range(0, len(data), LZ4_BLOCK):
        block: bytes = lz4.block.compress(data[start : start + LZ4_BLOCK], store_size=False, **mode)
        packed += [struct.pack("<I", len(block)), block]
    return b"".join(packed)


def _unpack_lz4(data: bytes) -> tuple[bytes, int]:
    import lz4.block

    unpacked, position = [], 4
    while position + 4 <= len(data):
        (size,) = struct.unpack_from("<I", data, position)
        if size == 0 or size > LZ4_BLOCK + LZ4_BLOCK // 255 + 16:  # padding, or the magic of what comes next
            break
        block = data[position + 4 : position + 4 + size]
        if len(block) < size:
            raise CorruptError(f"the data ends too early, in a block of {size} bytes")
        try:
            unpacked.append(lz4.block.decompress(block, uncompressed_size=LZ4_BLOCK))
        except lz4.block.LZ4BlockError as error:
            raise CorruptError(str(error)) from None
        position += 4 + size
    return b"".join(unpacked), position


def _pack_xz(data: bytes, level: int) -> bytes:
    # Presets 8 and 9 would ask the booting machine for 32 and 64 MiB; 32 is the most that is sensible there.
    dictionary = min(32 << 20, max(1 << 20, 1 << (len(data) - 1).bit_length() if data else 0))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": dictionary}]
    return lzma.compress(data, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


def _pack_gzip(data: bytes, level: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # zlib's own gzip header: mtime 0, no name
    return stream.compress(data) + stream.flush()


def _unpack_gzip(data: bytes) -> tuple[bytes, int]:
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        unpacked = stream.decompress(data) + stream.flush()
    except zlib.error as error:
        raise CorruptError(str(error)) from None
    if not stream.eof:
        raise CorruptError("the data ends too early")
    return unpacked, len(data) - len(stream.unused_data)


def _unpack_lzma(data: bytes) -> tuple[bytes, int]:
    return _drain(lzma.LZMADecompressor(format=lzma.FORMAT_AUTO), data)


def _unpack_bzip2(data: bytes) -> tuple[bytes, int]:
    return _drain(bz2.BZ2Decompressor(), data)


def _drain(stream: lzma.LZMADecompressor | bz2.BZ2Decompressor, data: bytes) -> tuple[bytes, int]:
    try:
        unpacked = stream.decompress(data)
    except (lzma.LZMAError, OSError, ValueError) as error:
        raise CorruptError(str(error)) from None
    if not stream.eof:
        raise CorruptError("the data ends too early")
    return unpacked, len(data) - len(stream.unused_data)


def _whole(data: bytes) -> tuple[bytes, int]:
    return data, len(data)


def _as_it_is(data: bytes, _level: int) -> bytes:
    return data


METHODS = (
    Method("zstd", (b"\x28\xb5\x2f\xfd",), _unpack_zstd, _pack_zstd, range(1, 23), 3),
    Method("lz4", (LZ4_LEGACY_MAGIC,), _unpack_lz4, _pack_lz4, range(1, 13), 9),
    Method("xz", (b"\xfd7zXZ\x00",), _unpack_lzma, _pack_xz, range(10), 6),
    Method("gzip", (b"\x1f\x8b",), _unpack_gzip, _pack_gzip, range(1, 10), 9),
    Method("none", (b"070701", b"070702"), _whole, _as_it_is),
    Method("bzip2", (b"BZh",), _unpack_bzip2),
    Method("lzma", (b"\x5d\x00\x00",), _unpack_lzma),
)


def method(name: str, level: int | None) -> tuple[Method, int]:
    """The method that writes `name`, and the level to use (None: its default); BuildError when there is no such one."""
    writable = [candidate for candidate in METHODS if candidate.pack is not None]
    found = next((candidate for candidate in writable if candidate.name == name), None)
    if found is None:
        allowed = ", ".join(candidate.name for candidate in writable)
        raise BuildError("compress with", repr(name), hint=f"the methods are {allowed}")
    if level is None:
        return found, found.default
    if level not in found.levels:
        span = f"{found.levels[0]} to {found.levels[-1]}" if found.levels else "none at all"
        raise BuildError("compress with", f"{name}:{level}", hint=f"the levels of {name} are {span}")
    return found, level


def parse(text: str) -> tuple[str, int | None]:
    """METHOD[:LEVEL] as the command line has it, checked."""
    name, colon, digits = text.partition(":")
    if colon and not (digits.isascii() and digits.isdigit()):
        raise BuildError("compress with", repr(text), hint="write METHOD or METHOD:LEVEL, for example zstd:19")
    level = int(digits) if colon else None
    method(name, level)
    return name, level


def pack(data: bytes, name: str, level: int | None = None) -> bytes:
    """`data` compressed as the kernel reads it; the same on every machine that has the same library."""
    found, level = method(name, level)
    assert found.pack is not None
    return found.pack(data, level)


def recognise(head: bytes) -> Method | None:
    """The method whose magic `head` begins with."""
    return next((candidate for candidate in METHODS if head.startswith(candidate.magics)), None)
