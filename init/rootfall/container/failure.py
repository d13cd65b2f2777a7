# SPDX-License-Identifier: MIT
"""How the first process of a container tells its launcher why it could not execute the command: over a pipe, as text.

One byte says that the container is set up and only the command is left to be executed. Then the pipe ends: without another word
when that is done (close-on-exec), or when the first process is killed.
"""

import os

from rootfall.errors import ContainerError, RootfallError

_SET_UP = b"\1"


def tell_set_up(say: int) -> None:
    """Send word that all went well so far."""
    os.write(say, _SET_UP)


def tell(say: int, error: BaseException) -> None:
    """Send an error to the launcher, in fields that end with NUL."""
    if isinstance(error, RootfallError):
        words = (error.attempted, error.subject, str(error.errno), error.seen, error.hint)
    else:
        errno = error.errno if isinstance(error, OSError) else 0
        words = ("set up", "the container", str(errno or 0), f"{type(error).__name__}: {error}", "")
    try:
        os.write(say, "\0".join((*words, "")).encode(errors="surrogateescape"))
    except OSError:
        pass  # the launcher is gone: nobody is there to be told


def is_set_up(said: bytes) -> bool:
    """Whether this begins with word that all went well so far."""
    return said.startswith(_SET_UP)


def parse(said: bytes) -> ContainerError | None:
    """What the first process said before it executed the command: nothing, if all went well."""
    said = said.removeprefix(_SET_UP)
    if not said:
        return None
    attempted, subject, errno, seen, hint, _ = said.decode(errors="surrogateescape").split("\0")
    return ContainerError(attempted, subject, errno=int(errno), seen=seen, hint=hint)
