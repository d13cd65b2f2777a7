# SPDX-License-Identifier: MIT
"""Kernel modules: which to load, in what order, and loading them, each as soon as what it needs is there (finit_module(2)).

Reads the image's own modules.dep, modules.softdep and modules.alias (depmod(8)), which hold only what the image holds.
Modules are stored uncompressed. Refuses to look on the disk of another kernel version.
"""

import _thread
import os
import time

from rootfall.linux import libc
from rootfall.record import NamedTuple
from rootfall.timeline import Timeline

# A module's signature costs a SHA-256 or -512 over its whole file, twice: 225 of ext4's 343 ms in the kernel's plain C.
# With one of these loaded before all others it is a third of that. Absent, or no such CPU: nothing is lost.
HASHES_FOR_SIGNATURES = ("sha256_ssse3", "sha512_ssse3", "sha2_ce", "sha256_arm64", "sha512_ce")

_EEXIST, _ENODEV = 17, 19


class Module(NamedTuple):
    """A module of the image: its name with underscores, its file, and the names of those that must be there before."""

    name: str
    path: str
    requires: tuple[str, ...]


class Index(NamedTuple):
    """The image's modules by name, soft dependencies (before, after) by name, and names by exact alias."""

    modules: dict[str, Module]
    before: dict[str, tuple[str, ...]]
    after: dict[str, tuple[str, ...]]
    aliases: dict[str, tuple[str, ...]]


def module_name(path: str) -> str:
    """The kernel's name of a module file: kernel/drivers/virtio/virtio-pci.ko is virtio_pci."""
    return path[path.rfind("/") + 1 :].partition(".")[0].replace("-", "_")


def parse_index(dep: str, softdep: str = "", alias: str = "", directory: str = "") -> Index:
    """The texts of modules.dep, modules.softdep and modules.alias as records; aliases with wildcards are left out."""
    modules = {}
    for line in dep.splitlines():
        path, _, needs = line.partition(":")
        name = module_name(path)
        modules[name] = Module(name, f"{directory}/{path}", tuple(module_name(each) for each in needs.split()))
    aliases: dict[str, tuple[str, ...]] = {}
    for line in alias.splitlines():
        word, pattern, name = [*line.split(), "", "", ""][:3]
        if word == "alias" and "*" not in pattern:
            aliases[pattern] = (*aliases.get(pattern, ()), name.replace("-", "_"))
    before: dict[str, tuple[str, ...]] = {}
    after: dict[str, tuple[str, ...]] = {}
    for line in softdep.splitlines():
        words = line.replace("post:", " post: ").replace("pre:", " pre: ").split()
        if len(words) > 2 and words[0] == "softdep":
            side = before
            for each in words[2:]:
                if each in ("pre:", "post:"):
                    side = before if each == "pre:" else after
                else:  # a module may have several lines
                    name = words[1].replace("-", "_")
                    side[name] = (*side.get(name, ()), each)
    return Index(modules, before, after, aliases)


def resolve(index: Index, name: str) -> tuple[str, ...]:
    """The modules that a name or an alias stands for; empty when the image has none (built in, or not put in)."""
    plain = name.replace("-", "_")
    if plain in index.modules:
        return (plain,)
    return tuple(each for each in index.aliases.get(name, ()) if each in index.modules)


def closure(index: Index, wanted: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The wanted modules and all that they need, in an order that loads: name to the names that must be loaded before.

    The hashes for signatures come first and everything else after them. A cycle of soft dependencies is cut where it is met.
    """
    first = tuple(name for name in HASHES_FOR_SIGNATURES if name in index.modules)
    order: dict[str, tuple[str, ...]] = {}
    path: list[str] = []

    def visit(name: str, base: tuple[str, ...]) -> None:
        if name in order or name in path:
            return
        path.append(name)
        soft = tuple(each for word in index.before.get(name, ()) for each in resolve(index, word))
        needs = tuple(each for each in (*index.modules[name].requires, *soft) if each in index.modules)
        for each in needs:
            visit(each, base)
        path.pop()
        order[name] = base + tuple(each for each in needs if each in order)
        for word in index.after.get(name, ()):
            for each in resolve(index, word):
                visit(each, base)

    for name in first:
        visit(name, ())
    base = tuple(order)
    for word in wanted:
        for name in resolve(index, word):
            visit(name, base)
    return order


def read_index(directory: str) -> Index:
    """The index of /usr/lib/modules/VERSION. Raises FileNotFoundError when there is no modules.dep."""
    texts = []
    for name in ("modules.dep", "modules.softdep", "modules.alias"):
        try:
            with open(f"{directory}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                texts.append(file.read())
        except FileNotFoundError:
            if name == "modules.dep":
                raise
            texts.append("")
    return parse_index(texts[0], texts[1], texts[2], directory)


def insert(module: Module, parameters: str = "") -> str:
    """Load one module; the outcome in words. Already loaded, or for hardware that is not there, is no failure."""
    try:
        fd = os.open(module.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc.finit_module(fd, parameters)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno == _EEXIST:
            return "was loaded"
        if error.errno == _ENODEV:
            return "no such hardware"
        return f"failed: {error.strerror} (errno {error.errno})"
    return "loaded"


class Loading:
    """Modules being loaded in the background, each in a thread as soon as the last one that it waits for is in.

    `failed` maps names to what the kernel said; read it after `wait`.
    """

    def __init__(self, index: Index, order: dict[str, tuple[str, ...]], timeline: Timeline) -> None:
        """Start at once; `order` is of `closure`."""
        self.failed: dict[str, str] = {}
        self._index, self._timeline = index, timeline
        self._missing = {name: len(set(needs)) for name, needs in order.items()}
        self._waiting: dict[str, list[str]] = {name: [] for name in order}
        for name, needs in order.items():
            for each in set(needs):
                self._waiting[each].append(name)
        self._left = len(order)
        self._lock, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        if order:
            self._done.acquire()
        for name in [name for name, count in self._missing.items() if count == 0]:
            self._start(name)

    def wait(self, timeout: float) -> bool:
        """Whether all are in within `timeout` seconds."""
        if not self._done.acquire(timeout=timeout):
            return False
        self._done.release()
        return True

    def _start(self, name: str) -> None:
        try:
            _thread.start_new_thread(self._run, (name,))
        except RuntimeError:  # the kernel gives no more threads: load it here
            self._run(name)

    def _run(self, name: str | None) -> None:
        while name is not None:
            start = time.monotonic_ns()
            try:
                outcome = insert(self._index.modules[name])
            except Exception as error:  # a thread must never die silently: the others wait for it
                outcome = f"failed: {error!r}"
            self._timeline.add(f"module {name}", start, outcome)
            name = self._finish(name, outcome)

    def _finish(self, name: str, outcome: str) -> str | None:
        """Count `name` off; one of the modules that waited for it is the caller's next, the others get threads."""
        with self._lock:
            if outcome.startswith("failed"):
                self.failed[name] = outcome
            ready = []
            for each in self._waiting[name]:
                self._missing[each] -= 1
                if self._missing[each] == 0:
                    ready.append(each)
            self._left -= 1
            if self._left == 0:
                self._done.release()
        for each in ready[1:]:
            self._start(each)
        return ready[0] if ready else None
