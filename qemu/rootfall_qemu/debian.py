# SPDX-License-Identifier: MIT
"""Debian kernels as test material, unpacked into the cache and never installed.

`python -m rootfall_qemu.debian kernel 6.1` prints where one is, `… disk bookworm` where a Debian root is.
Offline with a full cache: the first call per series resolves `linux-image-amd64` of a suite to the newest signed
kernel, later calls read the cache only. depmod(8) is run on the unpacked copy, as the packages' postinst would.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rootfall.errors import RootfallError
from rootfall_qemu.apt import ARCHITECTURE, Apt, Package, open_suites, run, show, unpack
from rootfall_qemu.cache import default_cache, locked, made_once, point, scratch, stamp_of
from rootfall_qemu.debian_root import DISK_UUID, SUITES, debian_disk, debian_root

# Which suites carry a series; the newest version in any of them is taken.
SERIES = {
    "6.1": ("bookworm", "bookworm-security"),
    "6.12": ("bookworm-backports",),
    "7": ("trixie-backports",),
}
KINDS = ("linux-image-", "linux-base-", "linux-binary-", "linux-modules-")


@dataclass(frozen=True)
class DebianKernel:
    """An unpacked kernel: `uname -r`, its image, and its module directory (a lib/modules/VERSION with modules.dep)."""

    version: str
    image: Path
    modules: Path


def fetch_kernel(series: str, cache: Path | None = None, *, refresh: bool = False) -> DebianKernel:
    """The newest Debian kernel of a series (6.1, 6.12, 7), from the cache if it is there; `refresh` asks the mirror."""
    if series not in SERIES:
        raise RootfallError("fetch", f"a Debian kernel {series}", hint=f"known series: {', '.join(SERIES)}")
    kernels = (cache or default_cache()) / "kernels"
    link = kernels / series
    if refresh or stamp_of(link) is None:
        with locked(link):
            if refresh or stamp_of(link) is None:
                point(link, _fetched(series, kernels))
    return _kernel_in(link.resolve())


def _fetched(series: str, kernels: Path) -> Path:
    with scratch(kernels) as state:
        apt = open_suites(SERIES[series], state)
        packages = resolve(apt, f"linux-image-{ARCHITECTURE}")
        release = packages[0].name.removeprefix("linux-image-")
        if not release.startswith(f"{series}."):
            raise RootfallError("fetch", f"a Debian kernel {series}", seen=f"{packages[0].name} in {SERIES[series]}")

        def make(tree: Path) -> dict[str, object]:
            unpack(apt, packages, tree)
            _complete(tree, release)
            return {"release": release, "packages": [(p.name, p.version, p.sha256) for p in packages]}

        return made_once(kernels / f"{release}_{packages[0].version}", make)


def resolve(apt: Apt, name: str) -> tuple[Package, ...]:
    """The packages that make up the kernel which the metapackage `name` stands for; the image package comes first."""
    meta = show(apt, name)
    image = next((d for d in meta.depends if d.startswith("linux-image-")), None)
    if image is None:
        raise RootfallError("find", "the image package of", seen=f"{name} depends on {', '.join(meta.depends)}")
    parts = [show(apt, image)]
    release = image.removeprefix("linux-image-")
    parts += [show(apt, d) for d in parts[0].depends if d.endswith(f"-{release}") and d.startswith(KINDS)]
    return tuple(parts)


def _complete(tree: Path, release: str) -> None:
    """Make the tree look as an installed kernel does: lib/modules whatever the layout, modules.dep, modules.alias."""
    if (tree / "usr/lib/modules").is_dir() and not (tree / "lib").exists():
        (tree / "lib").symlink_to("usr/lib")
    run(["depmod", "-b", str(tree), release], "index the modules of", release, "kmod")
    kernel = _kernel_of(tree, release)
    missing = [
        path
        for path in (kernel.image, kernel.modules / "modules.dep", kernel.modules / "modules.builtin")
        if not path.exists() or not path.stat().st_size
    ]
    if missing:
        raise RootfallError("unpack", f"the Debian kernel {release}", seen=f"no {missing[0].relative_to(tree)}")


def _kernel_in(tree: Path) -> DebianKernel:
    stamp = stamp_of(tree)
    assert stamp is not None
    return _kernel_of(tree, str(stamp["release"]))


def _kernel_of(tree: Path, release: str) -> DebianKernel:
    modules = tree / "lib/modules" / release
    image = tree / f"boot/vmlinuz-{release}"
    return DebianKernel(release, image if image.exists() else modules / "vmlinuz", modules)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rootfall_qemu.debian", description="Debian test material")
    commands = parser.add_subparsers(dest="command", required=True)
    kernel = commands.add_parser("kernel", help="fetch and unpack kernels")
    kernel.add_argument("wanted", nargs="+", choices=sorted(SERIES), metavar="SERIES")
    kernel.add_argument("--refresh", action="store_true", help="ask the mirror for newer ones")
    disk = commands.add_parser("disk", help="make Debian roots, and disks of them")
    disk.add_argument("wanted", nargs="+", choices=SUITES, metavar="SUITE")
    for command in (kernel, disk):
        command.add_argument("--cache", type=Path, help=f"default: {default_cache()}")
    return parser


def _found(options: argparse.Namespace) -> Iterator[str]:
    for name in options.wanted:
        if options.command == "kernel":
            kernel = fetch_kernel(name, options.cache, refresh=options.refresh)
            yield f"version={kernel.version} image={kernel.image} modules={kernel.modules}"
        else:
            disk = debian_disk(name, cache=options.cache)
            yield f"suite={name} uuid={DISK_UUID} disk={disk} tarball={debian_root(name, cache=options.cache)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The door: print where the material is, as name=value words; 1 and one message on standard error when it fails."""
    options = _parser().parse_args(arguments)
    try:
        for line in _found(options):
            print(line, flush=True)
    except RootfallError as error:
        print(f"rootfall: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
