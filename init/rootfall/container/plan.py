# SPDX-License-Identifier: MIT
"""What a container's start will do, as data: pure, made before anything is done, so that `--plan` prints it.

Two lists, in the order of the acts: `outside`, done by the launcher on the host, and `inside`, done by the container's first
process before it executes anything. The last record is the hand-over: the root is switched before, the command runs after.
"""

from rootfall.container.model import Container, IdMapping, Mount, Process, Resources, Root
from rootfall.errors import ContainerError
from rootfall.record import NamedTuple


class MakeCgroup(NamedTuple):
    """A cgroup of the container's own, with its limits, before there is a process to limit."""

    id: str
    resources: Resources

    def __str__(self) -> str:
        """For people."""
        r = self.resources
        limits = {
            "memory.max": r.memory_max,
            "memory.swap.max": r.memory_swap_max,
            "pids.max": r.pids_max,
            "cpu.max": None if r.cpu_quota is None else f"{r.cpu_quota} {r.cpu_period}",
            "cpu.weight": r.cpu_weight,
            "cpuset.cpus": r.cpuset_cpus or None,
            "cpuset.mems": r.cpuset_mems or None,
            "io.max": "; ".join(r.io_max) or None,
        }
        where = f" in {r.parent}" if r.parent else ""
        said = ", ".join(f"{name}={value}" for name, value in limits.items() if value is not None) or "no limits"
        return f"make the cgroup {self.id}{where} with {said}"


class Clone(NamedTuple):
    """The first process, in new namespaces (clone3(2))."""

    namespaces: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        return f"start a process in new namespaces: {', '.join(self.namespaces)}"


class MapIds(NamedTuple):
    """What the ids of a new user namespace are on the host (user_namespaces(7))."""

    uids: tuple[IdMapping, ...]
    gids: tuple[IdMapping, ...]

    def __str__(self) -> str:
        """For people."""
        uids, gids = (
            ", ".join(f"{m.container_id}+{m.size} is {m.host_id} of the host" for m in each)
            for each in (self.uids, self.gids)
        )
        return f"map the ids: user {uids}; group {gids}"


class Isolate(NamedTuple):
    """Our copy of the mounts is made slave: what the host mounts still arrives, nothing of ours leaves."""

    def __str__(self) -> str:
        """For people."""
        return "make the mounts of the new namespace slaves of the host's"


class PrepareRoot(NamedTuple):
    """The root as a mount of its own: bound onto itself, or an overlay over it."""

    root: Root
    propagation: str = "private"

    def __str__(self) -> str:
        """For people."""
        path, overlay = self.root.path, self.root.overlay
        if overlay == "volatile":
            return f"lay an overlay over {path}; what is written is thrown away"
        return (
            f"lay an overlay over {path}; what is written goes to {overlay.partition(':')[0]}"
            if overlay
            else f"bind {path} onto itself"
        )


class MakeMount(NamedTuple):
    """One mount below the new root, at a place that is resolved inside of it."""

    mount: Mount

    def __str__(self) -> str:
        """For people."""
        m = self.mount
        what = (
            f"bind {m.source}" if m.type == "bind" else "make a minimal /dev" if m.type == "dev" else f"mount {m.type}"
        )
        return f"{what} on {m.destination}{' with ' + ','.join(m.options) if m.options else ''}"


class HidePaths(NamedTuple):
    """What is masked, and what is made read-only."""

    masked: tuple[str, ...]
    read_only: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        return f"mask {' '.join(self.masked) or 'nothing'}; make read-only {' '.join(self.read_only) or 'nothing'}"


class Name(NamedTuple):
    """The host name inside (sethostname(2))."""

    hostname: str

    def __str__(self) -> str:
        """For people."""
        return f"set the host name to {self.hostname}"


class BringUpLoopback(NamedTuple):
    """The interface lo of a new network namespace (netdevice(7))."""

    def __str__(self) -> str:
        """For people."""
        return "bring lo up"


class PivotRoot(NamedTuple):
    """The switch: see rootfall.pivot_root."""

    put_old: str
    readonly: bool
    propagation: str

    def __str__(self) -> str:
        """For people."""
        way = f"pivot_root with the old root on /{self.put_old.strip('/')}" if self.put_old else 'pivot_root(".", ".")'
        last = f"{'read-only and ' if self.readonly else ''}{self.propagation}"
        return f"{way}, let go of the old root, prove that /.. is /; make / {last}"


class Execute(NamedTuple):
    """Give up privileges and execute the command: by PID 1, or as it."""

    process: Process

    def __str__(self) -> str:
        """For people."""
        p = self.process
        keeps = " ".join(p.capabilities) or "no capability"
        profile = "" if p.seccomp == "unconfined" else "the default seccomp profile"
        profile = f"the seccomp program of descriptor {p.seccomp[3:]}" if p.seccomp.startswith("fd:") else profile
        limits = ", ".join(filter(None, (keeps, profile, "no_new_privs" if p.no_new_privileges else "")))
        return f"as {p.user.uid}:{p.user.gid} with {limits}, execute {' '.join(p.args)} as PID {1 if p.as_pid1 else 2}"


Outside = MakeCgroup | Clone | MapIds
Inside = Isolate | PrepareRoot | MakeMount | HidePaths | Name | BringUpLoopback | PivotRoot


class Plan(NamedTuple):
    """The launcher's acts, the first process's acts, and the hand-over that ends them."""

    outside: tuple[Outside, ...]
    inside: tuple[Inside, ...]
    handover: Execute

    def __str__(self) -> str:
        """A numbered list, for people."""
        return "\n".join(f"{n}. {step}" for n, step in enumerate((*self.outside, *self.inside, self.handover), 1))


def make_plan(container: Container) -> Plan:
    """The plan of a container. Raises ContainerError for one whose mounts would be the host's."""
    if "mount" not in container.namespaces:
        hint = "a container has a mount namespace of its own, or its mounts would be the host's"
        raise ContainerError("start", container.id, seen=f"namespaces: {' '.join(container.namespaces)}", hint=hint)
    outside: list[Outside] = []
    # One that may write to its cgroup must have one that is nobody else's.
    writes = any(each.type in ("cgroup", "cgroup2") and "rw" in each.options for each in container.mounts)
    if container.resources.asked() or writes:
        outside.append(MakeCgroup(container.id, container.resources))
    outside.append(Clone(container.namespaces))
    if "user" in container.namespaces:
        outside.append(MapIds(container.uid_mappings, container.gid_mappings))
    inside: list[Inside] = [
        Isolate(),
        PrepareRoot(container.root, container.rootfs_propagation),
        *map(MakeMount, container.mounts),
    ]
    if container.masked_paths or container.readonly_paths:
        inside.append(HidePaths(container.masked_paths, container.readonly_paths))
    if container.hostname:
        inside.append(Name(container.hostname))
    if "network" in container.namespaces:
        inside.append(BringUpLoopback())
    root = container.root
    inside.append(PivotRoot(root.put_old, root.readonly, container.rootfs_propagation))
    return Plan(tuple(outside), tuple(inside), Execute(container.process))
