# SPDX-License-Identifier: MIT
"""Whether a typed password fits a hash of crypt(5), by crypt(3) of libcrypt: what /etc/shadow holds, admins can make.

The builder puts the library into the image when the configuration has a password.
"""

import ctypes
from _operator import _compare_digest


def fits(typed: bytes, hashed: str) -> bool:
    """Whether `typed` is the password of `hashed`. Raises OSError when the library is not there."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(typed.partition(b"\0")[0], hashed.encode())
    return made is not None and bool(_compare_digest(made, hashed.encode()))
