# SPDX-License-Identifier: MIT
"""Replaces two modules in the frozen program, before anybody imports them.

`ctypes.util.find_library` runs ldconfig or gcc, and neither is in an initramfs; pyudev calls it. What the image holds is
known: a dict answers. That also keeps tempfile, shutil, random and subprocess, which it imports, out of PID 1.
`datetime`, which pyudev and yaml import, is 90 kB of Python of which the C module replaces every line.
"""

import _datetime  # type: ignore[import-not-found]
import sys

SONAMES = {"udev": "libudev.so.1", "blkid": "libblkid.so.1", "c": "libc.so.6", "libc": "libc.so.6"}


def install() -> None:
    """Put the stand-ins where the imports find them."""
    module = type(sys)("ctypes.util")
    module.find_library = SONAMES.get  # type: ignore[attr-defined]
    sys.modules["ctypes.util"] = module
    sys.modules["datetime"] = _datetime
