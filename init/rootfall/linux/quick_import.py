# SPDX-License-Identifier: MIT
"""A finder for the modules in the frozen program's own archive, without PyInstaller's questions about where they might be else.

To look at paths and to open the archive anew is a good part of what an import costs; for the forty modules of a container
it is one millisecond of fifteen. Not for a boot: it would hold the archive open, and the initramfs could not be freed. Refuses
what it does not know: then PyInstaller's own finder is asked.
"""

import marshal
import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_PACKAGE = 1  # the type of an entry: (type, offset, length), by the name of the module


class Finder:
    """One archive, open."""

    def __init__(self, path: str, offset: int, entries: "dict[str, tuple[int, int, int]]") -> None:
        """Open it; close-on-exec."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset, self._entries = offset, entries
        self._spec = type(sys.__spec__)

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Any":
        """For the import system: the module's specification, None for a module that is not here."""
        entry = self._entries.get(name)
        return None if entry is None else self._spec(name, self, is_package=entry[0] == _PACKAGE)  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        """For the import system: a module like any other."""

    def exec_module(self, module: "ModuleType") -> None:
        """For the import system: read the module's code and run it."""
        _, offset, length = self._entries[module.__name__]
        data = zlib.decompress(os.pread(self._fd, length, self._offset + offset))
        exec(marshal.loads(data), module.__dict__)  # noqa: S102, S302 - our own code


def install() -> None:
    """Ask this finder first; does nothing where PyInstaller keeps its archive in another way."""
    archive = getattr(sys.modules.get("pyimod02_importers"), "pyz_archive", None)
    try:
        sys.meta_path.insert(0, Finder(archive._filename, archive._start_offset, archive.toc))  # type: ignore[union-attr]
    except (AttributeError, OSError):
        pass
