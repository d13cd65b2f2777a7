# SPDX-License-Identifier: MIT
"""Kernel modules: which to load, in what order, and loading them, each as soon as what it needs is there (finit_module(2)).

Reads the image's own modules.dep, modules.softdep and modules.alias (depmod(8)), which hold only what the image holds.
Modules are stored uncompressed. Refuses to look on the disk of another kernel version.
"""

import _thread
import os
import time

from rootfall import ready
from rootfall.linux import libc
from rootfall.modalias import Patterns, collect
from rootfall.record import NamedTuple
from rootfall.timeline import Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A module's signature costs a SHA-256 or -512 over its whole file, twice: 225 of ext4's 343 ms in the kernel's plain C.
# With one of these loaded before all others it is a third of that. Absent, or no such CPU: nothing is lost.
HASHES_FOR_SIGNATURES = ("sha256_ssse3", "sha512_ssse3", "sha2_ce", "sha256_arm64", "sha512_ce")

INDEX_FILES = ("modules.dep", "modules.softdep", "modules.alias")
READY = "modules.rootfall"

_EEXIST, _ENODEV = 17, 19


class Module(NamedTuple):
    """A module of the image: its name with underscores, its file below that of modules.dep, and what must be there before."""

    name: str
    path: str
    requires: tuple[str, ...]


class Index(NamedTuple):
    """The image's modules by name, soft dependencies (before, after) by name, and the aliases: exact ones and patterns."""

    modules: dict[str, Module]
    before: dict[str, tuple[str, ...]]
    after: dict[str, tuple[str, ...]]
    aliases: dict[str, tuple[str, ...]]
    patterns: Patterns


def module_name(path: str) -> str:
    """The kernel's name of a module file: kernel/drivers/virtio/virtio-pci.ko is virtio_pci."""
    return path[path.rfind("/") + 1 :].partition(".")[0].replace("-", "_")


def parse_index(dep: str, softdep: str = "", alias: str = "") -> Index:
    """The texts of modules.dep, modules.softdep and modules.alias as records."""
    modules = {}
    for line in dep.splitlines():
        path, _, needs = line.partition(":")
        name = module_name(path)
        modules[name] = Module(name, path, tuple(module_name(each) for each in needs.split()))
    aliases: dict[str, tuple[str, ...]] = {}
    patterns: list[tuple[str, str]] = []
    for line in alias.splitlines():
        word, pattern, name = [*line.split(), "", "", ""][:3]
        if word == "alias" and ("*" in pattern or ":" in pattern):  # with a bus, as in mmc:block: for hardware
            patterns.append((pattern, name))
        elif word == "alias":
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
    return Index(modules, before, after, aliases, collect(patterns))


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
    """The index of /usr/lib/modules/VERSION, from its ready form where that matches. FileNotFoundError: no modules.dep."""
    texts = _read_texts(directory)
    try:
        with open(f"{directory}/{READY}", "rb", buffering=0) as file:
            plain = ready.unpack(file.read(), b"\0".join(texts))
    except OSError:
        plain = None
    if plain is None:
        return parse_index(*(text.decode(errors="surrogateescape") for text in texts))
    modules, before, after, aliases, patterns = plain
    return Index({name: Module(*each) for name, each in modules.items()}, before, after, aliases, Patterns(*patterns))


def _read_texts(directory: str) -> list[bytes]:
    texts = []
    for name in INDEX_FILES:
        try:
            with open(f"{directory}/{name}", "rb", buffering=0) as file:
                texts.append(file.read())
        except FileNotFoundError:
            if name == INDEX_FILES[0]:
                raise
            texts.append(b"")
    return texts


def ready_index(texts: "Sequence[bytes]") -> bytes:
    """The ready form of an index, from the texts of INDEX_FILES: what the builder puts beside them as READY."""
    return ready.pack(b"\0".join(texts), parse_index(*(text.decode(errors="surrogateescape") for text in texts)))


def insert(directory: str, module: Module, parameters: str = "") -> str:
    """Load one module; the outcome in words. Already loaded, or for hardware that is not there, is no failure."""
    try:
        fd = os.open(f"{directory}/{module.path}", os.O_RDONLY | os.O_CLOEXEC)
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


def _size(path: str) -> int:
    """A file's bytes; 0 when the image lacks it: loading it will say so, and only if it comes to that."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class Loader:
    """Loads modules in the background, each in a thread of its own as soon as the last one that it needs is in.

    `blacklist` are names that hardware alone does not load. `failed` maps names to what the kernel said; `finished` counts
    the modules that are done with. A module is asked of the kernel once, however often it is requested. Threads cost little
    here: finit_module(2) runs without the GIL.
    """

    def __init__(
        self, directory: str, timeline: Timeline, options: "Mapping[str, str]", blacklist: tuple[str, ...]
    ) -> None:
        """`directory` is /usr/lib/modules/VERSION; `options` are parameters by module name.

        `blacklist` holds what hardware alone must not load. FileNotFoundError: no modules.dep there.
        """
        self.index, self.finished = read_index(directory), 0
        self._directory = directory
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # readable when a chain of `load_cheapest` ended
        self._sequential = "rootfall_sequential" in os.environ  # from the command line: for tests/bench/parallel.py
        self.failed: dict[str, str] = {}
        self._timeline, self._options, self.blacklist = timeline, options, frozenset(blacklist)
        self._missing: dict[str, int] = {}  # how many modules each requested one still waits for
        self._waiting: dict[str, list[str]] = {}  # who waits for each unfinished one
        self._asked: set[str] = set()  # modaliases: many devices of a machine have the same
        self._chains: set[str] = set()  # the last modules of the chains that `load_cheapest` started
        self._offered: dict[str, int] = {}  # modules for hardware that is there, not yet requested, and their bytes
        self._gates: list[tuple[set[str], _thread.LockType]] = []  # who waits in wait_for, and for what
        self._lock = _thread.allocate_lock()

    def request(self, words: "Iterable[str]") -> tuple[str, ...]:
        """Start loading these modules (names or aliases) and what they need; returns those that are new.

        The very first module is loaded alone: since Linux 6.14 module text shares pages of 2 MiB, and modules that begin
        at the same moment, with none there yet, would take such a page each and keep it.
        """
        order = closure(self.index, tuple(words))
        first = () if self._missing else tuple(order)[:1]
        with self._lock:
            fresh = [name for name in order if name not in self._missing]
            for name in fresh:
                self._waiting[name] = []
            for name in fresh:
                needs = {each for each in (*order[name], *first) if each in self._waiting and each != name}
                self._missing[name] = len(needs)
                for each in needs:
                    self._waiting[each].append(name)
            ready = [name for name in fresh if self._missing[name] == 0]
        for name in ready:
            self._start(name)
        return tuple(fresh)

    def offer(self, modalias: str) -> None:
        """Note the modules that the image has for a piece of hardware, for `load_cheapest`."""
        if modalias not in self._asked:
            self._asked.add(modalias)
            for name in self.index.patterns.look_up(modalias):
                if name not in self.blacklist and name not in self._missing:
                    self._offered[name] = self._cost(name)

    def load_cheapest(self) -> tuple[str, ...]:
        """Start the chain of one module that was offered, the one with the fewest bytes to load; returns what is new.

        Nothing is left, or half of the processors are busy with such chains: nothing is started. A module costs its bytes:
        its signature is a hash over them. A disk behind a small driver is found, and the boot is over, while the large
        ones that this root does not need, some of which wait seconds for their links, have not even been read.
        """
        if len(self._chains) >= max(1, len(os.sched_getaffinity(0)) // 2):
            return ()
        self._offered = {name: cost for name, cost in self._offered.items() if name not in self._missing}
        if not self._offered:
            return ()
        name = min(self._offered, key=lambda each: (self._offered[each], each))
        self._chains.add(name)  # before it can end
        fresh = self.request((name,))
        if not fresh:  # no such module in the image: it must not be the cheapest for ever
            self._chains.discard(name)
            del self._offered[name]
        return fresh

    def _cost(self, name: str) -> int:
        """The bytes of a module and of all that it needs and that has not been requested."""
        needs = (each for each in closure(self.index, (name,)) if each not in self._missing)
        return sum(_size(f"{self._directory}/{self.index.modules[each].path}") for each in needs)

    def wait_for(self, names: "Iterable[str]", timeout: float) -> bool:
        """Whether these modules are done with, loaded or not, within `timeout` seconds."""
        gate = _thread.allocate_lock()
        gate.acquire()
        with self._lock:
            left = {name for name in names if name in self._waiting}
            if not left:
                return True
            self._gates.append((left, gate))
        return gate.acquire(timeout=timeout)

    def modprobe_conf(self) -> str:
        """The options and what hardware alone must not load, as modprobe.d(5): for a udevd, which loads modules, too."""
        lines = [f"options {name} {words}" for name, words in self._options.items()]
        return "".join(f"{line}\n" for line in (*lines, *(f"blacklist {name}" for name in sorted(self.blacklist))))

    @property
    def offered(self) -> bool:
        """Whether hardware that is there has a module that was not yet requested."""
        return any(name not in self._missing for name in self._offered)

    @property
    def pending(self) -> tuple[str, ...]:
        """The modules that are being loaded or wait for others."""
        return tuple(self._waiting)

    def _start(self, name: str) -> None:
        if self._sequential:
            self._run(name)
            return
        try:
            _thread.start_new_thread(self._run, (name,))
        except RuntimeError:  # the kernel gives no more threads: load it here
            self._run(name)

    def _run(self, name: str | None) -> None:
        while name is not None:
            start = time.monotonic_ns()
            try:
                outcome = insert(self._directory, self.index.modules[name], self._options.get(name, ""))
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
            for each in self._waiting.pop(name):
                self._missing[each] -= 1
                if self._missing[each] == 0:
                    ready.append(each)
            self.finished += 1
            if name in self._chains:
                self._chains.discard(name)
                try:
                    os.eventfd_write(self.wake_fd, 1)
                except OSError:
                    pass  # then the search looks when its second is over
            for left, gate in self._gates:
                if name in left:
                    left.discard(name)
                    if not left:
                        gate.release()
        for each in ready[1:]:
            self._start(each)
        return ready[0] if ready else None
