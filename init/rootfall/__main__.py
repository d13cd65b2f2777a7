# SPDX-License-Identifier: MIT
"""Where the frozen program starts: PyInstaller runs this file, and nothing may import the real ctypes.util before."""

from rootfall.linux import standins

standins.install()

from rootfall.main import main  # noqa: E402

main()
