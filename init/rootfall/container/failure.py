# SPDX-License-Identifier: MIT
"""How the first process of a container tells its launcher why it could not execute the command: over a pipe, as text.

The pipe ends without a word when the command is executed (close-on-exec), or when the first process is killed.
"""

import os

from rootfall.errors import ContainerError, RootfallError


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


def read(hear: int) -> ContainerError | None:
    """What the first process says before it executes the command: nothing, if all went well."""
    said = b""
    while data := os.read(hear, 65536):
        said += data
    os.close(hear)
    if not said:
        return None
    attempted, subject, errno, seen, hint, _ = said.decode(errors="surrogateescape").split("\0")
    return ContainerError(attempted, subject, errno=int(errno), seen=seen, hint=hint)
