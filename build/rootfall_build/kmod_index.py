# SPDX-License-Identifier: MIT
"""The index of an image's kernel modules in the binary form that libkmod reads: for programs that load modules (udevd).

PID 1 itself reads the texts. depmod(8) makes it from the modules that the image holds, and from no others.
"""

import subprocess
import tempfile
from pathlib import Path

from rootfall.errors import BuildError
from rootfall_build.image import File, Image
from rootfall_build.kernel_modules import GROUP
from rootfall_build.module_index import depmod

_FILES = (
    "modules.dep.bin",
    "modules.alias.bin",
    "modules.symbols.bin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
)


def add_kmod_index(image: Image, version: str) -> None:
    """Put the binary index beside the modules of kernel `version`; BuildError without depmod."""
    base = f"usr/lib/modules/{version}"
    with tempfile.TemporaryDirectory(prefix="rootfall-depmod-") as name:
        for placed in image:
            if isinstance(placed.entry, File) and placed.entry.path.startswith(f"{base}/"):
                target = Path(name) / placed.entry.path.removeprefix("usr/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(placed.entry.read())
        (Path(name) / f"lib/modules/{version}").mkdir(parents=True, exist_ok=True)
        order = Path(name) / f"lib/modules/{version}/modules.order"
        order.write_text("".join(f"{path}\n" for path in _modules(image, base)))
        done = subprocess.run(
            [depmod(base), "-b", name, version], capture_output=True, text=True, check=False, errors="replace"
        )
        if done.returncode:
            raise BuildError("index the modules in", base, seen=f"depmod: {done.stderr.strip() or done.returncode}")
        for file in _FILES:
            made = Path(name) / f"lib/modules/{version}" / file
            if made.exists():
                image.add(File(f"{base}/{file}", 0o644, made.read_bytes()), "index for libkmod", GROUP)


def _modules(image: Image, base: str) -> list[str]:
    paths = (placed.entry.path for placed in image)
    return [path.removeprefix(f"{base}/") for path in paths if path.startswith(f"{base}/") and path.endswith(".ko")]
