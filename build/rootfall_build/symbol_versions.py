# SPDX-License-Identifier: MIT
"""Whether one library can stand in for another: it must define the symbol versions that its users ask of it (elf(5)).

Versions alone are compared, as ld.so(8) does before it starts a program; the symbols of a version never change.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection


def lacking(library: Path, users: Iterable[Path]) -> list[str]:
    """The versions that `users` ask of a library of that name and that `library` does not define."""
    with library.open("rb") as file:
        defined = set(_defined(ELFFile(file)))
    wanted = set()
    for user in users:
        with user.open("rb") as file:
            wanted |= set(_wanted(ELFFile(file), library.name))
    return sorted(wanted - defined)


def _defined(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections():
        if isinstance(section, GNUVerDefSection):
            for _, names in section.iter_versions():
                yield next(iter(names)).name


def _wanted(elf: ELFFile, soname: str) -> Iterator[str]:
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for library, versions in section.iter_versions():
                if library.name == soname:
                    yield from (each.name for each in versions)
