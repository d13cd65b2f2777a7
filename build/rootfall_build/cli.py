# SPDX-License-Identifier: MIT
"""The `rootfall` command line: a table of commands, each imported when called; the one place that prints errors.

Exit status: 0 done, 1 a RootfallError, 2 a wrong configuration or command line, 130 interrupted, 143 terminated.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from rootfall import __version__
from rootfall.errors import ConfigError, RootfallError

# name: (module:attribute of a click command, one line of help). To add a command, add a row.
COMMANDS = {
    "build": ("rootfall_build.commands:build", "Build an image."),
    "check": ("rootfall_build.commands:check", "Check a configuration file, or print the schema."),
    "plan": ("rootfall_build.commands:plan", "Print what a boot would do."),
    "list": ("rootfall_build.commands:list_", "List what an image holds."),
    "cat": ("rootfall_build.commands:cat", "Print a file from an image."),
    "switch-root": ("rootfall_build.switch_root:switch_root", "In an initramfs, as PID 1: hand over to the real root."),
    "analyze": ("rootfall_build.analyze:analyze", "Show where the time of a boot went."),
    "boot": ("rootfall_qemu.cli:boot", "Boot an image in QEMU."),
    "container": ("rootfall_build.container:container", "Enter a root as a container: run, boot, pivot."),
}


class Table(click.Group):
    """A group whose commands are rows of COMMANDS: `--version` and `--help` import none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command `cmd_name`; None if there is none of that name."""
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=Table, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rootfall")
def rootfall() -> None:
    """Build, read and boot initramfs images whose PID 1 is one frozen Python program."""


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of `rootfall`; the exit status."""
    return run(rootfall, "rootfall", argv)


def mkinitramfs(argv: Sequence[str] | None = None) -> int:
    """The entry point of `rootfall-mkinitramfs` and build/mkinitramfs.py: `rootfall build`; the exit status."""
    return run(_command("build"), "rootfall-mkinitramfs", argv)


def run(command: click.Command, name: str, argv: Sequence[str] | None) -> int:
    """Run a click command and turn what it raises into a message and an exit status."""
    # Cleaning up hangs on exceptions, so a terminated build must end by one.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # Not command.main(): what that does about a closed pipe differs between releases of click.
        with command.make_context(name, list(sys.argv[1:] if argv is None else argv)) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except RootfallError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader has gone; Python's own flush at exit must not complain about that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, click.Abort):
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def _command(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name][0].partition(":")
    command: Any = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
