# SPDX-License-Identifier: MIT
"""A host for containers: namespaces of its own, in which nothing changes but by the container that runs in it.

`run` calls a test there as PID 1, so that whatever a container leaves behind becomes a child of the test's: `reap` waits for
the end of the last one. /tmp and /run are the test's own directories. `Host.look` is all that a container might have changed,
as a record to compare.
"""

import hashlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

import rootfall
from rootfall.linux import libc
from rootfall_qemu.console import Console
from tests.kernel import namespace

PYTHON = os.path.realpath(sys.executable)
# As the frozen program starts: SIGINT ends it as it ends any program.
START = """\
import _signal, sys
_signal.signal(2, _signal.SIG_DFL)
sys.path.insert(0, "/tmp/init")
from rootfall.container.command import main
sys.exit(main(sys.argv[1:]))
"""
NOBODY = 65534
BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "true", "false", "cat", "echo", "id", "ls", "mkdir", "rm", "sleep", "touch", "mount", "ps", "kill")
EMPTY = hashlib.sha256().hexdigest()  # what `files` says of an empty file
DEADLINE = 60  # seconds for one container, which takes milliseconds
LIMIT = 3600.0  # seconds for as many as somebody may ask for


@dataclass(frozen=True)
class Look:
    """What a host looks like."""

    mounts: str
    processes: tuple[str, ...]
    interfaces: tuple[str, ...]
    cgroups: tuple[str, ...]
    files: tuple[tuple[object, ...], ...]
    hostname: str

    def difference(self, other: "Look") -> str:
        """What is not the same, for people."""
        return "\n".join(
            f"{name}:\n  before {getattr(self, name)}\n  after  {getattr(other, name)}"
            for name in self.__dataclass_fields__
            if getattr(self, name) != getattr(other, name)
        )


class Host:
    """The host, from inside. `uid` starts the containers."""

    def __init__(self, name: str, uid: int) -> None:
        """`name` begins the names of all containers here, for cgroups have no namespace on the outside."""
        self.name, self.uid = name, uid
        self.started = 0

    def start(self, *words: str, command: str = "run", streams: int | None = None) -> "subprocess.Popen[bytes]":
        """`rootfall container COMMAND WORDS`, as the host's user; with `streams`, a descriptor, as what it reads and writes."""
        self.started += 1
        line = [PYTHON, "-ISc", START, command, "--name", f"{self.name}-{self.started}", *words]
        them = {} if self.uid == os.geteuid() else {"user": self.uid, "group": self.uid, "extra_groups": []}
        names = ("stdin", "stdout", "stderr")
        pipes = dict(zip(names, (subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE), strict=True))
        if streams is not None:
            pipes = dict.fromkeys(names, streams)
        return subprocess.Popen(line, **pipes, **them, env={"PATH": "/usr/bin:/bin"}, cwd="/")  # type: ignore[call-overload, no-any-return]

    def run(self, *words: str, command: str = "run") -> tuple[int, bytes, bytes]:
        """The exit status of such a command and what it said, once nothing is left of it."""
        return self.end(self.start(*words, command=command))

    def end(self, launcher: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
        """Wait for a launcher and for all that it leaves behind; its exit status, and what was said."""
        signal.signal(signal.SIGALRM, self._late)
        signal.alarm(DEADLINE)
        out, error = (each.read() if each else b"" for each in (launcher.stdout, launcher.stderr))
        launcher.wait()
        reap()
        signal.alarm(0)
        for each in (launcher.stdout, launcher.stderr):
            if each:
                each.close()
        return launcher.returncode, out, error

    def _late(self, *_: object) -> None:
        raise AssertionError(f"after {DEADLINE} s there are still {list(processes())}")

    def look(self) -> Look:
        """All that a container might have changed."""
        return Look(
            Path("/proc/self/mountinfo").read_text(),
            tuple(processes()),
            tuple(sorted(name for _, name in socket.if_nameindex())),
            tuple(self._cgroups()),
            tuple(entry for top in ("/tmp", "/run") for entry in files(top)),
            os.uname().nodename,
        )

    def _cgroups(self) -> Iterator[str]:
        for directory, names, _ in os.walk("/sys/fs/cgroup"):
            yield from (f"{directory}/{name}" for name in names if self.name in name)


def processes() -> Iterator[str]:
    """The processes here, each with its command line."""
    for pid in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ")
        except FileNotFoundError:
            continue
        yield f"{pid} {words.decode(errors='replace')}"


def files(top: str) -> Iterator[tuple[object, ...]]:
    """Each file below a directory: its name, its inode's fields, and what is in it."""
    with os.scandir(top) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            info = entry.stat(follow_symlinks=False)
            content = ""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(entry.path)
            yield (
                entry.path,
                info.st_ino,
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_nlink,
                info.st_mtime_ns,
                content,
            )
            if stat.S_ISDIR(info.st_mode):
                yield from files(entry.path)


def reap() -> None:
    """Wait until this process has no child, adopted ones included."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def wait_for_end(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether a process ends by itself within this time."""
    descriptor = os.pidfd_open(process.pid)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def prepare(directory: Path, uid: int) -> None:
    """The files of a host, below `directory`: our program, a root with busybox, a place for /tmp and /run. Once only."""
    if (directory / "run").exists():
        return
    for package in (rootfall, yaml):
        ours = Path(str(package.__file__)).parent
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ours, directory / "tmp/init" / ours.name, ignore=ignored)
    subprocess.run([PYTHON, "-ISm", "compileall", "-q", directory / "tmp/init"], check=True)
    root = directory / "tmp/root"
    for name in ("bin", "dev", "proc", "sys", "etc", "tmp", "mnt", "root"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (directory / "tmp/data").mkdir()
    (directory / "tmp/data/file").write_text("the host's\n")
    (directory / "run").mkdir()
    for path in (directory / "tmp", *(directory / "tmp").rglob("*")) if uid else ():
        os.chown(path, uid, uid, follow_symlinks=False)


def run(directory: Path, uid: int, test: Callable[[Host], None]) -> None:
    """Call `test` in a host of its own, made below `directory`, as PID 1 there; containers are started by `uid`."""
    prepare(directory, uid)
    name = f"host-{os.getpid()}-{directory.name}"[:64]

    def inside() -> None:
        for place in ("run", "tmp"):  # the directory may be below /tmp: then it is out of sight from there on
            libc.mount(f"{directory}/{place}", f"/{place}", None, libc.MS_BIND)
        for place in ("/", "/dev"):  # a container of / cannot change the machine
            libc.mount(None, place, None, libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY)
        libc.mount("proc", "/proc", "proc")
        test(Host(name, uid))

    namespace.run(inside, LIMIT)


class Answer(NamedTuple):
    """How a command that was asked for from outside ended, and what it changed on the host (empty: nothing)."""

    status: int
    error: str
    changed: str


@contextmanager
def served(directory: Path, uid: int, allow: Callable[[Look], Look]) -> Iterator[Callable[[list[str]], Answer]]:
    """A host that runs what it is asked to, for tests that cannot be in there. `allow` takes out what may change."""
    here, there = socket.socketpair()

    def serve(host: Host) -> None:
        before = host.look()
        for line in there.makefile("r"):
            status, _, error = host.run(*json.loads(line))
            changed = allow(before).difference(allow(host.look()))
            answer = Answer(status, error.decode(errors="replace"), changed)
            there.sendall(json.dumps(answer).encode() + b"\n")

    def inside() -> None:
        here.close()
        run(directory, uid, serve)

    process = namespace.fork(inside)
    there.close()
    answers = here.makefile("r")

    def ask(words: list[str]) -> Answer:
        here.sendall(json.dumps(words).encode() + b"\n")
        line = answers.readline()
        assert line, "the host is gone; what it said is on standard error"
        return Answer(*json.loads(line))

    try:
        yield ask
    finally:
        answers.close()
        here.close()
        os.waitpid(process, 0)


class Booted:
    """A root that boots as a container of a host of its own: its console, and how it ends."""

    def __init__(self, directory: Path, uid: int, words: tuple[str, ...]) -> None:
        """Start it; `words` follow `rootfall container boot`."""
        here, there = socket.socketpair()
        self._control, inside = socket.socketpair()
        self._process = namespace.fork(lambda: run(directory, uid, lambda host: _boot(host, words, there, inside)))
        there.close()
        inside.close()
        self.console = Console(here)

    def signal(self, number: int) -> None:
        """Send the launcher a signal."""
        self._control.sendall(bytes([number]))

    def end(self) -> Answer:
        """Wait for the end; the exit status, what was said, what was changed on the host."""
        self.console.wait_end(DEADLINE, "the end of the container")
        self._control.settimeout(DEADLINE)
        answer = Answer(*json.loads(self._control.makefile().readline()))
        return answer._replace(error=self.console.log)

    def close(self) -> None:
        """Leave nothing behind, however the test went."""
        self._control.close()
        os.waitpid(self._process, 0)
        self.console.close()


def _boot(host: Host, words: tuple[str, ...], streams: socket.socket, control: socket.socket) -> None:
    before = host.look()
    launcher = host.start(*words, command="boot", streams=streams.fileno())
    streams.close()
    ended = os.pidfd_open(launcher.pid)
    while ended not in (ready := select.select([ended, control.fileno()], [], [])[0]):
        number = control.recv(1) if ready else b""
        launcher.send_signal(number[0] if number else signal.SIGKILL)  # the test is over: it need not be gentle
        if not number:
            break
    status, _, _ = host.end(launcher)
    control.sendall(json.dumps(Answer(status, "", before.difference(host.look()))).encode() + b"\n")


def users() -> list[int]:
    """Who can start containers in these tests."""
    return [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()]


def check_machine() -> None:
    """Skip the test where the machine lacks something for it."""
    if not os.access(BUSYBOX, os.X_OK):
        pytest.skip("no /bin/busybox (Debian package busybox-static)")
