# SPDX-License-Identifier: MIT
"""Runs containers as a user would, each by a launcher of its own: a process that may be signalled, stopped, killed.

The record is handed to it as text; what options make of a command line is tested elsewhere. A root is busybox and a few empty
directories.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rootfall.container.model import Container, IdMapping, Mount, Process, Root
from tests.kernel import sources

LIMIT = 120.0  # seconds that a container has
NOBODY = 65534
INIT = sources.readable()
PYTHON = os.path.realpath(sys.executable)
PATH = "PATH=/bin"

_LAUNCHER = """
import sys
sys.path.insert(0, {init!r})
from rootfall.container import launch
from rootfall.container.model import *
from rootfall.errors import RootfallError
try:
    sys.exit(launch.run(eval(sys.argv[1])))
except RootfallError as error:
    print(f"rootfall: {{error}}", file=sys.stderr)
    sys.exit(getattr(error, "status", 125))
"""
_APPLETS = (
    "sh cat ls id env stat kill sleep trap tty stty readlink grep head pwd true false umask hostname uptime setsid ps dd "
    "mknod cut wc echo printf ifconfig nohup mkfifo chmod rm test yes tail"
).split()


def why_not() -> str:
    """Why no container can be started here; empty where one can."""
    if not shutil.which("busybox"):
        return "no busybox, of which the container's root is made"
    return "" if os.geteuid() == 0 else "these tests start containers as root and as another user"


def why_not_as(uid: int) -> str:
    """Why this user cannot start a launcher here; empty where he can."""
    read = f"open({str(INIT / 'rootfall/errors.py')!r})"
    try:
        done = subprocess.run([PYTHON, "-ISc", read], user=uid, capture_output=True, text=True)
    except OSError as error:
        return f"user {uid} cannot start Python: {error}"
    return f"user {uid} cannot read the sources: {done.stderr.strip()[-200:]}" if done.returncode else ""


def make_root(where: Path) -> Path:
    """A root that anybody may use: busybox, and directories to mount on."""
    for name in ("bin", "proc", "dev/pts", "sys", "tmp", "etc"):
        (where / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, where / "bin/busybox")
    for name in _APPLETS:
        (where / "bin" / name).symlink_to("busybox")
    (where / "tmp").chmod(0o1777)
    (where / "dev/null").touch()  # a file will do for a shell that wants some standard input for its background
    (where / "dev/null").chmod(0o666)
    return where


def container(root: Path, *args: str, uid: int = 0, **process: Any) -> Container:
    """A container for a caller who is root, or who is `uid` and maps himself to root in a user namespace."""
    process = {"env": (PATH,), "seccomp": "unconfined"} | process
    proc = Mount("/proc", "proc", "proc", ("nosuid", "nodev", "noexec"))
    made = Container(f"test-{os.getpid()}", Root(str(root)), Process(args, **process), (proc,))
    if not uid:
        return made
    mappings = (IdMapping(0, uid, 1),)
    return made._replace(namespaces=("user", *made.namespaces), uid_mappings=mappings, gid_mappings=mappings)


def command(made: Container) -> list[str]:
    """The command line of a launcher for this container."""
    return [PYTHON, "-ISc", _LAUNCHER.format(init=str(INIT)), repr(made)]


def start(made: Container, uid: int = 0, **options: Any) -> "subprocess.Popen[str]":
    """Start it as this user; its output, both streams in one, is `stdout`."""
    who: dict[str, Any] = {"user": uid, "group": uid, "extra_groups": ()} if uid else {}
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "cwd": "/",
        "text": True,
    }
    return subprocess.Popen(command(made), **settings | who | options)


def run(made: Container, uid: int = 0, **options: Any) -> tuple[int, str]:
    """Run it to its end; its exit status and its output."""
    process = start(made, uid, **options)
    try:
        said, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said
