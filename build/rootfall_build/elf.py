# SPDX-License-Identifier: MIT
"""What the dynamic loader would read in one ELF file (elf(5)): needs, search paths, interpreter, `.note.dlopen`.

The note is that of uapi-group's elf_dlopen_metadata: what a program loads later, by itself. Nothing is run and nothing
is searched for here; a file that is no proper ELF file, or has a note that is not as specified, is refused.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection
from elftools.elf.segments import InterpSegment

from rootfall.errors import BuildError

ELF_MAGIC = b"\x7fELF"
FDO_DLOPEN = 0x407C0C0A


@dataclass(frozen=True, slots=True)
class Dlopen:
    """One entry of `.note.dlopen`: any one of `sonames` will do."""

    sonames: tuple[str, ...]
    priority: str
    feature: str


@dataclass(frozen=True, slots=True)
class Object:
    """What the dynamic loader would read in one ELF file."""

    path: Path
    machine: tuple[str, int]
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str = ""
    dlopen: tuple[Dlopen, ...] = ()


def is_elf(path: Path) -> bool:
    """Whether the file begins as an ELF file does."""
    with path.open("rb") as file:
        return file.read(4) == ELF_MAGIC


def read(path: Path) -> Object:
    """The dynamic section, interpreter and dlopen notes of the ELF file at `path`."""
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            interpreter = ""
            lists: dict[str, list[str]] = {"DT_NEEDED": [], "DT_RPATH": [], "DT_RUNPATH": []}
            for segment in elf.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                elif isinstance(segment, DynamicSegment):
                    for tag in segment.iter_tags():
                        if tag.entry.d_tag in lists:
                            lists[tag.entry.d_tag].append(_text(tag))
            machine = (str(elf.header.e_machine), int(elf.elfclass))
            needed, *paths = (tuple(found) for found in lists.values())
            rpath, runpath = (tuple(":".join(path).split(":")) if path else () for path in paths)
            return Object(path, machine, needed, rpath, runpath, interpreter, tuple(_notes(elf, path)))
    except (ELFError, UnicodeDecodeError) as error:
        raise BuildError("read the ELF file", str(path), seen=str(error) or type(error).__name__) from None


def _text(tag: Any) -> str:
    # pyelftools names the string after the tag: .needed, .rpath, .runpath.
    return str(getattr(tag, tag.entry.d_tag[3:].lower()))


def _notes(elf: ELFFile, path: Path) -> Iterator[Dlopen]:
    section = elf.get_section_by_name(".note.dlopen")
    for note in section.iter_notes() if isinstance(section, NoteSection) else ():
        kind: object = note["n_type"]
        if note["n_name"] != "FDO" or kind != FDO_DLOPEN:
            continue
        try:
            for item in json.loads(note["n_descdata"].rstrip(b"\0")):
                yield Dlopen(tuple(item["soname"]), item.get("priority", "recommended"), item.get("feature", ""))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BuildError(
                "read .note.dlopen of", str(path), seen=f"not the JSON of the specification: {error}"
            ) from None
