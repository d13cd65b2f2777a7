# SPDX-License-Identifier: MIT
"""Which shared libraries a set of programs needs, found as ld.so(8) finds them, and without running any of them.

It honours DT_RPATH, DT_RUNPATH, $ORIGIN, ld.so.conf and the default directories, in a system root of one's choice. It
refuses to leave a library out: a missing one is a BuildError, unless the program says that it can live without it.
It never runs ldd, which may run the program.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rootfall.errors import BuildError
from rootfall_build.elf import Object, is_elf, read

PULLED_IN = ("required", "recommended")
_MERGED = ("bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/")
_MULTIARCH = {
    "EM_X86_64": "x86_64-linux-gnu",
    "EM_AARCH64": "aarch64-linux-gnu",
    "EM_386": "i386-linux-gnu",
    "EM_ARM": "arm-linux-gnueabihf",
    "EM_RISCV": "riscv64-linux-gnu",
    "EM_PPC64": "powerpc64le-linux-gnu",
    "EM_S390": "s390x-linux-gnu",
    "EM_LOONGARCH": "loongarch64-linux-gnu",
}


@dataclass(frozen=True, slots=True)
class Library:
    """A library to put in: its path in the image, the file to read, links to it (path, target), and who needs it."""

    path: str
    source: Path
    links: tuple[tuple[str, str], ...]
    why: str


def resolve(sysroot: Path, path: str) -> str:
    """`path` with every symbolic link followed inside `sysroot`; absolute, as it is seen from there."""
    done, pending, followed = "/", [part for part in path.split("/") if part], 0
    while pending:
        part = pending.pop(0)
        here = posixpath.normpath(posixpath.join(done, part))
        try:
            target = os.readlink(f"{sysroot}/{here}")  # noqa: PTH115 - Path.readlink would lose nothing but time
        except OSError:
            done = here
            continue
        followed += 1
        if followed > 40:
            raise BuildError("follow", path, seen=f"a loop of symbolic links at {here}")
        done = "/" if target.startswith("/") else done
        pending = [part for part in target.split("/") if part] + pending
    return done


def image_path(canonical: str) -> str:
    """Where a file of the sysroot lives in the image, where /lib, /lib64, /bin and /sbin are links into /usr."""
    path = canonical.lstrip("/")
    return f"usr/{path}" if path.startswith(_MERGED) else path


def configured(sysroot: Path) -> tuple[str, ...]:
    """The directories that /etc/ld.so.conf names, `include` lines followed."""
    return tuple(dict.fromkeys(_conf(sysroot, "/etc/ld.so.conf", 0)))


def _conf(sysroot: Path, name: str, depth: int) -> Iterator[str]:
    try:
        lines = (sysroot / resolve(sysroot, name).lstrip("/")).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words and words[0] == "include" and depth < 8:
            for pattern in words[1:]:
                pattern = posixpath.join(posixpath.dirname(name), pattern).lstrip("/")
                for found in sorted(sysroot.glob(pattern)):
                    yield from _conf(sysroot, f"/{found.relative_to(sysroot)}", depth + 1)
        elif words and words[0].startswith("/"):
            yield words[0].rstrip("/")


def default_directories(machine: tuple[str, int]) -> tuple[str, ...]:
    """Where ld.so looks when nothing else is said: Debian's multiarch directories, lib64, lib."""
    triplet = _MULTIARCH.get(machine[0])
    names = ([triplet] if triplet else []) + [""]
    bases = ["/lib", "/usr/lib"]
    wide = ["/lib64", "/usr/lib64"] if machine[1] == 64 else []
    return tuple(f"{base}/{name}".rstrip("/") for name in names for base in bases) + tuple(wide)


@dataclass(frozen=True, slots=True)
class _Hit:
    """A found object: the file to read; its path in the sysroot, or on this machine when it travels in the bundle."""

    source: Path
    path: str
    travels: bool


class _Search:
    """One closure being made: what is fixed for it, and the answers so far."""

    def __init__(self, sysroot: Path, bundle: Path | None, carried: tuple[Path, ...]) -> None:
        self.sysroot = sysroot
        self.bundle = bundle
        self.carried = tuple((str(path), True) for path in carried)
        self.configured = configured(sysroot)
        self.objects: dict[Path, Object] = {}
        self.libraries: dict[str, Library] = {}
        self.home = ""

    def object(self, path: Path) -> Object:
        if path not in self.objects:
            self.objects[path] = read(path)
        return self.objects[path]

    def expand(self, hit: _Hit, entries: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
        """(directory, whether in the bundle) for each RPATH or RUNPATH entry; what leaves the bundle is dropped."""
        places = []
        for entry in entries:
            own = "$ORIGIN" in entry or "${ORIGIN}" in entry
            origin = posixpath.dirname(hit.path)
            directory = posixpath.normpath(entry.replace("${ORIGIN}", origin).replace("$ORIGIN", origin))
            travels = own and hit.travels
            if directory.startswith("/") and "$" not in directory and (not travels or self.in_bundle(directory)):
                places.append((directory, travels))
        return tuple(places)

    def in_bundle(self, path: str) -> bool:
        return self.bundle is not None and Path(path).is_relative_to(self.bundle)

    def places(
        self, item: Object, rpath: tuple[tuple[str, bool], ...], runpath: tuple[tuple[str, bool], ...]
    ) -> tuple[tuple[str, bool], ...]:
        """Where to look for what `item` needs, in the order of ld.so(8)."""
        system = (*self.configured, *default_directories(item.machine))
        return tuple(dict.fromkeys((*rpath, *self.carried, *runpath, *((directory, False) for directory in system))))

    def at(self, path: str, travels: bool) -> _Hit | None:
        source = Path(path) if travels else self.sysroot / resolve(self.sysroot, path).lstrip("/")
        return _Hit(source, path, travels) if source.is_file() else None

    def find(self, item: Object, name: str, places: tuple[tuple[str, bool], ...]) -> tuple[_Hit | None, list[str]]:
        """The first object called `name` for the same machine, and those that were passed over as foreign."""
        foreign: list[str] = []
        for directory, travels in places if "/" not in name else [("", False)]:
            hit = self.at(f"{directory}/{name}" if directory else name, travels)
            if hit is not None and is_elf(hit.source):
                if self.object(hit.source).machine == item.machine:
                    return hit, foreign
                foreign.append(hit.path)
        return None, foreign

    def record(self, hit: _Hit, machine: tuple[str, int], why: str) -> None:
        """Note the library of the sysroot, with the links by which ld.so will find it in the image."""
        if hit.travels:
            return
        real = image_path(resolve(self.sysroot, hit.path))
        name = posixpath.basename(hit.path)
        homes = {image_path(resolve(self.sysroot, posixpath.dirname(hit.path)))}
        if not self.searched(posixpath.dirname(hit.path), machine):
            homes.add(self.home)  # found through ld.so.conf: there is no ld.so.cache in the image
        links = {posixpath.join(home, name) for home in homes if home} - {real}
        before = self.libraries.get(real, Library(real, hit.source, (), why))
        targets = {link: posixpath.relpath(real, posixpath.dirname(link)) for link in links}
        merged = tuple(sorted((dict(before.links) | targets).items()))
        self.libraries[real] = Library(real, before.source, merged, before.why)

    def searched(self, directory: str, machine: tuple[str, int]) -> bool:
        """Whether ld.so looks in `directory` without being told, or was told by RPATH rather than by ld.so.conf."""
        real = resolve(self.sysroot, directory)
        defaults = {resolve(self.sysroot, default) for default in default_directories(machine)}
        return real in defaults or directory not in self.configured


def closure(
    programs: Iterable[Path],
    sysroot: Path = Path("/"),
    bundle: Path | None = None,
    carried: tuple[Path, ...] = (),
    priorities: tuple[str, ...] = PULLED_IN,
) -> tuple[Library, ...]:
    """Every library of `sysroot` that `programs` need, directly or not, their interpreters too, sorted by path.

    Programs below `bundle` are put in by the caller, and so is what they find there: it is not listed. `carried`
    directories of the bundle are searched first (as by LD_LIBRARY_PATH). `priorities` are those of `.note.dlopen` that
    are pulled in; a library that is needed, or noted as required, and is not there is a BuildError.
    """
    search = _Search(sysroot, bundle, carried)
    pending: list[tuple[_Hit, tuple[tuple[str, bool], ...]]] = []
    for program in programs:
        travels = search.in_bundle(str(program))
        inside = str(program) if travels or sysroot == Path("/") else f"/{program.relative_to(sysroot)}"
        pending.append((_Hit(program, inside, travels), ()))
    seen = set[Path]()
    while pending:
        hit, inherited = pending.pop(0)
        if hit.source in seen:
            continue
        seen.add(hit.source)
        item = search.object(hit.source)
        # ld.so(8): DT_RPATH also holds for what a library loads in turn; DT_RUNPATH does not, and turns DT_RPATH off.
        rpath = () if item.runpath else (*search.expand(hit, item.rpath), *inherited)
        places = search.places(item, rpath, search.expand(hit, item.runpath))
        for names, required, why in _wanted(item, hit, priorities):
            if found := _first(search, item, names, required, why, places):
                if names == (item.interpreter,):
                    search.home = image_path(resolve(sysroot, posixpath.dirname(resolve(sysroot, found.path))))
                search.record(found, item.machine, why)
                pending.append((found, rpath))
    return tuple(sorted(search.libraries.values(), key=lambda library: library.path))


def _wanted(item: Object, hit: _Hit, priorities: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool, str]]:
    """(alternatives, whether the program fails without, why) for each thing that `item` loads."""
    who = hit.path if not hit.travels else posixpath.basename(hit.path)
    if item.interpreter:
        yield (item.interpreter,), True, f"interpreter of {who}"
    for name in item.needed:
        yield (name,), True, f"needed by {who}"
    for note in item.dlopen:
        if note.priority in priorities:
            feature = f" for {note.feature}" if note.feature else ""
            yield note.sonames, note.priority == "required", f"{note.priority} by {who}{feature} (dlopen)"


def _first(
    search: _Search,
    item: Object,
    names: tuple[str, ...],
    required: bool,
    why: str,
    places: tuple[tuple[str, bool], ...],
) -> _Hit | None:
    foreign: list[str] = []
    for name in names:
        hit, passed = search.find(item, name, places)
        if hit is not None:
            return hit
        foreign += passed
    if not required:
        return None
    looked = ", ".join(directory for directory, _ in places) if "/" not in names[0] else names[0]
    other = f"; passed over for another machine than {item.machine[0]}: {', '.join(foreign)}" if foreign else ""
    raise BuildError("find the shared library", " or ".join(names), seen=f"{why}; looked in {looked}{other}")
