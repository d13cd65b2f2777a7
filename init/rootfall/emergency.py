# SPDX-License-Identifier: MIT
"""A boot that failed: the report that says why, then what the configuration asks for: shell, reboot, poweroff or halt.

Imported only when a boot has failed, and only while our own files are there: after the switch, `main.last_words` remains.
"""

import os
import time

from rootfall import findings, report, shell
from rootfall.console import say
from rootfall.model import DeviceRef
from rootfall.steps import Boot, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PMSG = "/dev/pmsg0"  # what is written there is in /sys/fs/pstore after the next start (pstore, ramoops)

# Characters; with what the kernel adds to each line they nearly fill its 10 KiB for pstore (PSTORE_DEFAULT_KMSG_BYTES).
_LONG = 5000


def give_up(error: BaseException, boot: Boot, stage: Stage, hand_over: "Callable[[Boot, Stage], None]") -> None:
    """Print the report, leave it for the next boot, do what on_failure says. Returns when nothing more can be done."""
    files = {}
    try:
        found = findings.gather(error, boot, stage)
        facts = report.facts(found)
        lines, text = report.screen(facts), report.whole(facts, found)
        files["json"] = report.to_json(found) + "\n"
        write(report.JSON, files["json"])
    except Exception as second:  # the report itself must not take PID 1 down
        lines = ["", f"rootfall: THIS BOOT FAILED: {error!r}", f"and cannot be reported: {second!r}"]
        text = "\n".join(lines) + "\n"
    report.show(lines)
    # The end of the log is what pstore keeps: of a long report the screen once more.
    for line in (*text.splitlines(), *(lines if len(text) > _LONG else ())):
        boot.log.line(7, f"report: {line}")  # below the console's level: it has been printed there already
    write(report.TEXT, text)
    if os.path.exists(_PMSG):
        write(_PMSG, text)
    if stage.on_failure.save is not None:
        lines += _saved(stage.on_failure.save, {"txt": text, **files}, boot)
    act(shell.Scene(boot, stage, hand_over, lines))


def _saved(place: DeviceRef, files: dict[str, str], boot: Boot) -> list[str]:
    """Keep the report where the configuration says, and say how that went: a fact more, below the screen and in the file."""
    try:
        from rootfall import save

        kind, text = save.save(place, files, boot)
    except Exception as error:
        kind, text = "not saved", repr(error)
    lines = report.wrap(f"{kind:<10}", text)
    report.show(lines)
    boot.log.line(7, f"report: {kind} {text}")
    write(report.TEXT, files["txt"] + "\n".join(lines) + "\n")
    return lines


def write(path: str, text: str) -> None:
    """Leave a file; a boot that has failed does not fail again for it."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        pass


def act(scene: shell.Scene) -> None:
    """Wait `after` seconds, then do the action. Whoever leaves the shell, or cannot get into it, does not get past it."""
    on_failure = scene.stage.on_failure
    if on_failure.after > 0:
        say(f"rootfall: {on_failure.action} in {on_failure.after:g} s")
        time.sleep(on_failure.after)
    if on_failure.action != "shell":
        shell.end(on_failure.action)
    elif not shell.admitted(on_failure.password):
        say("rootfall: no shell without the password")
        shell.end("reboot")
    elif shell.offer(scene, "exit tries again"):
        shell.try_again(scene)
