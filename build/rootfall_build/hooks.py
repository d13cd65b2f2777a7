# SPDX-License-Identifier: MIT
"""The hooks at build time: which there are, those of the site among them, and what they put into an image.

A hook's `install` gets everything through its argument, `HookImage`, and imports nothing of the builder (docs/hooks.md). A
site hook is executed to read what it declares: who checks a configuration trusts the hooks that it names.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import rootfall_hooks
from rootfall.errors import BuildError
from rootfall.hook import Declared, Hooks, declared
from rootfall.model import Config
from rootfall_build import symbol_versions
from rootfall_build.elf import is_elf
from rootfall_build.image import File, Image, Symlink
from rootfall_build.libraries import closure, image_path, resolve

_OURS = Path(rootfall_hooks.__path__[0])


class Available(Hooks):
    """Rootfall's own hooks, and those of the site: `NAME.py` in the directory that the configuration names."""

    def __init__(self, base: Path) -> None:
        """`base` is the configuration's directory, from which others in it are reckoned."""
        self.base = base
        self._loaded: dict[Path, Declared] = {}

    def names(self, directory: str) -> tuple[str, ...]:
        """All names, sorted. A file whose name begins with an underscore, or is none for a module, is no hook."""
        site = {path.stem for path in self._site(directory)}
        return tuple(sorted({*super().names(""), *site}))

    def load(self, name: str, directory: str = "") -> Declared:
        """The hook of a name. Raises LookupError where there is none, ValueError with the reason where it is none."""
        site = next((path for path in self._site(directory) if path.stem == name), None)
        if site is None:
            return super().load(name)
        if name in super().names(""):
            raise ValueError(f"{site} has the name of a hook of rootfall's: give it another")
        if site not in self._loaded:
            self._loaded[site] = declared(_executed(site))
        return self._loaded[site]

    def files(self, config: Config) -> tuple[Path, ...]:
        """The files of the hooks that a configuration uses, each once, sorted by name."""
        site = {path.stem: path for path in self._site(config.image.hooks_from)}
        return tuple(site.get(name, _OURS / f"{name}.py") for name in sorted({each.name for each in config.boot.hooks}))

    def _site(self, directory: str) -> list[Path]:
        if not directory:
            return []
        paths = sorted((self.base / directory).glob("*.py"))
        return [path for path in paths if path.stem.isidentifier() and not path.stem.startswith("_")]


def _executed(path: Path) -> types.ModuleType:
    """The module in a file. Not imported: that would leave a directory of compiled files beside it."""
    module = types.ModuleType(f"rootfall_hooks.{path.stem}")
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102 - the site's own program
    except Exception as error:
        raise ValueError(f"{path}: {error!r}") from error
    return module


@dataclass
class Wants:
    """What hooks want of the kernel: modules, and whether libkmod is to find them."""

    modules: list[str] = field(default_factory=list)
    index: bool = False


def install(image: Image, config: Config, available: Available, sysroot: Path, note: Callable[[str], None]) -> Wants:
    """Have each hook put into `image` what it needs, once for each time it is used; what they want of the kernel."""
    wants = Wants()
    root = available.base / config.image.programs_from if config.image.programs_from else sysroot
    if not root.is_dir():
        hint = "image.programs_from names the root directory of a system"
        raise BuildError("take programs from", str(root), seen="no directory", hint=hint)
    for each in config.boot.hooks:
        found = available.load(each.name, config.image.hooks_from)
        if hasattr(found.module, "install"):
            found.module.install(HookImage(image, each.name, found.made(dict(each.options)), root, wants, note))
    return wants


class HookImage:
    """What `install` of a hook is given (rootfall.hook.Image): records go into the image with the hook as their reason."""

    def __init__(
        self, image: Image, name: str, options: Any, root: Path, wants: Wants, note: Callable[[str], None]
    ) -> None:
        """For the hook `name`, which takes programs from `root`."""
        self.options, self.root, self.note = options, root, note
        self._image, self._wants, self._why = image, wants, f"hook {name}"

    def find(self, path: str) -> Path | None:
        """Where a file or directory of the root is on this machine, links followed inside the root; None: there is none."""
        found = self.root / resolve(self.root, path).lstrip("/")
        return found if found.exists() else None

    def add_file(self, path: str, content: bytes | None = None, mode: int = 0o644) -> None:
        """Put in `content`, or the file of the root at that path: a link with what it names, unless that is /dev/null."""
        if content is not None:
            self._image.add(File(image_path(path), mode, content), self._why, self._why)
            return
        real = self._add_links(path)
        if real.startswith("/dev/"):
            return
        source = self.find(real)
        if source is None or not source.is_file():
            self.refuse(path, f"no such file in {self.root}", "the hook needs it")
        self._image.add(File(image_path(real), mode, source), self._why, self._why)

    def add_link(self, path: str, target: str) -> None:
        """Put in a symbolic link; `target` as it is."""
        self._image.add(Symlink(image_path(path), target), self._why, self._why)

    def add_program(self, path: str) -> None:
        """Put in a program of the root with its libraries; of a script, its interpreter and that one's libraries."""
        source = self.find(path)
        if source is None or not source.is_file():
            self.refuse(path, f"no such program in {self.root}", "install it there")
        real = self._add_links(path)
        self._image.add(File(image_path(real), 0o755, source), self._why, self._why)
        if is_elf(source):
            self._add_libraries(source)
        elif (first := source.read_bytes()[:256]).startswith(b"#!"):
            self.add_program(first[2:].split(b"\n")[0].split()[0].decode())

    def add_modules(self, *names: str) -> None:
        """Put in kernel modules (names or aliases) with all that they need."""
        self._wants.modules += names

    def add_module_index(self) -> None:
        """Put in the index of the image's modules in the form that libkmod reads."""
        self._wants.index = True

    def refuse(self, what: str, seen: str, hint: str) -> NoReturn:
        """End the build."""
        raise BuildError("put into the image", f"{what} ({self._why})", seen=seen, hint=hint)

    def _add_links(self, path: str) -> str:
        """Put in the link at `path`, if it is one, and those it leads to; where they end. Links of directories are not kept."""
        for _ in range(40):
            directory, _, name = path.rpartition("/")
            path = f"{resolve(self.root, directory).rstrip('/')}/{name}"
            here = self.root / path.lstrip("/")
            if not here.is_symlink():
                break
            target = str(here.readlink())
            self.add_link(path, target)
            path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
        return path

    def _add_libraries(self, program: Path) -> None:
        for library in closure([program], self.root):
            if library.path in self._image:
                there = self._image[library.path].entry
                if isinstance(there, File) and there.read() != library.source.read_bytes():
                    self._check(there, library.source, program)
                continue
            self._image.add(File(library.path, 0o755, library.source), library.why, "libraries")
            for path, target in library.links:
                if path not in self._image:
                    self._image.add(Symlink(path, target), library.why, "libraries")

    def _check(self, there: File, wanted: Path, program: Path) -> None:
        """The image has this library already, for PID 1: that one must be able to stand in for that of the root."""
        assert isinstance(there.content, Path), "libraries are files of some system"
        objects = [program, *(library.source for library in closure([program], self.root))]
        lack = symbol_versions.lacking(there.content, [each for each in objects if each != wanted])
        if lack:
            seen = f"{there.path} of this machine, which PID 1 needs, has no {', '.join(lack)}"
            self.refuse(str(program), seen, "take programs from a system that is not newer than this one")
