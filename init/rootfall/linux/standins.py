# SPDX-License-Identifier: MIT
"""Replaces two modules in the frozen program, before anybody imports them.

`ctypes.util.find_library` runs ldconfig or gcc, and neither is in an initramfs; pyudev calls it. What the image holds is
known: a dict answers. That also keeps tempfile, shutil, random and subprocess, which it imports, out of PID 1.
`datetime`, which pyudev and yaml import, is 90 kB of Python of which the C module replaces every line. `os` is imported here,
with a small `_collections_abc` (frozen_abc); who imports that one later gets the real one.
"""

import _datetime  # type: ignore[import-not-found]
import sys

from rootfall import frozen_abc

# Beside the program, wherever it lies, or, when it is not frozen, wherever the loader finds them.
_HERE = f"{sys._MEIPASS}/" if hasattr(sys, "_MEIPASS") else ""
SONAMES = {"udev": f"{_HERE}libudev.so.1", "blkid": f"{_HERE}libblkid.so.1", "c": "libc.so.6", "libc": "libc.so.6"}


def install() -> None:
    """Put the stand-ins where the imports find them."""
    module = type(sys)("ctypes.util")
    module.find_library = SONAMES.get  # type: ignore[attr-defined]
    sys.modules["ctypes.util"] = module
    sys.modules["datetime"] = _datetime
    sys.modules["_collections_abc"] = frozen_abc
    import os  # noqa: F401

    del sys.modules["_collections_abc"]
