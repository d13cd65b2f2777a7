# SPDX-License-Identifier: MIT
"""Replaces `ctypes.util` in the frozen program, before anybody imports it.

`ctypes.util.find_library` runs ldconfig or gcc, and neither is in an initramfs; pyudev calls it. What the image holds is
known: a dict answers. That also keeps tempfile, shutil, random and subprocess, which it imports, out of PID 1.
"""

import sys

SONAMES = {"udev": "libudev.so.1", "blkid": "libblkid.so.1", "c": "libc.so.6", "libc": "libc.so.6"}


def install() -> None:
    """Put the stand-in where `import ctypes.util` finds it."""
    module = type(sys)("ctypes.util")
    module.find_library = SONAMES.get  # type: ignore[attr-defined]
    sys.modules["ctypes.util"] = module
