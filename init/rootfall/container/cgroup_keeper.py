# SPDX-License-Identifier: MIT
"""The process that makes a container's cgroup directories, and removes them when the launcher says so or is no more.

A launcher that is killed removes nothing, and a cgroup outlives its processes: so the directories belong to a process of
their own, in a session of its own, that waits for the end of a pipe. It is there before the first directory is. What is left in
a cgroup is killed: by cgroup.kill, or one by one where the kernel has no such file (version 1, and Linux before 5.14).
"""

import os
import select
import time

from rootfall.container.cgroup_files import text, write
from rootfall.errors import ContainerError

_EXIST = 17  # EEXIST
_SIGKILL = 9
_PATIENCE = 10.0  # seconds that the killed have to be gone


class Keeper:
    """The launcher's side: `end` has the directories removed, and so has the launcher's own end."""

    has_made = False

    def __init__(self, directories: tuple[str, ...], leaf: str = "") -> None:
        """Have the directories made, meanwhile. With `leaf`, this process moves there first."""
        self._hear, say = os.pipe2(os.O_CLOEXEC)
        ended, self._hold = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._hear)
                os.close(self._hold)
                status = _keep(directories, leaf, say, ended)
            finally:
                os._exit(status)
        os.close(say)
        os.close(ended)

    def wait(self) -> None:
        """Wait until all directories are there. Raises ContainerError."""
        answer = os.read(self._hear, 4096).decode(errors="surrogateescape")
        self.has_made = answer == "made"
        if not self.has_made:
            raise _refused(answer)

    def forget(self) -> None:
        """In a copy of the launcher: let the keeper wait for the launcher alone."""
        os.close(self._hear)
        os.close(self._hold)

    def end(self) -> bool:
        """Have the directories removed, and wait for it; whether they are gone."""
        os.close(self._hear)
        os.close(self._hold)
        return os.waitpid(self.pid, 0)[1] == 0


def _refused(answer: str) -> ContainerError:
    errno, _, path = answer.partition(" ")
    hint = "name another --cgroup-parent, or have this one given to you"
    if errno == str(_EXIST):
        hint = f"a container of this name is running; or it and its keeper were killed: then rmdir {path}"
    return ContainerError("make the cgroup", path, errno=int(errno or 0), hint=hint)


def _keep(directories: tuple[str, ...], leaf: str, say: int, ended: int) -> int:
    """The keeper's life; returns its exit status."""
    os.setsid()  # what is typed at the terminal, and what is done to the launcher's group, is not for us
    os.chdir("/")
    made: list[str] = []
    try:
        if leaf:
            os.mkdir(leaf, 0o755)
            for pid in (os.getppid(), os.getpid()):
                write(f"{leaf}/cgroup.procs", str(pid))
        for each in directories:
            os.mkdir(each, 0o755)
            made.append(each)
        answer = "made"
    except OSError as error:
        answer = f"{error.errno} {error.filename or leaf}"
    try:
        os.write(say, answer.encode(errors="surrogateescape"))
    except OSError:
        pass  # EPIPE: the launcher is gone already
    os.dup2(ended, 0, inheritable=False)
    os.closerange(1, 1 << 20)  # whoever reads what the launcher writes need not wait for us
    os.read(0, 1)
    gone = clear(made)
    if leaf:
        _move_back(leaf)
    return 0 if gone else 1


def clear(directories: list[str]) -> bool:
    """Kill what is in these cgroups and remove them, with all that is below them; whether they are gone."""
    directories = [each for each in directories if not _is_removed(each)]
    for each in directories:
        if os.path.exists(f"{each}/pids.max"):
            _try(f"{each}/pids.max", "0")  # nobody forks while the killing goes on
    left = [each for each in directories if not _clear_one(each)]
    return not left


def _is_removed(directory: str) -> bool:
    """Most often nothing is left in it."""
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def _clear_one(directory: str) -> bool:
    until = time.monotonic() + _PATIENCE
    poll = select.poll()
    pause = 1
    while True:
        try:
            _remove(directory)
            return True
        except FileNotFoundError:
            return True
        except OSError:  # EBUSY: somebody is in it
            if time.monotonic() > until:
                return False
            if not _kill(directory, until):
                poll.poll(
                    pause
                )  # nobody is listed, and there is no event to wait for: the last one is still on its way out
                pause *= 2


def _remove(directory: str) -> None:
    """rmdir(2) from the leaves up: the container may have made cgroups of its own."""
    for each in _children(directory):
        _remove(each)
    os.rmdir(directory)


def _children(directory: str) -> list[str]:
    with os.scandir(directory) as entries:
        return [each.path for each in entries if each.is_dir(follow_symlinks=False)]


def _kill(directory: str, until: float) -> bool:
    """Kill all that is in a cgroup and below, and wait for the end of it; whether there was anything to wait for."""
    if os.path.exists(f"{directory}/cgroup.kill"):
        _try(f"{directory}/cgroup.kill", "1")
        return _emptied(directory, until)
    found = [_kill(each, until) for each in _children(directory)]
    for pid in text(f"{directory}/cgroup.procs").split():
        found.append(_kill_one(directory, pid, until))
    return any(found)


def _emptied(directory: str, until: float) -> bool:
    """Wait until cgroup.events says that nobody is left: the kernel wakes whoever polls it."""
    fd = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        waited = False
        while b"populated 1" in os.pread(fd, 4096, 0) and time.monotonic() < until:
            waited = True
            poll.poll(int(1000 * (until - time.monotonic())) + 1)
        return waited
    finally:
        os.close(fd)


def _kill_one(directory: str, pid: str, until: float) -> bool:
    try:
        process = os.pidfd_open(int(pid))
    except OSError:
        return False
    try:
        if pid not in text(f"{directory}/cgroup.procs").split():
            return False  # the number is another's by now
        os.kill(int(pid), _SIGKILL)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(int(1000 * max(until - time.monotonic(), 0)) + 1))
    except OSError:
        return False
    finally:
        os.close(process)


def _move_back(leaf: str) -> None:
    """Undo the step aside: a cgroup may hold processes again when none of its children has a controller."""
    parent = os.path.dirname(leaf)
    for controller in text(f"{parent}/cgroup.subtree_control").split():
        _try(f"{parent}/cgroup.subtree_control", f"-{controller}")
    for pid in text(f"{leaf}/cgroup.procs").split():
        _try(f"{parent}/cgroup.procs", pid)
    try:
        os.rmdir(leaf)
    except OSError:
        pass  # others moved in: it is theirs now


def _try(path: str, value: str) -> None:
    try:
        write(path, value)
    except OSError:
        pass  # what follows shows whether it mattered
