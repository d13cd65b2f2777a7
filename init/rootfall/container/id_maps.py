# SPDX-License-Identifier: MIT
"""What the ids of a container's user namespace are on the host: written by the launcher (user_namespaces(7)).

An ordinary user may map his own id, once; for more, newuidmap(1) and newgidmap(1) write what /etc/subuid and /etc/subgid grant
him. Groups cannot be changed in a namespace whose map an ordinary user wrote: a group may be what keeps him out of a file.
"""

import os

from rootfall.container.model import Container, IdMapping
from rootfall.errors import ContainerError

_ENOENT = 2


def map_ids(pid: int, container: Container) -> None:
    """Write the maps of the process's user namespace, if it has one of its own. Raises ContainerError."""
    if "user" not in container.namespaces:
        return
    _map(pid, "uid", container.uid_mappings, os.geteuid())
    _map(pid, "gid", container.gid_mappings, os.getegid())


def _map(pid: int, kind: str, mappings: tuple[IdMapping, ...], own: int) -> None:
    single = len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == own
    if os.geteuid() and not single:
        _have_mapped(pid, kind, mappings, own)
        return
    if kind == "gid" and os.geteuid():
        _write(pid, "setgroups", "deny")
    _write(pid, f"{kind}_map", "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings))


def _write(pid: int, name: str, text: str) -> None:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        hint = "ranges must not overlap, and host ids must exist in the caller's own namespace: /proc/self/uid_map, gid_map"
        seen = f"{name}: {', '.join(text.splitlines())}"
        raise ContainerError(
            "map the ids of",
            f"process {pid}",
            errno=error.errno or 0,
            seen=seen,
            hint=hint if name != "setgroups" else "",
        ) from error


def _have_mapped(pid: int, kind: str, mappings: tuple[IdMapping, ...], own: int) -> None:
    program = f"new{kind}map"
    ranges = [str(number) for mapping in mappings for number in mapping]
    hear, say = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.posix_spawnp(
            program,
            (program, str(pid), *ranges),
            {},
            file_actions=((os.POSIX_SPAWN_DUP2, say, 2),),
            setsigmask=(),
        )
    except OSError as error:
        os.close(hear)
        hint = (
            f"install {program} (package uidmap), which may do so for ordinary users" if error.errno == _ENOENT else ""
        )
        raise ContainerError("map ids with", program, errno=error.errno or 0, hint=hint) from error
    finally:
        os.close(say)
    with open(hear, errors="replace") as file:
        said = file.read()
    if os.waitpid(child, 0)[1]:
        hint = lacking(kind, mappings, own)
        raise ContainerError("map ids with", program, seen=" ".join(said.split()), hint=hint)


def lacking(kind: str, mappings: tuple[IdMapping, ...], own: int) -> str:
    """The lines to add to /etc/subuid or /etc/subgid, so that these mappings are granted."""
    from rootfall.container import subordinate

    path, name, granted = f"/etc/sub{kind}", user_name(), subordinate.ranges(kind, os.getuid())
    missing = [
        f"{name}:{mapping.host_id}:{mapping.size}"
        for mapping in mappings
        if (mapping.host_id, mapping.size) != (own, 1)
        and not any(
            first <= mapping.host_id and mapping.host_id + mapping.size <= first + count for first, count in granted
        )
    ]
    if not missing:
        return f"{path} grants these ids: is new{kind}map setuid root, or does it have the capability?"
    return f"add to {path}: {', '.join(missing)}"


def user_name() -> str:
    """The caller's name, or his number where he has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
