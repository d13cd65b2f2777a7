# SPDX-License-Identifier: MIT
"""`make bench`: rootfall's images of the demo's configuration, one for each compressor of the control, measured against it."""

import sys
import tempfile
from pathlib import Path

from rootfall_build.cli import main as rootfall
from rootfall_qemu.debian import fetch_kernel
from tests.bench import bench
from tests.guest.demo import CONFIG, SERIES

# As the control's: see COMPRESSORS in control.py.
COMPRESS = ("zstd:3", "lz4:9")


def main() -> int:
    """Build, measure, print the table; 1 when the budget is broken."""
    kernel = fetch_kernel(SERIES)
    with tempfile.TemporaryDirectory() as directory:
        images = [str(Path(directory, f"rootfall {compress}")) for compress in COMPRESS]
        for compress, image in zip(COMPRESS, images, strict=True):
            words = ["--config", CONFIG, "--kernel", kernel.version, "--modules", kernel.modules]
            if status := rootfall(["build", *map(str, words), "--output", image, "--compress", compress]):
                return status
        return bench.main(["--kernel", SERIES, *images])


if __name__ == "__main__":
    sys.exit(main())
