# SPDX-License-Identifier: MIT
"""Makes initramfs images, reads them back and explains them; the `rootfall` command line."""
