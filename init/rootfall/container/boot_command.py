# SPDX-License-Identifier: MIT
"""`rootfall container boot [OPTIONS] ROOT [ARGUMENT…]`: the init of a root, as PID 1 of a container, at this terminal.

The options are those of `run`, and a few of its own. The exit status is 0 after a power-off, 133 where the init asked for a
reboot (as systemd-nspawn has it), 125 for what kept it from starting.
"""

import os

from rootfall.container import boot as booting
from rootfall.container import options, run_command
from rootfall.container.forms import number
from rootfall.container.model import CAPABILITIES, Stop
from rootfall.errors import ContainerError
from rootfall.linux import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootfall.container.options import Asked

USAGE = """\
usage: rootfall container boot [OPTIONS] ROOT [--] [ARGUMENT FOR THE INIT…]

Start ROOT's own /sbin/init as PID 1 of a container, at this terminal. Ctrl-] three times
within a second, or SIGTERM to this program, makes it power off.

  --console NAME        The terminal as /dev/NAME, too, such as ttyS0: where its getty is.
  --stop-signal N       What the init takes for an order to power off: by default 37
                        (SIGRTMIN+3) for systemd, 12 (SIGUSR2) for busybox, 2 for others.
  --stop-timeout N      Seconds that it has for that, before it is killed; 90 by default.

All options of `rootfall container run` can be used, too: --volatile throws away what is
written to the root. The exit status is 0 after a power-off, 133 after a reboot, which is
the end as well, 125 where it was not started.
"""
_OWN = ("--console", "--stop-signal", "--stop-timeout")
_LAST_SIGNAL = 64
_PATIENCE = 90  # seconds, which is systemd's own for a service


def boot(argv: list[str]) -> int:
    """Perform `rootfall container boot ARGV…`; returns the exit status. Raises RootfallError."""
    own, words = split(argv)
    line = options.parse(words)
    if line.asked.get("help"):
        print(USAGE, end="", flush=True)
        return 0
    if not line.root:
        raise ContainerError("boot", "a container", seen="no root", hint="rootfall container boot ROOT")
    init = booting.Init(line.root)
    root = os.geteuid() == 0
    if init.name == "systemd" and not root:
        hint = "run it as root (sudo)"
        raise ContainerError("boot", line.root, seen="systemd, which needs a cgroup of its own", hint=hint)
    asked = usual(line.asked, root)
    container = run_command.made(line._replace(asked=asked, command=(init.path, *line.command)))
    stop = Stop(
        whole(own, "--stop-signal", init.stop_signal(), _LAST_SIGNAL), whole(own, "--stop-timeout", _PATIENCE, 86400)
    )
    container = booting.prepare(container, init, stop, tuple(own.get("--console", ())), root)
    return run_command.start(container, only_plan=bool(asked.get("plan")))


def usual(asked: "Asked", root: bool) -> "Asked":
    """What is asked for, by somebody who wants an init: what `run` would not do by default comes first."""
    mine = not root or bool(asked.get("namespaces.user") or asked.get("uid_mappings"))
    permitted = capabilities.get()[1]
    # In a user namespace of one's own one has them all; else nobody can give what he has not.
    held = [each for each in booting.CAPABILITIES if mine or permitted >> CAPABILITIES.index(each) & 1]
    found: Asked = {"process.as_pid1": True, "process.terminal": True, "process.no_new_privileges": False}
    added = asked.get("process.capabilities", ())
    assert isinstance(added, tuple)
    return found | asked | {"process.capabilities": (*held, *added)}


def whole(own: dict[str, list[str]], name: str, default: int, most: int) -> int:
    """The number that an option of ours has. Raises ContainerError."""
    if name not in own:
        return default
    try:
        return number(own[name][-1], 1, most)
    except ValueError:
        raise ContainerError("use", f"{name}={own[name][-1]}", hint=f"allowed: 1 to {most}") from None


def split(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Our own options with their values, and the words of `run`. Raises ContainerError."""
    own: dict[str, list[str]] = {}
    rest, left = [], list(words)
    while left and left[0].startswith("-") and left[0] not in ("-", "--"):
        word = left.pop(0)
        name, given, value = word.partition("=")
        if name in _OWN:
            if not given and not left:
                raise ContainerError("use", name, seen="no value", hint="rootfall container boot --help")
            own.setdefault(name, []).append(value if given else left.pop(0))
            continue
        rest.append(word)
        found = options.find(name)
        if found is not None and not given and not found[1] and left:
            rest.append(left.pop(0))
    return own, rest + left
