# SPDX-License-Identifier: MIT
"""Where the `rootfall` command starts: `rootfall container` goes straight to the container mode, all else to the builder.

The builder's command line imports click, which takes longer than a whole container does. Nothing else is decided here.
"""

import sys


def main() -> int:
    """The entry point of `rootfall`; the exit status."""
    if sys.argv[1:2] == ["container"]:
        from rootfall.container.command import run_program

        run_program(sys.argv[2:])
    from rootfall_build.cli import main as builder

    return builder()
