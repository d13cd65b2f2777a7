# SPDX-License-Identifier: MIT
"""The namespaces of a container: the first process in them, its ids, its names (namespaces(7), user_namespaces(7))."""

import os

from rootfall.container.model import Container, IdMapping
from rootfall.errors import ContainerError
from rootfall.linux import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.cgroups import Cgroup

# A cgroup namespace's root is the cgroup that its maker is in: it is made later, from inside (cgroup_namespaces(7)).
_LATER = {"cgroup", "time"}


def start(container: Container, group: "Cgroup | None") -> tuple[int, int]:
    """Start the first process; returns its pid and pidfd, (0, -1) in it. Raises ContainerError."""
    flags = 0
    for name in container.namespaces:
        flags |= 0 if name in _LATER else namespaces.FLAGS[name]
    try:
        return namespaces.clone3(flags, group.descriptor if group is not None else -1)
    except OSError as error:
        raise ContainerError("make the namespaces", " ".join(container.namespaces), errno=error.errno or 0) from error


def map_ids(pid: int, container: Container) -> None:
    """Say what the ids of the process's user namespace are on the host, if it has one."""
    if "user" not in container.namespaces:
        return
    _write(pid, "setgroups", "deny")
    _write(pid, "uid_map", _lines(container.uid_mappings))
    _write(pid, "gid_map", _lines(container.gid_mappings))


def _lines(mappings: tuple[IdMapping, ...]) -> str:
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)


def _write(pid: int, name: str, text: str) -> None:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise ContainerError(
            "map the ids of", f"process {pid}", errno=error.errno or 0, seen=f"{name}: {text}"
        ) from error


def settle(container: Container) -> None:
    """In the first process, once its ids are mapped and it is in its cgroup: what could not be done from outside."""
    if "cgroup" in container.namespaces:
        namespaces.unshare(namespaces.CLONE_NEWCGROUP)


def name(hostname: str) -> None:
    """Set the host name (sethostname(2))."""
    namespaces.sethostname(hostname)


def bring_up_loopback() -> None:
    """Bring the interface lo up (netdevice(7))."""
