# SPDX-License-Identifier: MIT
"""PID 1's sources where any user can read them: a clone in root's home is behind a door that is shut to others."""

import atexit
import functools
import importlib
import shutil
import tempfile
from pathlib import Path

import rootfall

HERE = Path(rootfall.__file__).parents[1]
_OTHERS = 0o005  # read and pass


@functools.cache
def readable() -> Path:
    """The import root of `rootfall`, or a copy of it for as long as this process lives."""
    if all(each.stat().st_mode & _OTHERS == _OTHERS for each in (HERE / "rootfall", HERE, *HERE.parents)):
        return HERE
    directory = Path(tempfile.mkdtemp(prefix="rootfall-sources-", dir="/tmp"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    directory.chmod(0o755)
    shutil.copytree(HERE, directory / "init", ignore=shutil.ignore_patterns("__pycache__"))
    return directory / "init"


def import_container_mode() -> None:
    """Import what containers import only when they need it: for a process that is about to be another user."""
    for package in ("container", "linux"):
        for path in sorted((HERE / "rootfall" / package).glob("*.py")):
            importlib.import_module(f"rootfall.{package}.{path.stem}".removesuffix(".__init__"))
