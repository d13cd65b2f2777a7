# SPDX-License-Identifier: MIT
"""The kernel modules of an image: named ones, what they need, and a small index for PID 1 in kmod's own text formats.

Files are stored as plain `.ko`, whatever their form on disk, with their bytes and so their signature kept. A missing
module is a BuildError; a missing soft dependency is none, as for modprobe(8). A module built for another kernel is
refused here and not at boot.
"""

import difflib
import gzip
import lzma
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rootfall.errors import BuildError
from rootfall.modules import INDEX_FILES, READY, ready_index
from rootfall_build.hints import HINTS, hints
from rootfall_build.image import File, Image
from rootfall_build.module_index import Index, find_tree, indexed, load, normal

GROUP = "kernel modules"
SIGNED = b"~Module signature appended~\n"
_SIGNATURE_INFO = 12  # struct module_signature, include/linux/module_signature.h; its last four bytes are the length
_HASHES = {
    "crypto-sha256": bytes.fromhex("0609608648016503040201"),
    "crypto-sha384": bytes.fromhex("0609608648016503040202"),
    "crypto-sha512": bytes.fromhex("0609608648016503040203"),
}
WHY_HASH = "hash for module signatures"


@dataclass(frozen=True, slots=True)
class Module:
    """A chosen module: its name, its path in the kernel's tree, and why it is in the image."""

    name: str
    path: str
    why: str

    @property
    def stored(self) -> str:
        """Its path below usr/lib/modules/VERSION in the image."""
        return self.path[: self.path.index(".ko") + 3]


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen modules, sorted by path, and the asked-for names that the kernel has built in."""

    modules: tuple[Module, ...]
    builtin: tuple[str, ...]


def select(index: Index, names: Iterable[str], wishes: Mapping[str, str] | None = None) -> Selection:
    """`names` (modules or aliases) with hard, soft and weak dependencies, and theirs; BuildError if one is missing.

    `wishes` are modules with the reason why they are put in, where the kernel has them.
    """
    builtin = []
    chosen: dict[str, str] = {}
    soft = {**_soft(index, "modules.weakdep", "weakdep"), **_soft(index, "modules.softdep", "softdep")}
    for name in names:
        found = index.look_up(name)
        if not found and index.is_builtin(name):
            builtin.append(name)
        elif not found:
            raise _missing(index, name)
        _close(index, soft, ((module, "named in the configuration") for module in found), chosen)
    for name, why in (wishes or {}).items():
        _close(index, soft, ((module, why) for module in index.look_up(name)), chosen)
    modules = (Module(name, index.paths[name], why) for name, why in chosen.items())
    return Selection(tuple(sorted(modules, key=lambda module: module.path)), tuple(builtin))


def _close(
    index: Index, soft: dict[str, list[tuple[str, str]]], start: Iterable[tuple[str, str]], chosen: dict[str, str]
) -> None:
    pending = deque(start)
    while pending:
        name, why = pending.popleft()
        if name in chosen:
            continue
        chosen[name] = why
        pending += ((need, f"dependency of {name}") for need in index.needs[name])
        for wanted, kind in soft.get(name, ()):
            pending += ((found, f"{kind} of {name}") for found in index.look_up(wanted))


def _soft(index: Index, file: str, kind: str) -> dict[str, list[tuple[str, str]]]:
    """What each module lists in modules.softdep (`softdep M pre: a b post: c`) or modules.weakdep (`weakdep M a b`)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in index.lines(file):
        words = line.split()
        part = kind if kind == "weakdep" else ""  # modprobe ignores names that come before pre: and post:
        for word in words[2:]:
            if word in ("pre:", "post:"):
                part = f"softdep ({word[:-1]})"
            elif part:
                found.setdefault(normal(words[1]), []).append((word, part))
    return found


def _missing(index: Index, name: str) -> BuildError:
    near = difflib.get_close_matches(normal(name), [*index.paths, *index.builtin], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`find DIR -name '*.ko*'` lists what there is"
    return BuildError(
        "find the kernel module",
        name,
        seen=f"not among the {len(index.paths)} modules of the kernel, nor built in",
        hint=hint,
    )


def with_hash(index: Index, selection: Selection, payloads: dict[str, bytes]) -> Selection:
    """`selection`, and the accelerated hash that its modules' signatures ask for, if the kernel has it as a module.

    The generic C code of SHA-256 is a quarter of a boot; PID 1 loads these modules before all others.
    """
    wanted = {name for data in payloads.values() for name in signature_hashes(data)}
    chosen = {module.name: module.why for module in selection.modules}
    for name in sorted(wanted):
        fast = (found for found in index.look_up(name) if not found.endswith("_generic") and "padlock" not in found)
        _close(index, {}, ((module, WHY_HASH) for module in fast), chosen)
    modules = (Module(name, index.paths[name], why) for name, why in chosen.items())
    return Selection(tuple(sorted(modules, key=lambda module: module.path)), selection.builtin)


def signature_hashes(data: bytes) -> Iterator[str]:
    """The hashes (aliases of the crypto API) that the signature at a module's end names; none if it is unsigned."""
    if not data.endswith(SIGNED):
        return
    end = len(data) - len(SIGNED) - _SIGNATURE_INFO
    length = int.from_bytes(data[end + _SIGNATURE_INFO - 4 : end + _SIGNATURE_INFO], "big")
    pkcs7 = data[max(0, end - length) : max(0, end)]
    yield from (name for name, oid in _HASHES.items() if oid in pkcs7)


def read_module(tree: Path, path: str, version: str) -> bytes:
    """The plain bytes of a module, which must be for kernel `version` (its vermagic)."""
    file = tree / path
    try:
        data = file.read_bytes()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        elif path.endswith(".gz"):
            data = gzip.decompress(data)
        elif path.endswith(".zst"):
            import zstandard

            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except FileNotFoundError:
        hint = "the tree is not complete, or modules.dep is of another one: run depmod"
        raise BuildError("read the kernel module", str(file), seen="in modules.dep, but not there", hint=hint) from None
    except (OSError, EOFError, ValueError, lzma.LZMAError, ArithmeticError) as error:
        raise BuildError("read the kernel module", str(file), seen=str(error)) from None
    if not data.startswith(b"\x7fELF"):
        raise BuildError("read the kernel module", str(file), seen="not an ELF file")
    _check_version(file, data, version)
    return data


def _check_version(file: Path, data: bytes, version: str) -> None:
    start = data.find(b"\0vermagic=")
    if start < 0:
        return
    built_for = data[start + 10 : data.find(b"\0", start + 1)].split(b" ")[0].decode("utf-8", "replace")
    if built_for != version:
        hint = "name that version with --kernel, or another directory with --modules"
        raise BuildError(
            "use for kernel", f"{version} the module {file}", seen=f"it was built for {built_for}", hint=hint
        )


def add_modules(
    image: Image,
    directory: Path,
    version: str,
    names: Iterable[str],
    cache: Path,
    wishes: Mapping[str, str] | None = None,
) -> Selection:
    """Put modules of kernel `version` into `image`, with all they need and an index; return which they are.

    `names` must be there, `wishes` (with their reasons) need not.
    """
    tree = find_tree(directory, version)
    index = load(indexed(tree, version, cache))
    selection = select(index, names, wishes)
    payloads = {module.name: read_module(tree, module.path, version) for module in selection.modules}
    selection = with_hash(index, selection, payloads)
    base = f"usr/lib/modules/{version}"
    for module in selection.modules:
        data = payloads.get(module.name) or read_module(tree, module.path, version)
        image.add(File(f"{base}/{module.stored}", 0o644, data), module.why, GROUP)
    texts = index_files(index, selection)
    texts[HINTS] = hints(index)
    texts[READY] = ready_index([texts[name] for name in INDEX_FILES])
    for name, text in texts.items():
        image.add(File(f"{base}/{name}", 0o644, text), "index of the kernel modules", GROUP)
    return selection


def index_files(index: Index, selection: Selection) -> dict[str, bytes]:
    """modules.dep, .softdep, .alias for the chosen modules alone, in kmod's text formats, and modules.builtin whole."""
    stored = {module.name: module.stored for module in selection.modules}
    dependencies = [" ".join([f"{stored[name]}:", *(stored[need] for need in index.needs[name])]) for name in stored]
    softdeps = [line for line in index.lines("modules.softdep") if normal(line.split()[1]) in stored]
    aliases = [line for line in index.aliases if normal(line[line.rfind(" ") + 1 :]) in stored]
    files = {
        "modules.dep": dependencies,
        "modules.softdep": softdeps,
        "modules.alias": aliases,
        "modules.builtin": index.lines("modules.builtin"),
    }
    return {
        name: "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape") for name, lines in files.items()
    }
