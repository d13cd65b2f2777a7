# SPDX-License-Identifier: MIT
"""The options of `rootfall container run`, one table: for the parser, the keys of the file, the help and its manual.

A new option is a row here, and a line in `defaults` where it sets something new. Names are those that people know from
bubblewrap, docker, podman, runc and util-linux; the keys are the runtime-spec's words, or the kernel's.
"""

from rootfall.container import forms
from rootfall.container.forms import Form
from rootfall.record import NamedTuple

Row = tuple[str, Form, str, str]

ONLY_WORDS = ("config", "plan", "help")  # what is no key of the file
_FILE = Form("FILE", "a file", forms.line)
_NEW_DIRECTORY = forms.PLACE._replace(metavar="DIR")
_CGROUP = Form("PATH", 'a path from the root of the hierarchy, without ".."', forms.inside)

USAGE = """\
usage: rootfall container run [OPTIONS] ROOT [--] COMMAND [ARGUMENT…]
       rootfall container run --config FILE [OPTIONS] [ROOT] [-- COMMAND…]
"""

# Names, the form of the value, the key in the file ("" for what sets several), one line of help. A key that ends in + is a
# list: each option adds to it. Plain tuples: making records of them at every start would cost more than looking one up.
GROUPS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    ("The run", (
        ("--config", _FILE, "config", "Read FILE (YAML) first; what is said here wins."),
        ("--plan", forms.FLAG, "plan", "Print what would be done, and do nothing."),
        ("--name --id", forms.NAME, "id", "The container's name, also of its cgroup."),
        ("--help -h", forms.FLAG, "help", "Print this."),
    )),
    ("The root", (
        ("--read-only", forms.FLAG, "root.readonly", "Make / read-only."),
        ("--volatile", forms.VOLATILE, "root.overlay", "Throw away what is written to /."),
        ("--overlay", forms.OVERLAY, "root.overlay", "Keep what is written to / in UPPER, not in ROOT."),
        ("--put-old", _NEW_DIRECTORY, "root.put_old", "Put the old root on DIR while the root is switched."),
        ("--propagation", forms.PROPAGATION, "root.propagation", "How mounts below / propagate; private by default."),
    )),
    ("Mounts, in the order given", (
        ("--bind --volume -v", forms.BIND, "mounts+", "Show a file or tree of the host's; OPTS as ro,noexec."),
        ("--ro-bind", forms.RO_BIND, "mounts+", "Read-only; what is mounted below it is not."),
        ("--rro-bind", forms.RRO_BIND, "mounts+", "Read-only, with all that is mounted below it."),
        ("--tmpfs", forms.TMPFS, "mounts+", "An empty one in memory; OPTS as size=64M."),
        ("--proc", forms.FLAG, "default_mounts.proc", "Mount /proc; done by default."),
        ("--sysfs", forms.FLAG, "default_mounts.sysfs", "Mount /sys, read-only; done unless --network host."),
        ("--dev", forms.FLAG, "default_mounts.dev", "Make a minimal /dev; done by default."),
        ("--mqueue", forms.FLAG, "default_mounts.mqueue", "Mount /dev/mqueue; done by default."),
        ("--mask", forms.PLACE, "masked_paths+", "Hide one more file or directory of the root's."),
        ("--unmask", forms.UNMASKED, "unmasked_paths+", "Show one that is hidden, or let it be written."),
    )),
    ("Users and namespaces", (
        ("--user -u", forms.USER, "process.user", "Run as these; 0:0 by default; UID alone: UID:UID."),
        ("--groups", forms.GROUP, "process.additional_gids+", "One more group; may be repeated."),
        ("--userns", forms.FLAG, "namespaces.user", "Make a user namespace; done unless root asks."),
        ("--map-users", forms.MAPPING, "uid_mappings+", "COUNT ids from IN on are OUT… outside; or auto."),
        ("--map-groups", forms.MAPPING, "gid_mappings+", "The same for groups."),
        ("--network", forms.NETWORK, "network", "none: lo alone, the default; or the host's."),
        ("--share", forms.SHARE, "", "Do not make these namespaces; leave the host's."),
        ("--unshare", forms.UNSHARE, "", "Make these; all but user and time are anyway."),
        ("--hostname", forms.HOSTNAME, "hostname", "The host name inside."),
        ("--time-offset", forms.OFFSET, "", "Set a clock ahead or back, in a time namespace."),
    )),
    ("The process", (
        ("--env --setenv -e", forms.VARIABLE, "process.env+", "Set a variable, or pass the caller's on."),
        ("--cwd --workdir -w", forms.INSIDE, "process.cwd", "The working directory; / by default."),
        ("--umask", forms.UMASK, "process.umask", "The file mode creation mask; 022 by default."),
        ("--tty -t", forms.FLAG, "process.terminal", "Give it a terminal of its own (a pty)."),
        ("--as-pid1", forms.FLAG, "process.as_pid1", "Run it as PID 1, without a reaper: for an init."),
        ("--init", forms.INVERTED, "process.as_pid1", "Run it as PID 2 below a reaper: the default."),
        ("--cap-add", forms.CAPABILITY, "process.capabilities+", "Keep a capability; none is kept by default."),
        ("--cap-drop", forms.CAPABILITY, "process.drop_capabilities+", "Of those added, keep this one not."),
        ("--no-new-privs", forms.FLAG, "process.no_new_privileges", "Nothing it executes gains any; the default."),
        ("--seccomp", forms.SECCOMP, "process.seccomp", "Refuse dangerous system calls; done by default."),
        ("--seccomp-fd", forms.DESCRIPTOR, "process.seccomp", "The same by a BPF program (struct sock_filter[])."),
        ("--rlimit --ulimit", forms.RLIMIT, "process.rlimits+", "A limit of setrlimit(2), as NOFILE=1024:4096."),
        ("--oom-score-adj", forms.OOM, "process.oom_score_adj", "How soon it is killed when memory is short."),
        ("--preserve-fds", forms.FEW, "process.preserve_fds", "Leave it descriptors 3 to 2+N; others are closed."),
    )),
    ("Limits, by a cgroup of its own", (
        ("--memory -m", forms.SIZE, "resources.memory_max", "Memory."),
        ("--memory-swap", forms.SIZE, "resources.memory_swap", "Memory and swap together, as docker counts."),
        ("--memory-swap-max", forms.SIZE, "resources.memory_swap_max", "Swap alone, as the kernel counts."),
        ("--pids-limit", forms.COUNT, "resources.pids_max", "Processes and threads."),
        ("--cpus", forms.CPUS, "resources.cpus", "Time of so many processors."),
        ("--cpu-weight", forms.WEIGHT, "resources.cpu_weight", "Its share when others run, too; 100 is usual."),
        ("--cpuset --cpuset-cpus", forms.CPU_LIST, "resources.cpuset_cpus", "The processors that it may run on."),
        ("--cpuset-mems", forms.CPU_LIST, "resources.cpuset_mems", "The memory nodes that it may use."),
        ("--io-max", forms.IO_MAX, "resources.io_max+", "Bytes and operations a second of a disk."),
        ("--cgroup-parent", _CGROUP, "resources.parent", "The cgroup to make it in."),
    )),
)  # fmt: skip


class Option(NamedTuple):
    """An option: its names, the form of its value, the key that it sets, whether it adds to a list there, its help."""

    names: tuple[str, ...]
    form: Form
    key: str
    adds: bool
    help: str


def rows() -> "list[Option]":
    """The table, as records."""
    return [
        Option(tuple(names.split()), form, key.rstrip("+"), key.endswith("+"), text)
        for _, group in GROUPS
        for names, form, key, text in group
    ]


def usage() -> str:
    """What --help prints: the table, in its groups, 80 columns wide."""
    text = USAGE
    for title, group in GROUPS:
        text += f"\n{title}\n"
        for names, form, _, words in group:
            first, *more = names.split()
            shown = ", ".join([*(each for each in more if len(each) == 2), first])
            shown += f" {form.metavar}" if form.metavar else ""
            text += f"  {shown:<24} {words}\n" if len(shown) < 25 else f"  {shown}\n{'':27}{words}\n"
    return (
        f"{text}\nA flag can be undone: --no-dev, or --dev=no. ROOT is a directory. The exit\n"
        "status is the command's; 128 + n for signal n; 127 if it is not there, 126 if it\n"
        "cannot be executed, 125 if rootfall fails. More: docs/container-run.md.\n"
    )


def table() -> str:
    """The table as Markdown, as it stands in docs/container.md."""
    lines = []
    for title, group in GROUPS:
        lines += [f"**{title}**\n", "| Option | Key in the file | Meaning |", "|---|---|---|"]
        for names, form, key, words in group:
            metavar = form.metavar.replace("|", "\\|")
            shown = ", ".join(f"`{each}`" for each in names.split()) + (f" `{metavar}`" if metavar else "")
            where = key.rstrip("+")
            place = f"`{where}`{', a list' if key.endswith('+') else ''}" if where and where not in ONLY_WORDS else ""
            lines.append(f"| {shown} | {place} | {words} |")
        lines.append("")
    return "\n".join(lines)
