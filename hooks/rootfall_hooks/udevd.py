# SPDX-License-Identifier: MIT
"""systemd-udevd in the initramfs, for sites that need its rules: its links in /dev, its database, its ways to name things.

It is started before the root is looked for and gets every device that is there (udevadm-trigger); when its queue is empty
the boot goes on. From then on a name below /dev is what udevd's link of that name points to. It ends before the hand-over
and leaves its database in /run/udev, where the real root's udevd takes it over (systemd's INITRD_INTERFACE). A rule that
hangs delays a boot, and never ends it. Rules are those of udev(7), read by systemd-udevd alone.
"""

import os
import re
import select
import time

from rootfall.console import status_line
from rootfall.errors import HookError
from rootfall.hook import Option
from rootfall.linux.process import Process, run, start
from rootfall.linux.udev import Monitor
from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootfall.hook import Image
    from rootfall.steps import Boot

DOES = "start systemd-udevd, give it all devices that are there, wait until its rules have run"
UNDOES = "stop systemd-udevd, leave its database in /run/udev"
OPTIONS = (
    Option("rules", "texts", "More rules by file name, such as 60-persistent-storage-tape.rules."),
    Option("site_rules", "flag", "All rules of /etc/udev/rules.d, with the programs that they run."),
    Option("programs", "paths", "More programs, for instance those that a script among the rules' programs runs."),
    Option("hwdb", "flag", "The hardware database, some 10 MB, for rules that ask it."),
    Option("settle", "duration", "How long to wait, from the last event, for rules that do not come to an end."),
)


class Options(NamedTuple):
    """The options of the hook."""

    rules: tuple[str, ...] = ()
    site_rules: bool = False
    programs: tuple[str, ...] = ()
    hwdb: bool = False
    settle: float = 30.0


DAEMON, ADM = "/usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm"
# What names disks, and loads drivers. Those for device-mapper and md come with the tools that need them.
RULES = (
    "50-udev-default.rules",
    "60-block.rules",
    "60-cdrom_id.rules",
    "60-persistent-storage.rules",
    "64-btrfs.rules",
    "80-drivers.rules",
)
_SITE, _VENDOR = "/etc/udev/rules.d", ("/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
_HELPERS = "/usr/lib/udev"
_PROGRAM = re.compile(r'\b(PROGRAM|IMPORT\{program\}|RUN(?:\{program\})?)\s*[-+:=!]*=\s*"((?:[^"\\]|\\.)*)"')
_OWNER = re.compile(r'\b(GROUP|OWNER)\s*[:=]?=\s*"([^"$%]+)"')

_CONTROL, _RUNTIME = "/run/udev/control", "/run/udev"
_PID = "/run/rootfall/udevd.pid"
_MODPROBE = "/run/modprobe.d/rootfall.conf"
_START, _TRIGGER, _STOP = 30.0, 60.0, 10.0  # seconds
_PULSE, _FIRST_LOOKS = 1.0, 0.02
_MOST_LIMITS = 10  # events without end extend the limit up to so many times it
_KMSG = {"SYSTEMD_LOG_TARGET": "kmsg"}


def install(image: "Image") -> None:
    """The daemon, its rules and what they run, the names of their groups, and the kernel modules' index for it."""
    wanted: Options = image.options
    if image.find(DAEMON) is None or image.find(ADM) is None:
        hint = "install the Debian package udev there, or name another root with image.programs_from"
        image.refuse("systemd-udevd", f"no {DAEMON} in {image.root}", hint)
    image.add_program(DAEMON)
    image.add_program(ADM)
    texts = []
    for path, ours in _rules(image, wanted):
        image.add_file(path)
        if found := image.find(path):
            text = found.read_text(errors="surrogateescape").replace("\\\n", "")
            texts.append("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
            _add_programs(image, path, texts[-1], ours)
    for program in wanted.programs:
        image.add_program(program)
    for path in ("/etc/udev/udev.conf", *(["/usr/lib/udev/hwdb.bin", "/etc/udev/hwdb.bin"] if wanted.hwdb else [])):
        if image.find(path):
            image.add_file(path)
    _add_names(image, texts)
    image.add_module_index()


def _rules(image: "Image", wanted: Options) -> "Iterator[tuple[str, bool]]":
    """Each rule file to put in, and whether the site asks for it; one in /etc hides its namesake (udev(7))."""
    site = image.find(_SITE) if wanted.site_rules else None
    names = sorted(each.name for each in site.iterdir() if each.name.endswith(".rules")) if site else []
    for name in names:
        yield f"{_SITE}/{name}", True
    for name in (*RULES, *wanted.rules):
        if name in names:
            continue
        places = (_SITE, *_VENDOR) if name in wanted.rules else _VENDOR
        path = next((f"{place}/{name}" for place in places if image.find(f"{place}/{name}")), None)
        if path is not None:
            yield path, name in wanted.rules
        elif name in wanted.rules:
            hint = "boot.hooks: udevd: rules: takes the names of files in one of these"
            image.refuse(f"the rules {name}", f"not in {', '.join(places)} of {image.root}", hint)


def _add_programs(image: "Image", path: str, text: str, ours: bool) -> None:
    """What the rules run; a rule of the distribution may run what is not installed, one of the site should know."""
    for kind, command in _PROGRAM.findall(text):
        word = (command.split() or [""])[0].strip("'")
        program = word if word.startswith("/") else f"{_HELPERS}/{word}"
        if not word or "$" in word or "%" in word:
            continue
        if image.find(program):
            image.add_program(program)
        elif ours and kind.startswith("RUN"):
            image.note(f"{path} runs {program}, which is not in {image.root}: that rule will do nothing")
        elif ours:
            image.refuse(f"the rules {path}", f"they ask {program}, which is not in {image.root}", "install it there")


def _add_names(image: "Image", texts: list[str]) -> None:
    """The users and groups that the rules name; udevd complains of each that it cannot find."""
    named = {("OWNER", "root"), ("GROUP", "root"), *(found for text in texts for found in _OWNER.findall(text))}
    for kind, path in (("OWNER", "/etc/passwd"), ("GROUP", "/etc/group")):
        lines = found.read_text().splitlines() if (found := image.find(path)) else []
        kept = [line for line in lines if (kind, line.partition(":")[0]) in named]
        # Without passwords, names of members and shells: numbers are all that is asked for.
        plain = [":".join(line.split(":")[:3]).split(":") for line in kept]
        rest = "0::/:/usr/sbin/nologin" if kind == "OWNER" else ""
        text = "".join(f"{name}:x:{number}:{rest}\n" for name, _, number in plain)
        image.add_file(path, text.encode(), 0o644)


def perform(options: Options, boot: "Boot") -> str:
    """Start it, have it handle all that is there, and wait for that as long as something happens."""
    _stop()  # of a boot that is tried again
    os.makedirs(_RUNTIME, 0o755, exist_ok=True)
    if boot.loader is not None and (text := boot.loader.modprobe_conf()):
        _write(_MODPROBE, text)
    begun = time.monotonic_ns()
    process = _start()
    boot.udevd = True
    boot.timeline.add("udevd: start", begun)
    monitor, begun = Monitor((), "udev"), time.monotonic_ns()
    for kind in ("subsystems", "devices"):
        status, words = run([ADM, "trigger", f"--type={kind}", "--action=add"], _TRIGGER)
        if status:  # it says so too when a device has gone meanwhile
            boot.log.warning(f"hook: udevd: trigger {kind}: status {status} {words}")
    boot.timeline.add("udevd: trigger", begun)
    handled, fault = _settle(monitor, options.settle)
    if process.wait(0) is not None:
        raise HookError("start", "systemd-udevd", seen=_ended(process.status), hint="its words are in the kernel's log")
    if fault:
        boot.log.warning(f"hook: udevd: settle: {fault}")
    return f"{handled} events handled{f'; {fault}' if fault else ''}"


def undo(options: Options, boot: "Boot") -> str:
    """End it, and what it started; its database stays."""
    by_itself = _stop()
    boot.udevd = False
    return "stopped" if by_itself else f"killed after {_STOP:g} s"


def _start() -> Process:
    """The running daemon, when it answers."""
    try:
        process = start([DAEMON], _KMSG)
    except OSError as error:
        hint = "the image is damaged: build it again"
        raise HookError("start", DAEMON, errno=error.errno or 0, hint=hint) from error
    _write(_PID, str(process.pid))
    end = time.monotonic() + _START
    while time.monotonic() < end:
        if process.wait(_FIRST_LOOKS) is not None:
            break
        # Its socket is there before it listens to the kernel: only an answer says that no event will be lost.
        if os.path.exists(_CONTROL) and run([ADM, "control", "--ping", "--timeout=5"], _START)[0] == 0:
            return process
    seen = _ended(process.wait(0))
    process.stop(0)
    raise HookError("start", "systemd-udevd", seen=seen, hint="its words are in the kernel's log (dmesg)")


def _ended(status: int | None) -> str:
    return f"no answer in {_START:g} s" if status is None else f"it ended with status {status}"


def _settle(monitor: Monitor, limit: float) -> tuple[int, str]:
    """How many events were handled until none was left, and why that was not waited for, where it was not."""
    waiter = start([ADM, "settle", "--timeout=86400"])
    poll = select.poll()
    for source in (monitor, waiter):
        poll.register(source.fileno(), select.POLLIN)
    began = progress = time.monotonic()
    handled, said, fault = 0, 0, ""
    while waiter.wait(0) is None:
        poll.poll(_PULSE * 1000)
        more = _handled(monitor)
        now = time.monotonic()
        handled, progress = handled + more, now if more else progress
        if now - progress >= limit or now - began >= _MOST_LIMITS * limit:
            fault = f"some rules had not ended after {now - began:.0f} s"
            waiter.stop(0)
        elif int(now - began) > said:
            said = int(now - began)
            status_line(f"rootfall: waiting for udevd: {said} s, {handled} events, up to {limit:g} s after the last")
    if said:
        status_line("")
    return handled + _handled(monitor), fault


def _handled(monitor: Monitor) -> int:
    count = 0
    try:
        while monitor.poll(0) is not None:
            count += 1
    except OSError:  # more than the socket holds: some were lost, and they were progress
        count += 1
    return count


def _stop() -> bool:
    """End the daemon of this machine's start, if there is one, and all of its session; whether it ended by itself."""
    try:
        with open(_PID) as file:
            pid = int(file.read())
        known = os.readlink(f"/proc/{pid}/exe") == os.path.realpath(DAEMON)  # the number may be somebody else's by now
        process = Process(pid) if known else None
    except (OSError, ValueError):
        process = None
    ended = process is None or process.stop(_STOP)
    for path in (_PID, _MODPROBE, _CONTROL):
        if os.path.lexists(path):
            os.unlink(path)
    return ended


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
