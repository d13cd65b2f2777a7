# SPDX-License-Identifier: MIT
"""`rootfall switch-root` on a machine that runs: refuses, since only PID 1 of an initramfs can hand over, and says so.

In an image the frozen program itself is this command; here it serves for its help, its checks and its messages.
"""

import click

from rootfall import switch_root_command


@click.command(
    "switch-root",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def switch_root(words: tuple[str, ...]) -> None:
    """Hand over to the real root: a drop-in for switch_root(8), for PID 1 of an initramfs only."""
    raise click.exceptions.Exit(switch_root_command.main(["rootfall", "switch-root", *words]))
