# SPDX-License-Identifier: MIT
"""What a container is, as records: pure, immutable, close to the OCI runtime-spec's config.json so that one can be made of it.

The names are the runtime-spec's, or the kernel's where that has none: its own words for a cgroup v2 file, for a namespace.
"""

from rootfall.record import NamedTuple

NAMESPACES = ("user", "mount", "pid", "network", "uts", "ipc", "cgroup", "time")

# Each at the place of its number (linux/capability.h, asm-generic/resource.h).
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
        "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
        "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
RLIMITS = tuple(
    f"RLIMIT_{name}"
    for name in "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
)

# What of /proc and /sys a container is not shown, or not let write: the defaults of OCI runtimes.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class IdMapping(NamedTuple):
    """`size` ids from `container_id` on are `host_id` on (user_namespaces(7))."""

    container_id: int
    host_id: int
    size: int


class Rlimit(NamedTuple):
    """A limit of setrlimit(2): the name as "RLIMIT_NOFILE"; -1 is RLIM_INFINITY."""

    type: str
    soft: int
    hard: int


class Mount(NamedTuple):
    """One mount, in the order in which they are made.

    `type` is a file system's (tmpfs, proc, sysfs, mqueue, devpts, …), "bind" for a file or tree of the host's, "dev" for a
    minimal /dev, "cgroup" for a view of its own cgroup. `destination` is absolute and meant below the new root. `options` are
    mount(8)'s words: ro (this mount), rro (all below it, too), rw, noexec, bind, rbind, size=…, mode=…; nosuid and nodev are
    there unless suid or dev is said.
    """

    destination: str
    type: str
    source: str = ""
    options: tuple[str, ...] = ()


class Root(NamedTuple):
    """The directory that becomes /.

    `overlay`: "" for the directory itself, "volatile" to throw all changes away, "UPPER:WORK" to keep them there.
    `put_old`: empty for pivot_root(".", "."), else the directory below the new root that the old root is put on for a moment.
    """

    path: str
    readonly: bool = False
    overlay: str = ""
    put_old: str = ""


class User(NamedTuple):
    """Ids as the container sees them; `umask` None leaves the caller's."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = 0o022


class Stop(NamedTuple):
    """How an init is asked to end: a signal to PID 1, and the seconds after which it is killed."""

    signal: int
    seconds: int


class Process(NamedTuple):
    """What is executed, and as what. `env` is all of it, "NAME=value"; `capabilities` are what it keeps, "CAP_CHOWN"."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: User = User()
    terminal: bool = False
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = True
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    as_pid1: bool = False
    seccomp: str = (
        "auto"  # "default", "unconfined", "fd:N" of a BPF program; "auto": default, where this machine has one
    )
    preserve_fds: int = 0  # descriptors 3 to 2 + preserve_fds reach the command
    consoles: tuple[str, ...] = ()  # what below /dev is its terminal, too: "console"
    stop: Stop | None = None  # of an init; of others the launcher's signals are their own business


class Resources(NamedTuple):
    """Limits of cgroups(7); None leaves one alone. Bytes, tasks, microseconds; `io_max` lines are those of io.max."""

    memory_max: int | None = None
    memory_swap_max: int | None = None
    pids_max: int | None = None
    cpu_quota: int | None = None
    cpu_period: int = 100_000
    cpu_weight: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    io_max: tuple[str, ...] = ()
    parent: str = ""  # the cgroup in which the container's is made, by its path; empty: near the launcher's

    def asked(self) -> bool:
        """Whether any limit is set."""
        return self != Resources()


class Container(NamedTuple):
    """A container. `id` names its cgroup and is no path; `namespaces` those that are made, of NAMESPACES."""

    id: str
    root: Root
    process: Process
    mounts: tuple[Mount, ...] = ()
    namespaces: tuple[str, ...] = ("mount", "pid", "network", "uts", "ipc", "cgroup")
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    time_offsets: tuple[tuple[str, int], ...] = ()  # ("boottime", seconds), ("monotonic", seconds)
    hostname: str = ""
    masked_paths: tuple[str, ...] = MASKED
    readonly_paths: tuple[str, ...] = READ_ONLY
    resources: Resources = Resources()
    rootfs_propagation: str = "private"  # private, slave, shared, unbindable: of / in the end
