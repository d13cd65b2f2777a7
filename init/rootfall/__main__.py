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
    import os

    from rootfall.linux import quick_import, signals

    quick_import.install()
    if not signals.ignored(signals.SIGINT):
        signals.set_default(signals.SIGINT)  # Python's own way to end by Ctrl-C prints a traceback
    from rootfall.container.command import main as container

    status = container(sys.argv[2:])
    try:
        sys.stdout.flush()
    except OSError:  # whoever read it is gone
        status = status or 125
    os._exit(status)  # to take an interpreter down in good order takes 2 ms of 15

from rootfall.main import main  # noqa: E402

main()
