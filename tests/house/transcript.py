# SPDX-License-Identifier: MIT
"""Sessions that a document shows, in blocks ```console: typed into one shell after the other, and what it printed.

`$ ` is the prompt of an ordinary shell, `# ` that of a shell with namespaces of its own, `> ` a line that goes on. A command
after `$ ` begins a new session; if it ends in `sh`, what comes after `# ` is typed into that shell, also in later blocks.
"""

import re
import shlex
import subprocess
from typing import NamedTuple

from tests.house import readme

_END = "\x1e"
LIMIT = 120


class Command(NamedTuple):
    """What is typed, and what the document shows of its output."""

    typed: str
    shown: str


def sessions(text: str) -> list[tuple[str, list[Command]]]:
    """Each session of a document: the command that begins it, and what is typed then."""
    found: list[tuple[str, list[Command]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for prompt, typed, shown in re.findall(r"^([$#]) (.*\n(?:> .*\n)*)((?:(?![$#] ).*\n)*)", block, re.MULTILINE):
            typed = re.sub(r"^> ", "", typed, flags=re.MULTILINE).rstrip("\n")
            if prompt == "$":
                found.append((typed, []))
            else:
                found[-1][1].append(Command(typed, shown))
    return found


def play(shell: str, commands: list[Command], environment: dict[str, str]) -> list[str]:
    """What each command prints, both streams, typed into one shell."""
    script = "exec 2>&1\n" + "".join(f"{each.typed}\nprintf '\\036'\n" for each in commands)
    done = subprocess.run(
        [*shlex.split(shell), "-c", script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
    )
    return done.stdout.decode().split(_END)[: len(commands)]


def same(shown: str, printed: str) -> bool:
    """Whether a document tells the truth; numbers are not compared."""
    return readme.fits(readme.compared(shown), readme.compared(printed))
