# SPDX-License-Identifier: MIT
"""The importer of the frozen program, in the place of PyInstaller's: it runs before everything else, as a script.

PyInstaller's own serves programs of any kind: it asks for each module at four kinds of places and reads archives by io, struct
and os. Here all modules are in one archive (PyInstaller's PYZ: modules' code, then a table), which our bootloader has in memory
and PyInstaller's names as FILE?OFFSET. Extension modules are files, for Python's own finder. Uses built-in modules only.
"""

import _frozen_importlib
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_PACKAGE = 1  # the first of an entry's three: what it is, where it is from the archive's beginning, how long


class File:
    """An archive in a file. Holds no descriptor: PID 1 may have none of 0 to 2, and its files disappear under it."""

    def __init__(self, place: str) -> None:
        """`place` is FILE?OFFSET."""
        self._path, _, start = place.rpartition("?")
        self._start = int(start)

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of the archive from part.start to part.stop, or to its end. Raises OSError."""
        fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            stop = posix.fstat(fd).st_size - self._start if part.stop is None else part.stop
            return posix.pread(fd, stop - part.start, self._start + part.start)
        finally:
            posix.close(fd)


class Finder:
    """The modules of one archive."""

    def __init__(self, archive: "File | memoryview") -> None:
        """Read the archive's table: its offset stands after "PYZ\\0" and Python's magic number."""
        self._archive = archive
        table = archive[int.from_bytes(archive[8:12], "big") :]
        self._entries: dict[str, tuple[int, int, int]] = dict(marshal.loads(table))  # noqa: S302 - our own table

    def find_spec(self, name: str, path: object = None, target: object = None) -> "Any":
        """For the import system: the module's specification, None for a module that is not here."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        return _frozen_importlib.ModuleSpec(name, self, is_package=entry[0] == _PACKAGE)  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        """For the import system: a module like any other."""

    def exec_module(self, module: "ModuleType") -> None:
        """For the import system: read the module's code and run it. Raises ImportError when the archive is gone."""
        _, offset, length = self._entries[module.__name__]
        try:
            code = self._archive[offset : offset + length]
        except OSError as error:
            raise ImportError(
                f"{module.__name__} cannot be imported any more: {error}", name=module.__name__
            ) from error
        exec(marshal.loads(code), module.__dict__)  # noqa: S102, S302 - our own code


def install() -> None:
    """Ask the archive before Python's finder of files, and after the interpreter's own modules."""
    archive = sys._rootfall_archive if hasattr(sys, "_rootfall_archive") else File(sys._pyinstaller_pyz)  # type: ignore[attr-defined]
    sys.meta_path.insert(2, Finder(archive))
    sys.frozen = True  # type: ignore[attr-defined]


if __name__ == "__main__":
    install()
