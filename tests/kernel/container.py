# SPDX-License-Identifier: MIT
"""Starts containers for the tests: from a small root of busybox, as root or as an ordinary user, in a process of their own.

That process may be given a host of its own first (`before`): another mount namespace, a filter of system calls. What the
container must not change is this machine: `unchanged` compares its mounts.
"""

import ctypes
import os
import select
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rootfall.container import launch
from rootfall.container.model import Container, IdMapping, Mount, Process, Root
from rootfall.errors import RootfallError
from rootfall.linux import libc
from tests.kernel import namespace, sources

NOBODY = 65534
LIMIT = 60.0  # seconds for a container that takes a hundredth of one
PROC = Mount("/proc", "proc", "proc")
MOUNTS = (PROC, Mount("/sys", "sysfs"), Mount("/dev", "dev"))
ALL = ("CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_CHOWN")
_APPLETS = (
    "cat chmod echo find grep head id ln ls mkdir mknod mount mv pwd readlink rm rmdir sh stat test touch true umount"
)


class Done(NamedTuple):
    """How a container ended."""

    status: int
    out: str
    err: str


class World(NamedTuple):
    """A directory for a test, the user's who runs it: `root` to be entered, `host` that must stay as it is."""

    root: Path
    host: Path
    uid: int


def make_world(place: Path, uid: int) -> World:
    """A root with busybox and a directory of the host's that the root's links point at."""
    world = World(place / "root", place / "host", uid)
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (world.root / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", world.root / "bin/busybox")
    for name in _APPLETS.split():
        (world.root / "bin" / name).symlink_to("busybox")
    world.host.mkdir()
    (world.host / "passwd").write_text("the host's\n")
    give(place, uid)
    for above in place.parents:
        if above.is_relative_to(tempfile.gettempdir()) and above.stat().st_uid == os.getuid() and above != Path("/tmp"):
            above.chmod(above.stat().st_mode | 0o011)  # 0711: one may pass, and not look
    return world


def give(place: Path, uid: int) -> None:
    """Give a directory and what is in it to a user."""
    if not os.geteuid():
        for each in (place, *place.rglob("*")):
            os.chown(each, uid, uid, follow_symlinks=False)


def container(
    world: World, command: str, root: Root | None = None, uid: int | None = None, **changes: object
) -> Container:
    """A container of a world that runs a shell command; `changes` replace fields of the record."""
    process = Process(("/bin/sh", "-c", command), ("PATH=/bin",), capabilities=ALL, seccomp="unconfined")
    made = Container("test", root or Root(str(world.root)), process, MOUNTS)
    if uid if uid is not None else world.uid:
        maps = (IdMapping(0, world.uid, 1),)
        made = made._replace(namespaces=("user", *made.namespaces), uid_mappings=maps, gid_mappings=maps)
    return made._replace(**changes)  # type: ignore[arg-type]


def start(asked: Container, uid: int = 0, before: Callable[[], None] | None = None) -> Done:
    """Run a container in a process of its own, as this user; `before` is done in it first."""
    (out, out_write), (err, err_write) = os.pipe(), os.pipe()
    for each in (out_write, err_write) if uid else ():
        os.fchown(each, uid, uid)  # so that it can be opened by name: /dev/stdout

    def child() -> None:
        os.setpgid(0, 0)
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, standard in ((null, 0), (out_write, 1), (err_write, 2)):
            os.dup2(fd, standard)
        if before is not None:
            before()
        if uid:
            sources.import_container_mode()
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            libc_ = ctypes.CDLL(None)
            libc_.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its /proc files are its own again
        try:
            status = launch.run(asked)
        except RootfallError as error:
            os.write(2, f"rootfall: {error}\n".encode())
            status = getattr(error, "status", 125)
        os._exit(status)

    pid = namespace.fork(child)
    os.close(out_write)
    os.close(err_write)
    said = _read(pid, (out, err))
    return Done(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said[out], said[err])


def run(world: World, command: str, before: Callable[[], None] | None = None, **more: object) -> Done:
    """The same for a container of a world."""
    return start(container(world, command, **more), world.uid, before)  # type: ignore[arg-type]


def _read(pid: int, pipes: tuple[int, int]) -> dict[int, str]:
    said, left = dict.fromkeys(pipes, b""), list(pipes)
    while left:
        ready = select.select(left, [], [], LIMIT)[0]
        if not ready:
            os.killpg(pid, 9)
            raise AssertionError(f"the container has not ended within {LIMIT:g} s; so far: {said}")
        for fd in ready:
            data = os.read(fd, 65536)
            said[fd] += data
            if not data:
                left.remove(fd)
                os.close(fd)
    return {fd: data.decode(errors="replace") for fd, data in said.items()}


def tree(place: Path) -> dict[str, tuple[int, int, bytes]]:
    """All of a directory: each file's mode, owner and contents."""
    return {
        str(each): (each.lstat().st_mode, each.lstat().st_uid, each.read_bytes() if each.is_file() else b"")
        for each in (place, *place.rglob("*"))
    }


@contextmanager
def unchanged(world: World) -> Iterator[None]:
    """That the machine's mounts, and the host's directory of the world, are afterwards what they were."""
    mounts, files = Path("/proc/self/mountinfo").read_text(), tree(world.host)
    yield
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert tree(world.host) == files


def own_mounts() -> None:
    """A mount namespace of the process's own, shared with nobody, to stand for the host's."""
    namespace.unshare(namespace.CLONE_NEWNS)
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)


# x86-64 and all that share the numbers of newer calls (asm-generic/unistd.h).
OPENAT2 = (437,)
NEW_MOUNT_API = (428, 429, 430, 431, 432, 442)  # open_tree, move_mount, fsopen, fsconfig, fsmount, mount_setattr
MOUNT_SETATTR = (442,)
PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41


def without(numbers: tuple[int, ...], errno: int = 38) -> None:
    """Have the kernel answer ENOSYS to these calls from now on, as an older one would (seccomp(2))."""
    rules = [(0x20, 0, 0, 0)]  # BPF_LD: the number
    for index, number in enumerate(numbers):
        rules.append((0x15, len(numbers) - index, 0, number))  # BPF_JEQ: to the last
    rules += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno)]
    code = b"".join(struct.pack("HBBI", *each) for each in rules)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    assert library.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert library.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP
    sys.stderr.flush()
