# SPDX-License-Identifier: MIT
"""`rootfall container …`: which command is meant, the exit status, and the one place that prints errors.

Exit status: `run` and `boot` have the command's own, and 125 for whatever keeps it from starting, a wrong option too, as docker
and podman do; `check` has 2, as `rootfall check` has, the others 1; no such command is 2. Each is imported when it is called:
a run is to be quick.
"""

import os
import sys

from rootfall.errors import ConfigError, RootfallError
from rootfall.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# name: (module, function of the words after the name, exit status of an error, one line of help). To add one, add a row.
COMMANDS = {
    "run": ("rootfall.container.run_command", "run", 125, "Run a command in a container whose root is a directory."),
    "boot": ("rootfall.container.boot_command", "boot", 125, "Start the init of a root as a container."),
    "pivot": ("rootfall.container.pivot_command", "pivot", 1, "Do pivot_root(2), and explain what the kernel says."),
    "explain": ("rootfall.container.pivot_command", "explain", 1, "Say beforehand what pivot_root would do."),
    "check": ("rootfall.container.run_command", "check", 2, "Check a container's file, without running it."),
}


def main(argv: list[str]) -> int:
    """Perform `rootfall container ARGV…`; returns the exit status."""
    name = argv[0] if argv else ""
    if name in ("--help", "-h", "help"):
        print(usage(), end="")
        return 0
    if name not in COMMANDS:
        wrong = f"rootfall: container: there is no command {name!r}\n" if name else ""
        print(wrong + usage(), end="", file=sys.stderr)
        return 2
    module, function, status, _ = COMMANDS[name]
    try:
        perform: Callable[[list[str]], int] = getattr(__import__(module, fromlist=[function]), function)
        return perform(argv[1:])
    except ConfigError as error:
        print(error, file=sys.stderr)
    except RootfallError as error:
        print(f"rootfall: {error}", file=sys.stderr)
        return getattr(error, "status", status) if status == 125 else status
    except BrokenPipeError:
        # The reader has gone; Python's own flush at exit must not complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
        return 141
    except KeyboardInterrupt:  # there was nothing to undo yet: from then on signals are held
        return 130
    return status


def run_program(argv: list[str]) -> "NoReturn":
    """The whole of a process that was started for this: `main`, and an end without taking the interpreter down, 2 ms of 15."""
    if not signals.ignored(signals.SIGINT):
        signals.set_default(signals.SIGINT)  # Python's own way to end by Ctrl-C prints a traceback
    status = main(argv)
    try:
        sys.stdout.flush()
    except OSError:  # whoever read it is gone
        status = status or 125
    os._exit(status)


def usage() -> str:
    """What there is."""
    lines = "".join(f"  {name:<9}{text}\n" for name, (_, _, _, text) in COMMANDS.items())
    return f"usage: rootfall container COMMAND …; COMMAND --help says more\n\n{lines}"
