# SPDX-License-Identifier: MIT
"""The emergency shell: busybox ash where the image has it, else a small console of our own; behind a password if there is one.

Imported only when a boot has failed, or was told to stop. Nothing here may end PID 1: what fails is said, and the next word
is waited for. There is no root account, and so none that can be locked.
"""

import os
import sys
import time

from rootfall import devices, hardware, modules, mounts, password
from rootfall.cmdline import Cmdline, init_environment
from rootfall.console import DRAIN_LIMIT, drain, say, within
from rootfall.errors import RootfallError
from rootfall.linux import blkid, libc, signals, tty, udev
from rootfall.plan import NEW_ROOT
from rootfall.record import NamedTuple
from rootfall.steps import MODULES_DIRECTORY, Boot, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHELL = "/bin/sh"
_ENDS = {"reboot": libc.RB_AUTOBOOT, "poweroff": libc.RB_POWER_OFF, "halt": libc.RB_HALT_SYSTEM}
# What busybox's applets of these names send to PID 1 (busybox init/halt.c).
_SIGNALS = {"reboot": 15, "halt": 10, "poweroff": 12}
_PSTORE = "/sys/module/pstore/parameters/backend"
_ALWAYS = "/sys/module/printk/parameters/always_kmsg_dump"
_TRIES = "/run/rootfall/tries"
_MOST_TRIES = 16
_PASSWORDS = 3
_SYNC_LIMIT = 30.0  # seconds for the disks: one that hangs must not keep the machine from its end
_DRIVERS_LIMIT = 10.0  # seconds for the drivers of keyboards
_SETTLED = 1.0  # seconds without news from the buses
_HELP = """\
report    why this boot failed          devices   the block devices, and what is on them
plan      what this boot was to do      log       what it did, and when
mount     what is mounted               mount DEVICE [TYPE [OPTIONS]]   mount the root by hand
switch    go on to the mounted root     switch INIT   and execute that init there
retry     start over (exit does, too)   sh        busybox, where the image has it
reboot    poweroff    halt              help      this text"""


class Scene(NamedTuple):
    """What a shell can look at: the boot so far, the lines of the report, and the way on from a mounted root."""

    boot: Boot
    stage: Stage
    hand_over: "Callable[[Boot, Stage], None]"
    lines: list[str]


def end(action: str) -> None:
    """reboot(2), with what was written on the disks, and on the console, first."""
    say(f"rootfall: {action}")
    _keep_log()
    if not within(_SYNC_LIMIT, os.sync):
        say(f"rootfall: a disk did not take in {_SYNC_LIMIT:g} s what was written to it")
    drain(DRAIN_LIMIT)
    libc.reboot(_ENDS[action])


def _keep_log() -> None:
    """Have the kernel put its log, and so the report, into pstore on its way down: it does that for a panic by itself."""
    if hardware.read(_PSTORE) not in ("", "(null)"):
        try:
            with open(_ALWAYS, "w") as file:
                file.write("Y")
        except OSError:
            pass


class Reader:
    """Lines that are typed at the console."""

    def __init__(self) -> None:
        """Nothing has been typed."""
        self._pending = b""

    def line(self, prompt: str) -> str | None:
        """The next line without its end; None when there is no console to read from."""
        os.write(2, prompt.encode())
        while b"\n" not in self._pending and b"\r" not in self._pending:
            data = os.read(0, 512)
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.replace(b"\r", b"\n").partition(b"\n")
        return os.fsdecode(line)


def admitted(hashed: str) -> bool:
    """Whether a person may have a shell: no password is set, or one of three tries is right."""
    if not hashed:
        return True
    load_drivers(None)  # whoever has to type needs a keyboard
    reader = Reader()
    tty.echo(0, False)
    try:
        for _ in range(_PASSWORDS):
            typed = reader.line("rootfall: password for the emergency shell: ")
            say("")
            if typed is None:
                return False
            if password.fits(os.fsencode(typed), hashed):
                return True
            say("rootfall: wrong password")
    except OSError as error:  # without the library nobody gets in
        say(f"rootfall: cannot check the password: {error}")
    finally:
        tty.echo(0, True)
    return False


def offer(scene: Scene, leaving: str) -> bool:
    """A shell until it is left; `leaving` says what comes then. False when there is no console to talk on."""
    load_drivers(scene.boot)
    if os.access(SHELL, os.X_OK):
        say(f"rootfall: this is {SHELL}; {leaving}; the report is in /run/rootfall")
        return busybox()
    say(f"rootfall: type help for what can be done here; {leaving}")
    return talk(scene)


def load_drivers(boot: Boot | None) -> None:
    """Load what the image has for the hardware here, keyboards above all, until nothing new comes of it."""
    try:
        own = loader(boot)
        deadline = time.monotonic() + _DRIVERS_LIMIT
        buses = own.index.patterns.buses if own else ()
        monitor = udev.Monitor(buses) if buses else None
        while own and monitor and time.monotonic() < deadline:
            for modalias in hardware.modaliases(buses):
                own.offer(modalias)
            if own.load_cheapest() or own.pending:
                own.wait_for(own.pending, deadline - time.monotonic())
            elif monitor.poll(_SETTLED) is None:
                return
    except (OSError, ValueError):
        pass  # the bus is gone


def loader(boot: Boot | None) -> modules.Loader | None:
    """The loader of the boot, or one of our own where it had no need of it; None: no modules for this kernel."""
    if boot and boot.loader:
        return boot.loader
    from rootfall.timeline import Timeline

    try:
        return modules.Loader(f"{MODULES_DIRECTORY}/{os.uname().release}", Timeline(), {}, ())
    except (OSError, ValueError):
        return None


def busybox() -> bool:
    """Run the shell in a session of its own on the console's tty, so that ^C and job control work. False: no console."""
    for action, number in _SIGNALS.items():
        signals.handle(number, lambda _number, _frame, action=action: end(action))  # type: ignore[misc]
    pid = os.fork()
    if pid == 0:
        try:
            _become_shell()
        finally:
            os._exit(127)
    while True:
        ended, status = os.wait()  # children that the shell left behind end here, too
        if ended == pid:
            return os.waitstatus_to_exitcode(status) != 127


def _become_shell() -> None:
    signals.reset()
    os.setsid()
    fd = tty.open_console()
    tty.control(fd)
    for standard in (0, 1, 2):
        os.dup2(fd, standard)
    environment = init_environment(os.environ, Cmdline())
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PS1": "rootfall# "}
    os.execve(SHELL, ["sh"], environment)


def talk(scene: Scene) -> bool:
    """The built-in console: looks at things, mounts, goes on or tries again, ends the machine. False: nobody there."""
    reader = Reader()
    while True:
        line = reader.line("rootfall> ")
        if line is None:
            return False
        words = line.split()
        if words in (["exit"], ["continue"]):
            return True
        try:
            say(*_obey(words, scene))
        except (OSError, RootfallError) as error:  # the next word may have more luck
            if scene.stage.irreversible:
                raise
            say(f"{line}: {error}")


def _obey(words: list[str], scene: Scene) -> list[str]:
    """Do what was typed; the lines of the answer."""
    stage = scene.stage
    match words:
        case []:
            return []
        case ["help"]:
            return _HELP.splitlines()
        case ["report"]:
            return scene.lines
        case ["devices"]:
            return _devices() or ["no block device at all"]
        case ["plan"]:
            return str(stage.plan or "no plan was made").splitlines()
        case ["log"]:
            return [f"{span.end / 1e9:9.3f} s  {span.name}: {span.detail}" for span in scene.boot.timeline.spans]
        case ["mount"]:
            return hardware.read("/proc/self/mounts").splitlines()
        case ["mount", device, *rest] if len(rest) < 3:
            return [_mount(device, rest, scene.boot)]
        case ["switch", *rest] if len(rest) < 2 and stage.plan:
            handover = stage.plan.handover._replace(init=rest[0]) if rest else stage.plan.handover
            stage.plan = stage.plan._replace(handover=handover)
            scene.hand_over(scene.boot, stage)
        case ["retry"]:
            try_again(scene)
        case ["sh"] if os.access(SHELL, os.X_OK):
            busybox()
        case ["reboot" | "poweroff" | "halt"]:
            end(words[0])
        case _:
            return [f"{' '.join(words)}: not to be had here; help says what is"]
    return []


def _devices() -> list[str]:
    """The block devices that are there now, whatever the search saw."""
    found = (devices.glance(each) for each in udev.Monitor(("block",)).present())
    return [str(devices.read(each)) for each in found if each is not None]


def _mount(device: str, rest: list[str], boot: Boot) -> str:
    fstype = rest[0] if rest else blkid.probe(device).get("TYPE", "")
    if boot.loader is not None:
        boot.loader.request((f"fs-{fstype}",))
        boot.loader.wait_for(boot.loader.pending, _DRIVERS_LIMIT)
    options = tuple(rest[1].split(",")) if rest[1:] else ()
    mode = "rw" if "rw" in options else "ro"
    plain = tuple(each for each in options if each not in ("ro", "rw"))
    mounted = mounts.mount_root(device, NEW_ROOT, (fstype,), plain, mode)
    return f"{device} is mounted on {NEW_ROOT}: {mounted}, {mode}; switch goes on"


def try_again(scene: Scene) -> None:
    """From the start, as the kernel would, a limited number of times; returns only when it did not begin."""
    tries = int(hardware.read(_TRIES) or 0) + 1
    if tries > _MOST_TRIES:
        say(f"rootfall: that were {_MOST_TRIES} tries since this machine started")
        end("reboot")
    try:
        os.makedirs(os.path.dirname(_TRIES), exist_ok=True)
        with open(_TRIES, "w") as file:
            file.write(str(tries))
        libc.umount2(NEW_ROOT, libc.MNT_DETACH)  # a root that is mounted twice would be EBUSY
    except OSError:
        pass  # the boot did not come that far
    scene.boot.log.info(f"emergency: retry {tries}: execute /init")
    os.execve("/init", sys.argv, init_environment(os.environ, Cmdline()))
