# SPDX-License-Identifier: MIT
"""The package `encodings` of the frozen program: the interpreter imports it under that name before everything else.

Python's own is three modules and thirty classes for what is UTF-8, nearly always. The codecs named here come from C; any other
name is a module of the package that lies in the archive (encodings.utf_16, for yaml). Refuses what Python's own would find
under another spelling: names arrive in lower case, with underscores (codecs.register).
"""

import _codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__path__: list[str] = []  # a package: what is in it, the archive knows


class _Incremental:
    """Encodes and decodes piece by piece (codecs.IncrementalEncoder, codecs.IncrementalDecoder)."""

    def __init__(self, convert: "Callable[..., Any]", errors: str, *, decodes: bool) -> None:
        self._convert, self.errors, self._decodes = convert, errors, decodes
        self._rest = b""

    def encode(self, text: str, final: bool = False) -> bytes:
        """These codecs keep nothing of a text for the next."""
        encoded: bytes = self._convert(text, self.errors)[0]
        return encoded

    def decode(self, data: bytes, final: bool = False) -> str:
        """The text; the beginning of a character waits for the rest of it."""
        data = self._rest + data
        text, used = self._convert(data, self.errors, final)
        self._rest = data[used:]
        return str(text)

    def reset(self) -> None:
        """Forget what waits."""
        self._rest = b""

    def getstate(self) -> "Any":
        """What waits, as io.TextIOWrapper wants it: a pair of a decoder, a number of an encoder."""
        return (self._rest, 0) if self._decodes else 0

    def setstate(self, state: "Any") -> None:
        """What `getstate` gave."""
        self._rest = state[0] if self._decodes else b""


class _Codec(tuple[object, ...]):
    """What codecs.lookup returns: codecs.CodecInfo without stream readers and writers."""

    _is_text_encoding = True
    streamreader = streamwriter = None
    name: str
    encode: "Callable[..., Any]"
    decode: "Callable[..., Any]"
    piecewise: "Callable[..., Any]"

    def incrementalencoder(self, errors: str = "strict") -> _Incremental:
        """One that encodes a stream."""
        return _Incremental(self.encode, errors, decodes=False)

    def incrementaldecoder(self, errors: str = "strict") -> _Incremental:
        """One that decodes a stream."""
        return _Incremental(self.piecewise, errors, decodes=True)


def _codec(
    name: str, encode: "Callable[..., Any]", decode: "Callable[..., Any]", piecewise: "Callable[..., Any]"
) -> _Codec:
    codec = _Codec((encode, decode, None, None))
    codec.name, codec.encode, codec.decode, codec.piecewise = name, encode, decode, piecewise
    return codec


def _bytewise(name: str, encode: "Callable[..., Any]", decode: "Callable[..., Any]") -> _Codec:
    """Where each byte is a character, no piece ends in the middle of one."""
    return _codec(name, encode, decode, lambda data, errors, _: decode(data, errors))


def _utf_8_decode(data: bytes, errors: str = "strict") -> tuple[str, int]:
    return _codecs.utf_8_decode(data, errors, True)


_UTF_8 = _codec("utf-8", _codecs.utf_8_encode, _utf_8_decode, _codecs.utf_8_decode)


def search(name: str) -> "Any":
    """The codec of this name, or None (codecs.register)."""
    if name in ("utf_8", "utf8"):
        return _UTF_8
    if name in ("ascii", "us_ascii"):
        return _bytewise("ascii", _codecs.ascii_encode, _codecs.ascii_decode)
    if name in ("latin_1", "iso8859_1", "iso_8859_1", "latin1"):
        return _bytewise("iso8859-1", _codecs.latin_1_encode, _codecs.latin_1_decode)
    try:
        module = __import__(f"encodings.{name}", fromlist=["getregentry"])
    except ImportError:
        return None
    return module.getregentry()


_codecs.register(search)
