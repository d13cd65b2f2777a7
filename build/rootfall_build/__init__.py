# SPDX-License-Identifier: MIT
"""Makes, reads back and explains images; the `rootfall` command line."""
