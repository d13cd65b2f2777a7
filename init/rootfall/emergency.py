# SPDX-License-Identifier: MIT
"""A boot that failed: the report that says why, then what the configuration asks for: shell, reboot, poweroff or halt.

Imports nothing that a boot has not imported: it must work when our own files are gone. Never returns.
"""

import _thread
import os
import sys
import time

from rootfall import hardware
from rootfall.cmdline import Cmdline, init_environment
from rootfall.errors import RootfallError
from rootfall.linux import libc, signals
from rootfall.model import OnFailure
from rootfall.plan import NEW_ROOT, FindRoot, Plan
from rootfall.steps import Boot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn

_WIDTH = 76
_DRAIN_LIMIT = 10.0  # seconds; a page of text takes four at 9600 baud
_COMMANDS = {"reboot": libc.RB_AUTOBOOT, "poweroff": libc.RB_POWER_OFF, "halt": libc.RB_HALT_SYSTEM}
_HELP = "report  devices  plan  log  retry  sh  reboot  poweroff  halt"


class Stage:
    """How far the boot came: what was decided so far, and whether there is a way back."""

    def __init__(self) -> None:
        """Nothing is decided."""
        self.on_failure = OnFailure()
        self.plan: Plan | None = None
        self.irreversible = False


def give_up(error: BaseException, boot: Boot, stage: Stage) -> "NoReturn":
    """Print the report, then do what on_failure says."""
    try:
        lines = report(error, boot, stage)
    except BaseException as second:  # the report itself must not take PID 1 down
        lines = [f"cannot report {error!r}: {second!r}"]
    say(lines)
    for line in lines:
        boot.log.line(7, f"report: {line}")  # below the console's level: it has been printed there already
    _write("/run/rootfall/report.txt", "\n".join(lines) + "\n")
    try:
        act(stage.on_failure, lines, boot, stage)
    except BaseException as second:
        say([f"cannot {stage.on_failure.action}: {second!r}"])
    stand_still()


def report(error: BaseException, boot: Boot, stage: Stage) -> list[str]:
    """The lines of the report, at most 76 columns: the goal, what failed, on what, what was seen, the remedy."""
    facts: list[tuple[str, str]] = []
    if stage.plan:
        device = next((str(step.ref) for step in stage.plan.steps if isinstance(step, FindRoot)), "")
        facts.append(("goal", f"root {device}, then {stage.plan.handover.init}"))
    if isinstance(error, RootfallError):
        facts += _facts_of(error)
    elif isinstance(error, OSError):
        facts.append(("failed", str(error)))
    else:
        facts += [("failed", f"internal error: {error!r}"), ("at", _where(error.__traceback__))]
    failed = boot.loader.failed if boot.loader else {}
    facts += [("module", f"{name} {outcome}") for name, outcome in tuple(failed.items())]  # threads may still add to it
    if boot.device is None:
        facts += [("no driver", f"for {d.bus} {d.name} in this image: {d.modalias}") for d in hardware.unclaimed()[:6]]
    facts += [("kernel", line) for line in _kernel_complaints()]
    lines = ["", "rootfall: THIS BOOT FAILED", "-" * _WIDTH]
    for name, text in facts:
        lines += _wrap(f"{name:<10}", text)
    return [*lines, "-" * _WIDTH]


def _facts_of(error: RootfallError) -> list[tuple[str, str]]:
    problems = getattr(error, "problems", ())
    facts = [("failed", f"cannot {error.attempted} {error.subject}")]
    if error.errno:
        facts.append(("errno", f"{error.errno}, {os.strerror(error.errno)}"))
    if problems:
        facts += [("line", line) for line in str(error).splitlines()[:8]]
    elif error.seen:
        facts += [("seen", each) for each in error.seen.split("; ")[:12]]
    if error.hint:
        facts.append(("remedy", error.hint))
    return facts


def _where(traceback: "TracebackType | None") -> str:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return ", ".join(places[-4:])


def _kernel_complaints() -> list[str]:
    """The last errors and warnings in the kernel's log: its side of the story."""
    found: list[str] = []
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        while True:
            head, _, text = os.read(fd, 8192).decode(errors="replace").partition(";")
            level = int(head.split(",")[0])
            if level < 8 and level & 7 <= 4 and "rootfall:" not in text:  # facility 0: the kernel itself
                found.append(text.partition("\n")[0])
    except (OSError, ValueError):
        pass  # EAGAIN: the end of the log
    finally:
        os.close(fd)
    return found[-4:]


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        pass


def _wrap(head: str, text: str) -> list[str]:
    """Lines of at most 76 columns; what has no glyph becomes `?`, for a label may hold a terminal's commands."""
    lines, line = [], head
    for word in text.split():
        plain = "".join(c if c.isprintable() else "?" for c in word)
        if columns(line) + columns(plain) > _WIDTH and line.strip() and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        for character in plain:
            if columns(line) + columns(character) > _WIDTH:
                lines.append(line)
                line = " " * len(head)
            line += character
        line += " "
    return [*lines, line.rstrip()]


def columns(text: str) -> int:
    """How wide a terminal prints it, at most: East Asian characters, which begin at U+1100, take two."""
    return sum(2 if character >= "\u1100" else 1 for character in text)


def say(lines: list[str]) -> None:
    """Print on the console; a console that is gone is no reason to fail."""
    try:
        os.write(2, ("\n".join(lines) + "\n").encode(errors="replace"))
    except OSError:
        pass


def drain(limit: float) -> None:
    """Wait until the console has sent what was written, `limit` seconds at most: a serial line may be held up for ever.

    A report is longer than the buffer of a serial port, and a reset would cut it off.
    """
    sent = _thread.allocate_lock()
    sent.acquire()

    def wait() -> None:
        try:
            libc.tcdrain(2)
        except OSError:
            pass  # not a terminal
        sent.release()

    _thread.start_new_thread(wait, ())
    sent.acquire(timeout=limit)


def act(on_failure: OnFailure, lines: list[str], boot: Boot, stage: Stage) -> None:
    """Wait `after` seconds, then do the action."""
    if on_failure.after > 0:
        say([f"rootfall: {on_failure.action} in {on_failure.after:g} s"])
        time.sleep(on_failure.after)
    if on_failure.action == "shell":
        talk(lines, boot, stage)
    else:
        end(on_failure.action)


def end(action: str) -> None:
    """reboot(2), with what was written on the disks, and on the console, first."""
    say([f"rootfall: {action}"])
    os.sync()
    drain(_DRAIN_LIMIT)
    libc.reboot(_COMMANDS[action])


def talk(lines: list[str], boot: Boot, stage: Stage) -> None:
    """The built-in console, for images without a shell: looks at things, tries again, ends the machine."""
    say([f"rootfall: type one of: {_HELP}"])
    pending = b""
    while True:
        os.write(2, b"rootfall> ")
        while b"\n" not in pending and b"\r" not in pending:
            data = os.read(0, 512)
            if not data:
                return  # no console to read from
            pending += data
        line, _, pending = pending.replace(b"\r", b"\n").partition(b"\n")
        word = line.decode(errors="replace").strip()
        try:
            _obey(word, lines, boot, stage)
        except OSError as error:  # the next word may have more luck
            say([f"{word}: {error}"])


def _obey(word: str, lines: list[str], boot: Boot, stage: Stage) -> None:
    match word:
        case "":
            pass
        case "report":
            say(lines)
        case "devices":
            say([str(each) for each in boot.search.seen.values()] if boot.search else ["the search had not begun"])
        case "plan":
            say(str(stage.plan or "no plan was made").splitlines())
        case "log":
            say([f"{s.end / 1e9:9.3f} s  {s.name}: {s.detail}" for s in boot.timeline.spans])
        case "retry" if not stage.irreversible:
            _try_again()
        case "sh" if os.path.exists("/bin/sh"):
            _shell()
        case "reboot" | "poweroff" | "halt":
            end(word)
        case _:
            say([f"{word}: not to be had here; type one of: {_HELP}"])


def _try_again() -> None:
    """From the start, as the kernel would: a root that is mounted twice would be EBUSY."""
    try:
        libc.umount2(NEW_ROOT, libc.MNT_DETACH)
    except OSError:
        pass  # the boot did not come that far
    os.execve("/init", sys.argv, init_environment(os.environ, Cmdline()))


def _shell() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            signals.reset()
            os.setsid()
            os.execv("/bin/sh", ["sh", "-i"])
        finally:
            os._exit(127)
    while os.wait()[0] != pid:
        pass  # children that the shell left behind


def stand_still() -> "NoReturn":
    """PID 1 must not exit: reap what ends, for ever."""
    say(["rootfall: nothing more can be done; this machine stands still"])
    while True:
        try:
            os.wait()
        except OSError:  # no children, and nobody who could make any
            signals.pause()
