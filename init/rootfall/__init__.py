# SPDX-License-Identifier: MIT
"""The program that is frozen into the initramfs: PID 1 at boot, and the container mode. Nothing else lives here.

Imports go down only: main; plan, steps, emergency; devices, modules, mounts, switch_root, console, timeline;
cmdline, config (pure) and linux (the only code that touches the world); model and errors at the bottom.
`tests/house/test_floors.py` holds the floors.
"""

__version__ = "0.1.0"
