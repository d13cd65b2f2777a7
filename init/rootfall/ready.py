# SPDX-License-Identifier: MIT
"""Ready forms: what a text means, kept beside the text as a .pyc is beside a .py, so that a boot need not parse.

The text stays the truth. A ready form holds the very text that it was made from, and is used only if that, and the rootfall
that made it, are the same: byte equality needs no hash, and no clock. Pure.
"""

import marshal
import zlib

import rootfall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAGIC = b"rootfall ready 1\n"
_MARSHAL_VERSION = 4


def pack(text: bytes, meaning: object) -> bytes:
    """The ready form of `text`; `meaning` is made of what marshal knows (tuples that are records lose their names)."""
    whole: Any = (rootfall.__version__, text, _plain(meaning))
    payload = marshal.dumps(whole, _MARSHAL_VERSION)
    return _MAGIC + zlib.crc32(payload).to_bytes(4, "little") + payload


def unpack(blob: bytes, text: bytes) -> "Any":
    """The meaning in a ready form, if it is whole, of this rootfall, and made from exactly `text`; else None."""
    payload = memoryview(blob)[len(_MAGIC) + 4 :]
    # marshal must not see damaged bytes: it would believe any length that they give.
    if not blob.startswith(_MAGIC + zlib.crc32(payload).to_bytes(4, "little")):
        return None
    try:
        version, source, meaning = marshal.loads(payload)  # noqa: S302  # as trusted as the image that it lies in
    except (ValueError, EOFError, TypeError):
        return None
    return meaning if (version, source) == (rootfall.__version__, text) else None


def _plain(value: object) -> object:
    """Records as bare tuples: marshal knows no classes."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
