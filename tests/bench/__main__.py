# SPDX-License-Identifier: MIT
"""`make bench`: images of the demo's configuration, under each compressor of the control, and one that is told no module."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rootfall_build.cli import main as rootfall
from rootfall_qemu.debian import fetch_kernel
from tests.bench import bench
from tests.guest.demo import CONFIG, SERIES

DISCOVERY = "version: 1\nimage: {drivers: [storage], filesystems: [ext4]}\n"
# As the control's: see COMPRESSORS in control.py.
COMPRESS = ("zstd:3", "lz4:9")


def main(compressors: Sequence[str] = COMPRESS) -> int:
    """Build, measure, print the table; 1 when the budget is broken."""
    kernel = fetch_kernel(SERIES)
    with tempfile.TemporaryDirectory() as directory:
        discovery = Path(directory, "discovery.yaml")
        discovery.write_text(DISCOVERY)
        wanted = [("named modules", CONFIG, compress) for compress in compressors]
        wanted.append(("full discovery", discovery, "zstd:3"))
        images = []
        for kind, config, compress in wanted:
            images.append(str(Path(directory, f"{kind}, {compress}")))
            words = ["--config", config, "--kernel", kernel.version, "--modules", kernel.modules]
            if status := rootfall(["build", *map(str, words), "--output", images[-1], "--compress", compress]):
                return status
        names = [compress.partition(":")[0] for compress in compressors]
        return bench.main(["--kernel", SERIES, "--compress", *names, "--", *images])


if __name__ == "__main__":
    sys.exit(main())
