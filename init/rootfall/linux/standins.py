# SPDX-License-Identifier: MIT
"""Replaces modules in the frozen program: two for good, before anybody imports them, others while one is imported.

`ctypes.util.find_library` runs ldconfig or gcc, and neither is in an initramfs; pyudev calls it. What the image holds is
known: a dict answers. That also keeps tempfile, shutil, random and subprocess, which it imports, out of PID 1.
`datetime`, which pyudev and yaml import, is 90 kB of Python of which the C module replaces every line. `os` is imported here,
with a small `_collections_abc` (frozen_abc); who imports that one later gets the real one.
"""

import _datetime  # type: ignore[import-not-found]
import sys

from rootfall import frozen_abc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# Beside the program, wherever it lies, or, when it is not frozen, wherever the loader finds them.
_HERE = f"{sys._MEIPASS}/" if hasattr(sys, "_MEIPASS") else ""
SONAMES = {"udev": f"{_HERE}libudev.so.1", "blkid": f"{_HERE}libblkid.so.1", "c": "libc.so.6", "libc": "libc.so.6"}


def install() -> None:
    """Put the stand-ins where the imports find them."""
    sys.modules["ctypes.util"] = module("ctypes.util", {"find_library": SONAMES.get})
    sys.modules["datetime"] = _datetime
    import_with("os", {"_collections_abc": frozen_abc})


def module(name: str, content: "dict[str, object]") -> "ModuleType":
    """A module that holds these names and nothing else."""
    made = type(sys)(name)
    vars(made).update(content)
    return made


def import_with(name: str, small: "dict[str, ModuleType]") -> "ModuleType":
    """Import a module, unless it is there, with these in the place of others, unless those are there; return it."""
    if name not in sys.modules:
        absent = [each for each in small if each not in sys.modules]
        sys.modules.update({each: small[each] for each in absent})
        try:
            __import__(name)
        finally:
            for each in absent:
                del sys.modules[each]
    return sys.modules[name]
