# SPDX-License-Identifier: MIT
"""Whether one library can stand in for another: it must define the symbol versions that its users ask of it (elf(5)).

Versions alone are compared, as ld.so(8) does before it starts a program; the symbols of a version never change.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection


def lacking(library: Path, users: Iterable[Path]) -> list[str]:
    """The versions that `users` ask of a library of that soname and that `library` does not define."""
    with library.open("rb") as file:
        elf = ELFFile(file)
        defined, soname = set(_defined(elf)), _soname(elf) or library.name
    wanted = set()
    for user in users:
        with user.open("rb") as file:
            wanted |= set(_wanted(ELFFile(file), soname))
    return sorted(wanted - defined)


def _soname(elf: ELFFile) -> str:
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            tags: Iterator[Any] = segment.iter_tags("DT_SONAME")
            return next((str(tag.soname) for tag in tags), "")
    return ""


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
