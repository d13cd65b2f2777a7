# SPDX-License-Identifier: MIT
"""`rootfall container run` and `check`: words and a file into a container, then its plan on paper, or its start.

Refuses to run set-user-ID: whoever calls it would choose what root mounts.
"""

import os
import sys

from rootfall.container import options
from rootfall.errors import RootfallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.defaults import Caller
    from rootfall.container.model import Container


def run(words: list[str]) -> int:
    """`rootfall container run`: start a container, or print its plan."""
    line = options.parse(words)
    if line.asked.get("help"):
        from rootfall.container import option_table

        print(option_table.usage(), end="", flush=True)
        return 0
    return start(made(line), only_plan=bool(line.asked.get("plan")))


def start(container: "Container", *, only_plan: bool) -> int:
    """Start a container, or print its plan; returns the exit status."""
    if only_plan:
        from rootfall.container import plan

        print(plan.make_plan(container), flush=True)
        return 0
    if os.geteuid() != os.getuid() or os.getegid() != os.getgid():
        raise RootfallError(
            "run", "a container", seen="a setuid program", hint="rootfall must never be installed setuid"
        )
    from rootfall.container import launch

    return launch.run(container)


def made(line: options.Line) -> "Container":
    """The container that a command line asks for, with the file that it names."""
    from rootfall.container import defaults

    asked, caller = line.asked, who()
    if "config" in asked:
        from rootfall.container import config

        asked = config.merge(config.load(str(asked["config"]), line.root), asked)
    return defaults.make(asked, line.root, line.command, caller)


def who() -> "Caller":
    """Who runs this, as `defaults` wants to know it."""
    from rootfall.container import defaults

    return defaults.Caller(os.geteuid(), os.getegid(), os.getpid(), os.environ, _subordinate)


def _subordinate(kind: str) -> tuple[tuple[int, int], ...]:
    from rootfall.container import subordinate  # only for `auto`

    return subordinate.ranges(kind, os.geteuid())


def check(words: list[str]) -> int:
    """`rootfall container check FILE`: is the file in order, and would it be used?"""
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: rootfall container check FILE", file=sys.stdout if words in (["--help"], ["-h"]) else sys.stderr)
        return 0 if words in (["--help"], ["-h"]) else 2
    from rootfall.container import config

    config.load(words[0], "")
    print(f"{words[0]}: in order", flush=True)
    return 0
