# SPDX-License-Identifier: MIT
"""What an init asks for that starts as PID 1 of a container: systemd's container interface, which does for the others as well.

A terminal that is /dev/console; a /run of its own; /sys and /proc/sys read-only; a cgroup of its own that it may write to, by
version 2, which systemd uses whatever else the host has; `container` and `container_uuid` in the environment; the
capabilities that systemd-nspawn gives, as far as the caller has them. No /dev/kmsg, no other devices of the host. Who is root
in there without a user namespace is root: this keeps accidents in, not enemies.
"""

import os

from rootfall.container import in_root
from rootfall.container.model import Container, Mount, Stop
from rootfall.errors import ContainerError

# systemd.exec(5) has what each is for.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_OWNER SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE "
        "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
    ).split()
)
_INITS = ("/sbin/init", "/etc/init", "/bin/init")  # where the kernel looks; a shell is no init
# What makes it power off: systemd(1) SIGRTMIN+3, busybox SIGUSR2; to the rest, Ctrl-Alt-Del is a reason to go down.
_STOP = {"systemd": 37, "busybox": 12}
_CTRL_ALT_DEL = 2
_TYPE, _REGULAR = 0o170000, 0o100000


class Init:
    """The init of a root: its path there, the name of its program, and the root's machine id or ""."""

    def __init__(self, root: str) -> None:
        """Look for it. Raises ContainerError."""
        try:
            here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ContainerError("use the root", root, errno=error.errno or 0) from error
        try:
            self.path, self.name = _find(here, root)
            self.machine_id = _machine_id(here)
        finally:
            os.close(here)

    def stop_signal(self) -> int:
        """What it takes for an order to power off."""
        return _STOP.get(self.name, _CTRL_ALT_DEL)


def _find(root: int, path: str) -> tuple[str, str]:
    for each in _INITS:
        try:
            fd = in_root.open_place(root, each)
        except OSError:
            continue
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        os.close(fd)
        return each, name
    hint = "to run anything else in it: rootfall container run"
    raise ContainerError("boot", path, seen=f"no init: not {', not '.join(_INITS)}", hint=hint)


def _machine_id(root: int) -> str:
    """machine-id(5): 32 hexadecimal digits."""
    try:
        found = in_root.open_place(root, "/etc/machine-id")
    except OSError:
        return ""
    try:
        if os.fstat(found).st_mode & _TYPE != _REGULAR:
            return ""
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        text = os.read(fd, 33).decode(errors="replace").strip()
        os.close(fd)
    except OSError:
        return ""
    finally:
        os.close(found)
    return text if len(text) == 32 and not set(text) - set("0123456789abcdef") else ""


def uuid(machine_id: str) -> str:
    """A machine id as a UUID; a random one for a root that has none yet."""
    digits = machine_id or os.urandom(16).hex()
    return "-".join(digits[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def mounts(given: tuple[Mount, ...], root: bool) -> tuple[Mount, ...]:
    """The mounts of a container, with those that an init needs; its own cgroup only where root asks."""
    found = list(given)
    kinds = {each.destination: each.type for each in given}
    if "/sys" not in kinds:
        found.append(Mount("/sys", "sysfs", "sysfs", ("ro",)))
    if root:
        found.append(Mount("/sys/fs/cgroup", "cgroup2", "cgroup2", ("rw", "nosuid", "nodev", "noexec")))
    if "/run" not in kinds:
        found.append(Mount("/run", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=0755")))
    return tuple(found)


def prepare(container: Container, init: Init, stop: Stop, consoles: tuple[str, ...], root: bool) -> Container:
    """The container that was asked for, as one that starts an init."""
    environment = (*container.process.env, f"container_uuid={uuid(init.machine_id)}")
    process = container.process._replace(env=environment, stop=stop, consoles=("console", *consoles))
    return container._replace(process=process, mounts=mounts(container.mounts, root))
