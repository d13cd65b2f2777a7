# SPDX-License-Identifier: MIT
"""The image file appears whole or not at all: a temporary file beside it, fsync(2), rename(2), fsync of the directory.

Its mode is 0600, as an image may hold keys. What can be known to fail is refused before any work is done.
"""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from rootfall.errors import BuildError

_ATTEMPTED = "write the image"


def check(output: Path) -> None:
    """BuildError if `output` cannot become a file: no such directory, not writable, or something else is there."""
    directory = output.parent
    if not directory.is_dir():
        hint = f"make it: mkdir -p {directory}"
        raise BuildError(_ATTEMPTED, str(output), errno=errno.ENOENT, seen=f"no directory {directory}", hint=hint)
    if output.exists() and not output.is_file():
        raise BuildError(
            _ATTEMPTED, str(output), seen="it is there, and no regular file", hint="name a file with --output"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        seen = f"the directory {directory} is not writable"
        raise BuildError(_ATTEMPTED, str(output), errno=errno.EACCES, seen=seen)


def write(output: Path, data: bytes) -> None:
    """Put `data` at `output`, durably; on any failure, an interrupt included, what was there before is still there."""
    output = Path(os.path.realpath(output))
    check(output)
    free = shutil.disk_usage(output.parent).free
    if free < len(data):
        seen = f"{free} bytes are free in {output.parent}, and {len(data)} needed"
        raise BuildError(_ATTEMPTED, str(output), errno=errno.ENOSPC, seen=seen)
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")  # mkstemp(3): mode 0600
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(output)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(output.parent)
    except OSError as error:
        raise BuildError(_ATTEMPTED, str(output), errno=error.errno or 0) from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
