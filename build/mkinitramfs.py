#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The door: `python build/mkinitramfs.py …` builds an image from a checkout, like `rootfall-mkinitramfs`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    top = Path(__file__).resolve().parent.parent
    # Python put build/ itself first; it must not stay there twice.
    sys.path[:1] = [str(top / name) for name in ("init", "hooks", "build", "qemu")]

    from rootfall_build.cli import mkinitramfs

    sys.exit(mkinitramfs())
