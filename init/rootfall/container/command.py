# SPDX-License-Identifier: MIT
"""`rootfall container …`: the words of a command line, what they do, the exit status, and the one place that prints errors."""

import os
import sys

from rootfall.container import options
from rootfall.errors import RootfallError

_USAGE = "usage: rootfall container run|boot|pivot|explain …; rootfall container COMMAND --help says more"


def main(argv: list[str]) -> int:
    """Perform `rootfall container ARGV…`; returns the exit status."""
    command, words = (argv[0], argv[1:]) if argv else ("", [])
    try:
        if command == "run":
            return run(words)
    except RootfallError as error:
        print(f"rootfall: {error}", file=sys.stderr)
        return getattr(error, "status", 125)
    print(_USAGE, file=sys.stderr)
    return 2


def run(words: list[str]) -> int:
    """`rootfall container run`: start a container, or print its plan."""
    asked = options.parse(words)
    if asked.plan:
        from rootfall.container import plan

        print(plan.make_plan(asked.container))
        return 0
    if os.geteuid() != os.getuid():
        raise RootfallError(
            "run", "a container", seen="a setuid program", hint="rootfall must never be installed setuid"
        )
    from rootfall.container import launch

    return launch.run(asked.container)
