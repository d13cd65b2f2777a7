# SPDX-License-Identifier: MIT
"""A kernel's module tree and its index (modules.dep(5)): find it, make the index if there is none, look things up.

It never writes into the tree: depmod(8) runs on links to it, in the cache. Names are looked up as modprobe(8) does: a
module's name, else every module that has it as an alias, else a driver that is built in; `-` and `_` are the same.
"""

import fnmatch
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rootfall.errors import BuildError

_BELOW = ("lib/modules", "usr/lib/modules")
_TREE_MARKS = ("modules.dep", "modules.order", "kernel")
_SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


def module_name(path: str) -> str:
    """The module's name as the kernel has it: no directory, no suffix, no `-`."""
    return PurePosixPath(path).name.partition(".")[0].replace("-", "_")


def normal(name: str) -> str:
    """`-` and `_` are the same, but for what is between brackets in a pattern (kmod's alias_normalize)."""
    if "[" not in name:
        return name.replace("-", "_")
    pieces = name.split("[")
    rest = [
        inside + "]" + after.replace("-", "_") for inside, _, after in (piece.partition("]") for piece in pieces[1:])
    ]
    return "[".join([pieces[0].replace("-", "_"), *rest])


def find_tree(directory: Path, version: str) -> Path:
    """The directory that holds the modules of kernel `version`, given itself or a root that has lib/modules."""
    if _is_tree(directory):
        # A tree under another name is taken at its word: each module's vermagic is compared when it is put in.
        if directory.name == version or not _looks_like_version(directory.name):
            return directory
        raise BuildError(
            "find the modules of kernel",
            version,
            seen=f"{directory} holds those of {directory.name}",
            hint="name that version with --kernel, or another directory with --modules",
        )
    versions = []
    for below in _BELOW:
        if _is_tree(directory / below / version):
            return directory / below / version
        if (directory / below).is_dir():
            versions += [entry.name for entry in (directory / below).iterdir() if _is_tree(entry)]
    if _is_tree(directory / version):
        return directory / version
    if not directory.is_dir():
        raise BuildError("find the modules of kernel", version, seen=f"{directory} is not a directory")
    there = (
        f"{directory} has those of {', '.join(sorted(set(versions)))}" if versions else f"no modules below {directory}"
    )
    raise BuildError(
        "find the modules of kernel",
        version,
        seen=there,
        hint="--modules names a directory with modules.dep, or a root with lib/modules/VERSION",
    )


def _is_tree(directory: Path) -> bool:
    return any((directory / mark).exists() for mark in _TREE_MARKS)


def _looks_like_version(name: str) -> bool:
    return name[:1].isdigit() and "." in name


def indexed(tree: Path, version: str, cache: Path) -> Path:
    """Where the index of `tree` is: there, or else in `cache`, made by depmod and kept as long as no module changes."""
    if (tree / "modules.dep").is_file():
        return tree
    digest = hashlib.sha256(repr((version, str(tree.resolve()))).encode())
    for place, directories, names in os.walk(tree):
        directories.sort()
        for name in sorted(names):
            found = os.lstat(f"{place}/{name}")
            digest.update(f"{place}/{name}\0{found.st_size} {found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    made = cache / "modules" / digest.hexdigest()[:32]
    index = made / "lib/modules" / version
    if not (index / "modules.dep").is_file():
        _depmod(tree, version, made)
    return index


def depmod(subject: str) -> str:
    """The program depmod(8); BuildError where this machine has none. `subject` is what it is wanted for."""
    program = shutil.which("depmod", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        raise BuildError(
            "index the modules in", subject, seen="neither modules.dep nor depmod", hint="install the package kmod"
        )
    return program


def _depmod(tree: Path, version: str, made: Path) -> None:
    program = depmod(str(tree))
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".new-") as scratch:
        index = Path(scratch) / "root/lib/modules" / version
        index.mkdir(parents=True)
        for entry in tree.iterdir():
            if entry.name.startswith("modules."):
                shutil.copyfile(entry, index / entry.name)
            elif entry.name not in ("build", "source", "vmlinuz"):
                (index / entry.name).symlink_to(entry.resolve())
        done = subprocess.run(
            [program, "-b", f"{scratch}/root", version], capture_output=True, text=True, check=False, errors="replace"
        )
        if done.returncode != 0 or not (index / "modules.dep").is_file():
            raise BuildError(
                "index the modules in", str(tree), seen=f"depmod: {done.stderr.strip() or done.returncode}"
            )
        try:
            (Path(scratch) / "root").rename(made)
        except OSError:  # another build was faster; its index is the same
            if not (made / "lib/modules" / version / "modules.dep").is_file():
                raise


@dataclass(frozen=True, slots=True)
class Index:
    """modules.dep by module name, with the text of the other files, which are read when they are asked."""

    directory: Path
    paths: dict[str, str]
    needs: dict[str, tuple[str, ...]]
    builtin: frozenset[str]
    aliases: tuple[str, ...]
    found: dict[str, tuple[str, ...]]

    def lines(self, name: str) -> list[str]:
        """The lines of one of its files that are not comments; none when there is no such file."""
        return _lines(self.directory / name)

    def look_up(self, name: str) -> tuple[str, ...]:
        """The modules that `modprobe NAME` would load: that of the name, or all that have it as an alias."""
        wanted = normal(name)
        if wanted in self.paths:
            return (wanted,)
        if wanted not in self.found:
            self.found[wanted] = self._aliased(wanted)
        return self.found[wanted]

    def _aliased(self, wanted: str) -> tuple[str, ...]:
        # 25 000 patterns: look closer only at those that begin alike. No alias has a wildcard before that.
        start, modules = wanted[:2], []
        for line in self.aliases:
            if line[6:8].replace("-", "_") == start:
                pattern, _, module = line[6:].rpartition(" ")
                pattern = normal(pattern)
                if pattern == wanted or (_GLOB.intersection(pattern) and fnmatch.fnmatchcase(wanted, pattern)):
                    modules.append(normal(module))
        return tuple(dict.fromkeys(module for module in modules if module in self.paths))

    def is_builtin(self, name: str) -> bool:
        """Whether the kernel has `name` built in: a module's name, or an alias in modules.builtin.modinfo."""
        wanted = normal(name)
        if wanted in self.builtin:
            return True
        try:
            info = (self.directory / "modules.builtin.modinfo").read_bytes()
        except OSError:
            return False
        aliases = (item.partition(b".alias=")[2] for item in info.split(b"\0"))
        return any(alias and normal(alias.decode("utf-8", "replace")) == wanted for alias in aliases)


_GLOB = frozenset("*?[")


def load(directory: Path) -> Index:
    """Read modules.dep, modules.builtin and modules.alias in `directory`."""
    paths, needs = dict[str, str](), dict[str, tuple[str, ...]]()
    for line in _lines(directory / "modules.dep"):
        path, _, rest = line.partition(":")
        name = module_name(path)
        # depmod puts what overrides (updates/) in the place of what it overrides; the first one counts.
        if name not in paths:
            paths[name] = path
            needs[name] = tuple(module_name(need) for need in rest.split())
    builtin = frozenset(module_name(line) for line in _lines(directory / "modules.builtin"))
    aliases = tuple(_lines(directory / "modules.alias"))
    return Index(directory, paths, needs, builtin, aliases, {})


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line and not line.startswith("#")]
