# SPDX-License-Identifier: MIT
"""A process that asks for a passphrase on the console, as systemd-ask-password(1) does: a file says so while it lives.

Each second it says for how long it has been asking. With `asker=hook` on the kernel command line its file is one of
docs/hooks.md. The answer is in the kernel's log.
"""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.steps import Boot

DOES = "ask for a passphrase"
QUESTION = "Passphrase of the vault"


def perform(options: "Any", boot: "Boot") -> str:
    """Leave the process behind."""
    with open("/proc/cmdline") as file:
        plain = "asker=hook" in file.read().split()
    if not (pid := os.fork()):
        try:
            ask(plain)
        finally:
            os._exit(0)  # the file stays, and so does this process, until somebody reaps it
    return f"process {pid} asks"


def ask(plain: bool) -> None:
    """Until a line is typed."""
    directory = "/run/rootfall/asking" if plain else "/run/systemd/ask-password"
    name, text = (
        (f"{os.getpid()}", QUESTION) if plain else ("ask.vault", f"[Ask]\nPID={os.getpid()}\nMessage={QUESTION}")
    )
    os.makedirs(directory)
    with open(f"{directory}/{name}", "w") as file:
        file.write(f"{text}\n")
    console = os.open("/dev/console", os.O_RDWR | os.O_NOCTTY)
    poll, seconds = select.poll(), 0
    poll.register(console, select.POLLIN)
    while not poll.poll(1000):
        seconds += 1
        os.write(console, f"asked for {seconds} s\n".encode())
    answer = os.read(console, 80).decode().strip()
    with open("/dev/kmsg", "w") as log:
        log.write(f"<4>asker: the answer is {answer}\n")
