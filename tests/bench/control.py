# SPDX-License-Identifier: MIT
"""Makes the control image: tests/bench/control.c as /init, its modules, one device node; nothing shared with rootfall.

It has its own newc writer and its own reading of modules.dep, so that a mistake in rootfall's builder cannot hide
behind the same mistake here (cpio format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import lzma
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rootfall_qemu.debian import DebianKernel
from tests.guest.material import compile_static

MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
COMPRESSORS: Mapping[str, Sequence[str]] = {
    "none": ("cat",),
    "zstd": ("zstd", "-3", "-q", "-c"),
    "lz4": ("lz4", "-l", "-9", "-q", "-c"),
}


def build_control_image(kernel: DebianKernel, modules: Sequence[str], compress: str, output: Path) -> Path:
    """The initramfs of the floor at `output`; `modules` by name, loaded in plain dependency order."""
    program = compile_static(Path(__file__).with_name("control.c"), output.with_suffix(".init"))
    paths = load_order(kernel, modules)
    entries = [
        _entry("dev", stat.S_IFDIR | 0o755, b""),
        _entry("dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1)),
        _entry("init", stat.S_IFREG | 0o755, program.read_bytes()),
        _entry("lib", stat.S_IFDIR | 0o755, b""),
        _entry("modules", stat.S_IFREG | 0o644, "".join(f"{_name(path)}.ko\n" for path in paths).encode()),
        *(_entry(f"lib/{_name(path)}.ko", stat.S_IFREG | 0o644, plain(path)) for path in paths),
        _entry("TRAILER!!!", 0, b""),
    ]
    done = subprocess.run(COMPRESSORS[compress], input=b"".join(entries), stdout=subprocess.PIPE, check=True)
    output.write_bytes(done.stdout)
    return output


def load_order(kernel: DebianKernel, modules: Sequence[str]) -> tuple[Path, ...]:
    """Module files, each after what it depends on; names that are built into this kernel, or unknown, are left out."""
    depends: dict[str, tuple[str, list[str]]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        depends[_name(Path(path))] = (path, needed.split())
    order: dict[str, Path] = {}
    for module in modules:
        if module not in depends:
            continue
        file, after = depends[module]
        for one in (*reversed(after), file):
            order.setdefault(one, kernel.modules / one)
    return tuple(order.values())


def _name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def plain(path: Path) -> bytes:
    """A module's bytes without its compression."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _entry(name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> bytes:
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (0, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
