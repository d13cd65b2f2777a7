# SPDX-License-Identifier: MIT
"""Where the frozen program starts: PyInstaller runs this file, and nothing may import the real ctypes.util before."""

import gc
import sys

from rootfall.linux import standins

# A boot makes few cycles and is over in a moment: collecting them, over and over while modules are imported, is not worth
# its time. The emergency, which may stay for days, turns it on again.
gc.disable()

standins.install()

if sys.argv[1:2] == ["container"] and sys.argv[0] != "/init":  # the kernel may hand that word to /init
    from rootfall.container.command import run_program

    run_program(sys.argv[2:])

from rootfall.main import main  # noqa: E402

main()
