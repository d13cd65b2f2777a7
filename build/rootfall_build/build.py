# SPDX-License-Identifier: MIT
"""The whole build, from a configuration to an image file, readable from top to bottom.

    configuration -> frozen runtime -> libraries -> hooks -> kernel modules -> nodes, links -> archive -> compress -> file

The same input gives the same bytes, wherever and by whomever it is built: entries are sorted, owners are 0:0, the
time is SOURCE_DATE_EPOCH or 0. The first thing written outside the cache is the finished image.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rootfall import __version__
from rootfall import config as configuration
from rootfall.errors import BuildError
from rootfall.model import Config
from rootfall_build import compress, cpio, hooks, output, rescue, summary
from rootfall_build.drivers import wishes
from rootfall_build.elf import is_elf
from rootfall_build.image import Directory, Entry, File, Image, Node, Symlink
from rootfall_build.kernel_modules import add_modules
from rootfall_build.kmod_index import add_kmod_index
from rootfall_build.libraries import closure
from rootfall_build.module_index import find_tree
from rootfall_build.progress import Progress

RUNTIME = "usr/lib/rootfall"
DIRECTORIES = ("proc", "sys", "dev", "run", "sysroot", "etc", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64")
NODES = (
    Node("dev/console", 0o600, 5, 1),
    Node("dev/null", 0o666, 1, 3),
    Node("dev/kmsg", 0o600, 1, 11),
    # Python dies at its start without it.
    Node("dev/urandom", 0o666, 1, 9),
)
LINKS = (
    Symlink("init", f"{RUNTIME}/rootfall"),
    *(Symlink(name, f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")),
)
INITRD_RELEASE = f"""\
ID=rootfall
NAME=rootfall
VERSION_ID={__version__}
PRETTY_NAME="rootfall {__version__} (initramfs)"
"""


class Runtime(Protocol):
    """A frozen PID 1: a PyInstaller onedir with the executable `rootfall` and `_internal/`."""

    @property
    def directory(self) -> Path:
        """Where it is."""

    @property
    def digest(self) -> str:
        """Of all that it was made from."""


class Freeze(Protocol):
    """Makes a frozen PID 1."""

    def __call__(self, cache: Path, progress: Callable[[str], None], hooks: Sequence[Path] = (), /) -> Runtime:
        """With the hooks in these files, kept in `cache`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: the configuration, the kernel's version and module tree, the output; `compress` overrides it."""

    config: Path
    kernel: str
    modules: Path
    output: Path
    compress: tuple[str, int | None] | None = None
    sysroot: Path = Path("/")


def build(request: Request, freeze: Freeze, cache: Path, progress: Progress) -> summary.Summary:
    """Make the image that `request` asks for; BuildError or ConfigError, and nothing written, when it cannot be."""
    output.check(request.output)
    find_tree(request.modules, request.kernel)
    progress.step("Reading the configuration")
    available = hooks.Available(request.config.parent)
    text, config = configuration.load(str(request.config), available)
    method, level = compress.method(*(request.compress or (config.image.compress, config.image.level)))
    mtime = source_date_epoch()

    progress.step("Freezing PID 1")
    runtime = freeze(cache, progress.note, available.files(config))
    image = Image()
    add_runtime(image, runtime.directory)

    progress.step("Looking for shared libraries")
    add_libraries(image, runtime.directory, request.sysroot)

    wants = hooks.Wants()
    if config.boot.hooks:
        progress.step("Installing the hooks")
        wants = hooks.install(image, config, available, request.sysroot, progress.note)

    progress.step("Choosing kernel modules")
    needed, helpful = rescue.modules_to_save(config.boot.on_failure.save)
    filesystems = (f"fs-{each}" for each in config.image.filesystems)
    names = (*config.image.modules, *filesystems, *needed, *wants.modules)
    chosen = wishes(config.image.drivers) | helpful
    selection = add_modules(image, request.modules, request.kernel, names, cache, chosen)
    for name in selection.builtin:
        progress.note(f"{name} is built into kernel {request.kernel}")
    if wants.index:
        add_kmod_index(image, request.kernel)

    rescue.add_shell(image, config.image.shell, request.sysroot)
    rescue.add_password(image, config.boot.on_failure.password, runtime.directory, request.sysroot)
    add_configuration(image, text, config)
    add_skeleton(image)

    progress.step(f"Packing {len(image)} entries with {method.name}" + (f" {level}" if method.levels else ""))
    archive = b"".join(cpio.archive((placed.entry for placed in image), mtime))
    packed = compress.pack(archive, method.name, level if method.levels else None)

    progress.step(f"Writing {request.output}")
    output.write(request.output, packed)
    return summary.Summary(
        str(request.output),
        request.kernel,
        f"{method.name} -{level}" if method.levels else method.name,
        len(image),
        len(archive),
        len(packed),
        summary.groups(image),
        summary.biggest(image),
    )


def add_runtime(image: Image, directory: Path) -> None:
    """The onedir at usr/lib/rootfall, its links as links; modes are made the same for everyone."""
    for path in sorted(directory.rglob("*")):
        name = f"{RUNTIME}/{path.relative_to(directory)}"
        if path.is_symlink():
            target = os.readlink(path)  # noqa: PTH115 - as it is written, not as pathlib would write it
            if target.startswith("/"):
                raise BuildError("put into the image", name, seen=f"a link to {target}, which is on this machine only")
            image.add(Symlink(name, target), "the frozen PID 1", "python runtime")
        elif path.is_dir():
            image.add(Directory(name), "the frozen PID 1", "python runtime")
        else:
            executable = path.stat().st_mode & stat.S_IXUSR or is_elf(path)
            image.add(File(name, 0o755 if executable else 0o644, path), "the frozen PID 1", "python runtime")


def add_libraries(image: Image, runtime: Path, sysroot: Path) -> None:
    """What the runtime's own `_internal` lacks: the C library, the loader, and what else its programs need."""
    files = (path for path in sorted(runtime.rglob("*")) if path.is_file() and not path.is_symlink())
    programs = [path for path in files if is_elf(path)]
    for library in closure(programs, sysroot, runtime, (runtime / "_internal",)):
        image.add(File(library.path, 0o755, library.source), library.why, "libraries")
        for path, target in library.links:
            image.add(Symlink(path, target), library.why, "libraries")


def add_configuration(image: Image, text: bytes, config: Config) -> None:
    """The user's file as it is, the plan made from it, and the mark of an initramfs (see os-release(5))."""
    group = "configuration"
    image.add(File("etc/rootfall/rootfall.yaml", 0o600, text), "the configuration", group)
    plan = configuration.ready(text, config)
    image.add(File("etc/rootfall/rootfall.plan", 0o600, plan), "the configuration, ready to use", group)
    image.add(File("etc/initrd-release", 0o644, INITRD_RELEASE.encode()), "says that this is an initramfs", group)


def add_skeleton(image: Image) -> None:
    """The directories, device nodes and links that PID 1 counts on."""
    for name in DIRECTORIES:
        image.add(Directory(name), "skeleton", "skeleton")
    image.add(Directory("tmp", 0o1777), "skeleton", "skeleton")
    entries: tuple[Entry, ...] = (*NODES, *LINKS)
    for entry in entries:
        image.add(entry, "skeleton", "skeleton")


def source_date_epoch() -> int:
    """The time of every entry: SOURCE_DATE_EPOCH (reproducible-builds.org), else 0."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit() and int(text) <= cpio.LARGEST):
        raise BuildError("use SOURCE_DATE_EPOCH", repr(text), hint="it is a number of seconds, 0 to 4294967295")
    return int(text)


def cache_directory() -> Path:
    """Where what can be made again is kept: ${XDG_CACHE_HOME:-~/.cache}/rootfall."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "rootfall"
