# SPDX-License-Identifier: MIT
"""`rootfall container` for who comes by the builder's command line: the same words, the same status.

The installed command does not come this way: `door` is quicker.
"""

import click

from rootfall.container import command


@click.command(
    "container",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def container(words: tuple[str, ...]) -> None:
    """Run a command in a container, by pivot_root."""
    raise click.exceptions.Exit(command.main(list(words)))
