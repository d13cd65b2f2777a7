# SPDX-License-Identifier: MIT
"""`rootfall --prove`: does this frozen program have all that a boot needs? Asked when it has been frozen, not at the boot.

Imports what a boot imports, lazily too, its hooks among it, and opens the libraries; changes nothing, needs no privilege.
"""

import sys

import rootfall
from rootfall import config, hook
from rootfall.linux import blkid, udev


def prove() -> str:
    """One line when everything is there. Raises whatever a boot would meet."""
    udev.Monitor(("block",))
    blkid.probe(sys.executable)
    hooks = hook.Hooks()
    for name in hooks.names(""):
        hooks.load(name)
    config.parse(b"version: 1\nboot: {root: {device: LABEL=x}}\n", "the proof")
    return f"rootfall {rootfall.__version__}: in order"
