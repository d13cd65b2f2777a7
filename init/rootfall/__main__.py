# SPDX-License-Identifier: MIT
"""Where the frozen program starts: PyInstaller runs this file, and nothing may import the real ctypes.util before."""

import gc

from rootfall.linux import standins

# A boot makes few cycles and is over in a moment: collecting them, over and over while modules are imported, is not worth
# its time. The emergency, which may stay for days, turns it on again.
gc.disable()

standins.install()

from rootfall.main import main  # noqa: E402

main()
