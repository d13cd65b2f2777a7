# SPDX-License-Identifier: MIT
"""The namespaces of a container: the first process in them, what must be done from inside, names (namespaces(7)).

One clone3(2) makes them, the process, a pidfd, and puts it into its cgroup. Two kinds come later, from inside: a cgroup
namespace's root is the cgroup that its maker is in, and the clocks of a time namespace are set before anybody is in it.
"""

import os

from rootfall.container.model import Container
from rootfall.container.wait import First
from rootfall.errors import ContainerError
from rootfall.linux import namespaces, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.cgroups import Cgroup

_LATER = {"cgroup", "time"}
_E2BIG, _EINVAL, _ENOSYS = 7, 22, 38


def start(container: Container, group: "Cgroup | None") -> First:
    """Start the first process; its pid is 0 in itself. Raises ContainerError that says what forbids it."""
    flags = 0
    for name in container.namespaces:
        flags |= 0 if name in _LATER else namespaces.FLAGS[name]
    cgroup = group.descriptor() if group is not None else -1
    try:
        first = clone(flags, cgroup)
    except OSError as error:
        from rootfall.container import refusal

        raise refusal.explain(container.namespaces, error) from error
    return first._replace(stop=signals.SIGSTOP) if container.process.as_pid1 else first


def clone(flags: int, cgroup: int) -> First:
    """clone3(2) into the cgroup; without the cgroup before Linux 5.7; clone(2) where seccomp or age forbid clone3."""
    try:
        return First(*namespaces.clone3(flags, cgroup), cgroup >= 0)
    except OSError as error:
        if error.errno not in (_E2BIG, _EINVAL, _ENOSYS) or (error.errno != _ENOSYS and cgroup < 0):
            raise
        if error.errno == _ENOSYS:
            return First(*namespaces.clone(flags))
    return First(*namespaces.clone3(flags))


def tie_to_launcher(go: int, number: int = signals.SIGKILL) -> None:
    """PR_SET_PDEATHSIG: when the launcher goes, PID 1 goes, and everything in its namespace with it.

    A launcher that went before would not be noticed, but for its end of the pipe `go`. Changes of ids undo this (prctl(2)).
    """
    import select

    namespaces.prctl(namespaces.PR_SET_PDEATHSIG, number)
    poll = select.poll()
    poll.register(go, 0)
    if poll.poll(0):  # POLLHUP, which is always looked for
        os._exit(128 + signals.SIGKILL)


def stand_in_for_pid_1(go: int) -> int:
    """In the host's PID namespace: become the parent of all orphans below; returns a descriptor to read who they are.

    A signal tells when the launcher is gone, for here nobody else would end what is left.
    """
    signals.block((signals.LAUNCHER_GONE,))
    tie_to_launcher(go, signals.LAUNCHER_GONE)
    namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
    return os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)


def unmapped_ids(container: Container) -> tuple[int, int] | None:
    """The user and group that the first process takes where its user namespace has none for the caller's; None where it has.

    To be asked on the host. Who has no id there can have nothing made: it would belong to nobody (EOVERFLOW).
    """
    if "user" not in container.namespaces:
        return None
    mapped = container.uid_mappings, container.gid_mappings
    if all(
        any(each.host_id <= own < each.host_id + each.size for each in mappings)
        for mappings, own in zip(mapped, (os.geteuid(), os.getegid()), strict=True)
    ):
        return None
    uid, gid = (min((each.container_id for each in mappings), default=0) for mappings in mapped)
    return uid, gid


def take_ids(uid: int, gid: int) -> None:
    """Become a user of the namespace, with all capabilities in it. It undoes a tie to the launcher (prctl(2))."""
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # Else its own files in /proc are the host's root's, and closed to it; `settle` takes that back.
    namespaces.prctl(namespaces.PR_SET_DUMPABLE, 1)


def settle(container: Container) -> None:
    """In the first process, once its ids are mapped and it is in its cgroup: what could not be done from outside.

    At the end it cannot be looked into from below: neither /proc/1/exe, which is a file of the host's, nor its memory nor its
    descriptors (CVE-2019-5736), nor the launcher's command line and environment. What it executes, can.
    """
    os.setsid()
    namespaces.set_title(f"rootfall {container.id}")
    try:
        if "time" in container.namespaces:
            enter_time(container.time_offsets)
        if "cgroup" in container.namespaces:
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)
    except OSError as error:
        from rootfall.container import refusal

        raise refusal.explain([each for each in container.namespaces if each in _LATER], error) from error
    namespaces.prctl(namespaces.PR_SET_DUMPABLE, 0)


def enter_time(offsets: tuple[tuple[str, int], ...]) -> None:
    """A new time namespace with its clocks so many seconds ahead; this process enters it, too (time_namespaces(7))."""
    namespaces.unshare(namespaces.CLONE_NEWTIME)
    if offsets:
        text = "".join(f"{clock} {seconds} 0\n" for clock, seconds in offsets)
        try:
            with open("/proc/self/timens_offsets", "w") as file:
                file.write(text)
        except OSError as error:
            hint = "clocks can be set back to 0 at most" if error.errno == 34 else ""
            seen = text.replace("\n", " ").strip()
            raise ContainerError("set the clocks", seen, errno=error.errno or 0, hint=hint) from error
    fd = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(fd, namespaces.CLONE_NEWTIME)
    os.close(fd)


def name(hostname: str) -> None:
    """Set the host name (sethostname(2)). Raises ContainerError."""
    try:
        namespaces.sethostname(hostname)
    except OSError as error:
        hint = "at most 64 bytes" if error.errno == _EINVAL else ""
        raise ContainerError("set the host name", hostname, errno=error.errno or 0, hint=hint) from error


def bring_up_loopback() -> None:
    """Bring the interface lo up (netdevice(7)). Raises ContainerError."""
    try:
        namespaces.bring_up("lo")
    except OSError as error:
        raise ContainerError("bring up", "lo", errno=error.errno or 0) from error
