# SPDX-License-Identifier: MIT
"""Where the frozen program starts: PyInstaller runs this file, and PyInstaller must not meet ctypes.util."""

from rootfall.linux import standins

standins.install()

from rootfall.main import main  # noqa: E402

main()
