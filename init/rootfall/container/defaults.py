# SPDX-License-Identifier: MIT
"""What is asked for, by a command line or a file, into a Container: the defaults, and what cannot be together. Pure.

The defaults are those of the engines where they agree, the safer one where they do not: no capability is kept (bubblewrap),
the environment is clean, masked and read-only paths are OCI's, whoever is not root gets a user namespace.
"""

from rootfall.container.forms import AUTO
from rootfall.container.model import (
    CAPABILITIES,
    MASKED,
    NAMESPACES,
    READ_ONLY,
    Container,
    IdMapping,
    Mount,
    Process,
    Resources,
    Rlimit,
    Root,
    User,
)  # fmt: skip
from rootfall.errors import ContainerError
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Asked = dict[str, Any]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Caller(NamedTuple):
    """Who runs the container. `subordinate` finds the ranges ("uid" or "gid") that /etc/subuid and /etc/subgid give them."""

    uid: int
    gid: int
    pid: int
    environment: "Mapping[str, str]"
    subordinate: "Callable[[str], tuple[tuple[int, int], ...]]"


def make(asked: "Asked", root: str, command: tuple[str, ...], caller: Caller) -> Container:
    """The container that is asked for. Raises ContainerError where the parts do not fit."""
    root = root or asked.get("root.path", "")
    command = command or asked.get("process.args", ())
    if not root:
        raise _unfit("no root", "name a directory: rootfall container run ROOT [--] COMMAND…")
    if not command:
        raise _unfit("no command", f"say what to run: rootfall container run {root} [--] COMMAND…")
    namespaces = _namespaces(asked, caller)
    process = _process(asked, command, caller)
    uids, gids = _mappings(asked, process.user, caller) if "user" in namespaces else ((), ())
    return Container(
        asked.get("id", f"rootfall-{caller.pid}"),
        Root(root, asked.get("root.readonly", False), asked.get("root.overlay", ""), asked.get("root.put_old", "")),
        process,
        _mounts(asked, namespaces),
        namespaces,
        uids,
        gids,
        tuple(
            (clock, asked[f"time_offsets.{clock}"])
            for clock in ("boottime", "monotonic")
            if f"time_offsets.{clock}" in asked
        ),
        asked.get("hostname", ""),
        *_hidden(asked),
        _resources(asked),
        asked.get("root.propagation", "private"),
    )


def _unfit(seen: str, hint: str) -> ContainerError:
    return ContainerError("run", "a container", seen=seen, hint=hint)


def _namespaces(asked: "Asked", caller: Caller) -> tuple[str, ...]:
    needs = {
        "user": caller.uid != 0 or any(asked.get(key) is not None for key in ("uid_mappings", "gid_mappings")),
        "time": any(key.startswith("time_offsets.") for key in asked),
    }
    made = dict.fromkeys(NAMESPACES, True) | needs
    if "network" in asked:
        made["network"] = asked["network"]
    for name in NAMESPACES:
        made[name] = asked.get(f"namespaces.{name}", made[name])
    if not made["user"]:
        if any(asked.get(key) is not None for key in ("uid_mappings", "gid_mappings")):
            raise _unfit(
                "--map-users or --map-groups without a user namespace", "leave out --no-userns or --share user"
            )
        if caller.uid:
            raise _unfit("no user namespace", "only root can do without: leave out --no-userns or --share user")
    if needs["time"] and not made["time"]:
        raise _unfit("--time-offset without a time namespace", "leave out --share time")
    if asked.get("hostname") and not made["uts"]:
        raise _unfit("--hostname with --share uts", "it would rename the host: leave one of them out")
    return tuple(name for name in NAMESPACES if made[name])


def _process(asked: "Asked", command: tuple[str, ...], caller: Caller) -> Process:
    uid, gid = asked.get("process.user", (0, 0))
    terminal = asked.get("process.terminal", False)
    return Process(
        command,
        _environment(asked.get("process.env", ()), uid, terminal, caller),
        asked.get("process.cwd", "/"),
        User(
            uid, gid, tuple(dict.fromkeys(asked.get("process.additional_gids", ()))), asked.get("process.umask", 0o022)
        ),
        terminal,
        _capabilities(asked.get("process.capabilities", ()), asked.get("process.drop_capabilities", ())),
        asked.get("process.no_new_privileges", True),
        _last_of_each(asked.get("process.rlimits", ())),
        asked.get("process.oom_score_adj"),
        asked.get("process.as_pid1", False),
        asked.get("process.seccomp", "auto"),
        asked.get("process.preserve_fds", 0),
    )


def _environment(given: tuple[str, ...], uid: int, terminal: bool, caller: Caller) -> tuple[str, ...]:
    """A clean one: the caller's own may hold what is not the container's business."""
    found = {"PATH": PATH, "HOME": "/" if uid else "/root", "container": "rootfall"}
    if terminal:
        found["TERM"] = caller.environment.get("TERM", "xterm")
    for each in given:
        name, sign, value = each.partition("=")
        if sign:
            found[name] = value
        elif name in caller.environment:
            found[name] = caller.environment[name]
    return tuple([f"{name}={value}" for name, value in found.items()])


def _capabilities(added: tuple[str, ...], dropped: tuple[str, ...]) -> tuple[str, ...]:
    """Those added and not dropped; with ALL dropped, those that were added by name (as docker has it)."""
    kept = set(added) - {"ALL"}
    if "ALL" not in dropped:
        kept = (set(CAPABILITIES) if "ALL" in added else kept) - set(dropped)
    return tuple([each for each in CAPABILITIES if each in kept]) if kept else ()


def _last_of_each(limits: tuple[Rlimit, ...]) -> tuple[Rlimit, ...]:
    return tuple({limit.type: limit for limit in limits}.values())


def _mappings(asked: "Asked", user: User, caller: Caller) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    return (
        _mapping("uid", "--map-users", asked.get("uid_mappings"), user.uid, caller.uid, caller),
        _mapping("gid", "--map-groups", asked.get("gid_mappings"), user.gid, caller.gid, caller),
    )


def _mapping(
    kind: str, option: str, said: "tuple[IdMapping | str, ...] | None", inner: int, outer: int, caller: Caller
) -> tuple[IdMapping, ...]:
    """Without a word: whoever runs it is whoever it runs as; for root, who would map only himself, what /etc/subuid has."""
    if said is None:
        said = (IdMapping(inner, outer, 1),) if caller.uid else (AUTO,)
    found: list[IdMapping] = []
    for each in said:
        found += _subordinate(kind, option, outer, caller) if isinstance(each, str) else (each,)
    if not any(m.container_id <= inner < m.container_id + m.size for m in found):
        raise _unfit(f"{kind} {inner} is not mapped", f"map it with {option}, or choose another with --user")
    return tuple(found)


def _subordinate(kind: str, option: str, outer: int, caller: Caller) -> list[IdMapping]:
    """The ranges that are the caller's; before them the caller as 0, unless that is root."""
    ranges = caller.subordinate(kind)
    if not ranges:
        hint = f"add a line there, or say it: {option} 0:{outer if caller.uid else 100000}:{1 if caller.uid else 65536}"
        raise _unfit(f"no range for {kind} {outer} in /etc/sub{kind}", hint)
    mappings = [IdMapping(0, outer, 1)] if caller.uid else []
    for first, size in ranges:
        mappings.append(IdMapping(sum([each.size for each in mappings]), first, size))
    return mappings


def _mounts(asked: "Asked", namespaces: tuple[str, ...]) -> tuple[Mount, ...]:
    def wanted(name: str, default: bool) -> bool:
        return bool(asked.get(f"default_mounts.{name}", default))

    found = []
    if wanted("proc", True):
        found.append(Mount("/proc", "proc", "proc"))
    dev = wanted("dev", True)
    mqueue = wanted("mqueue", dev and "ipc" in namespaces)
    if dev:
        found.append(Mount("/dev", "dev", "dev", ("mqueue",) if mqueue else ()))
    elif mqueue:
        found.append(Mount("/dev/mqueue", "mqueue", "mqueue"))
    if wanted("sysfs", "network" in namespaces):
        found.append(Mount("/sys", "sysfs", "sysfs", ("ro",)))
    return (*found, *asked.get("mounts", ()))


def _hidden(asked: "Asked") -> tuple[tuple[str, ...], tuple[str, ...]]:
    shown = asked.get("unmasked_paths", ())
    if "ALL" in shown:
        return asked.get("masked_paths", ()), ()
    hidden = (*MASKED, *asked.get("masked_paths", ()))
    if not shown:
        return hidden, READ_ONLY
    return tuple(each for each in hidden if each not in shown), tuple(each for each in READ_ONLY if each not in shown)


def _resources(asked: "Asked") -> Resources:
    def limit(name: str) -> int | None:
        value = asked.get(f"resources.{name}")
        return None if value == -1 else value

    memory, swap = limit("memory_max"), limit("memory_swap_max")
    together = limit("memory_swap")
    if together is not None:
        if memory is None or together < memory:
            raise _unfit("--memory-swap", "it is memory and swap together: it needs --memory, and cannot be less")
        swap = together - memory
    quota = asked.get("resources.cpus")
    return Resources(
        memory,
        swap,
        limit("pids_max"),
        quota,
        cpu_weight=asked.get("resources.cpu_weight"),
        cpuset_cpus=asked.get("resources.cpuset_cpus", ""),
        cpuset_mems=asked.get("resources.cpuset_mems", ""),
        io_max=asked.get("resources.io_max", ()),
        parent=asked.get("resources.parent", ""),
    )
