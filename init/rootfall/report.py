# SPDX-License-Identifier: MIT
"""The report of a boot that failed: one screen for the console with the cause on top, and everything for the files.

Imported only when a boot has failed. Pure but for `show`, which writes to every console of the kernel (/proc/consoles).
"""

import os
import select
import time

from rootfall import console
from rootfall.record import NamedTuple
from rootfall.timeline import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS, LINES = 76, 24
TEXT, JSON = "/run/rootfall/report.txt", "/run/rootfall/report.json"
_HEAD = 10
_RULE = "-" * COLUMNS
# How many facts of a kind the screen shows, and in how many lines each.
_SHOWN = {"goal": (1, 2), "failed": (1, 3), "remedy": (1, 3), "line": (3, 2), "module": (3, 2), "near": (2, 2)}
_SHOWN |= {"no driver": (3, 3), "kernel": (3, 2), "uevent": (1, 2), "seen": (5, 2)}
_PATIENCE = 2.0  # seconds for a console that takes no more: nobody may be reading it


class Fact(NamedTuple):
    """One line of a report: what kind of thing it says, and the text."""

    kind: str
    text: str


def facts(found: "dict[str, Any]") -> list[Fact]:
    """What `findings.gather` found as facts, the cause and the remedy first."""
    goal, error = found["goal"], found["error"]
    made = [Fact("goal", f"root {goal['root']}, then {goal['init']}")] if goal else []
    made.append(Fact("failed", error["text"]))
    made += [Fact("errno", ", ".join(map(str, error["errno"])))] if error["errno"] else []
    made += [Fact("remedy", found["remedy"])] if found["remedy"] else []
    made += [Fact("at", error["at"])] if error.get("at") else []
    made += [Fact("line", each) for each in error["lines"]]
    made += [Fact("seen", each) for each in error["seen"]]
    made += [Fact("near", each) for each in found["near_misses"] if each != found["remedy"]]
    made += [Fact("module", f"{name} {outcome}") for name, outcome in found["modules_failed"].items()]
    made += [Fact("no driver", _no_driver(each)) for each in found["no_driver"]]
    made += [Fact("kernel", each) for each in reversed(found["kernel"])]  # its last words first: they are the nearest
    made += [Fact("uevent", each) for each in reversed(found["uevents"])]
    return made


def _no_driver(device: "dict[str, Any]") -> str:
    modules = ", ".join(f"{name} {state}" for name, state in device["modules"].items())
    return f"for {device['bus']} {device['name']}: {modules or 'no module known'}: {device['modalias']}"


def screen(made: list[Fact]) -> list[str]:
    """At most 24 lines of at most 76 columns; what does not fit is in the file, and the last line says so."""
    body: list[str] = []
    counted: dict[str, int] = {}
    for kind, text in made:
        most, lines = _SHOWN.get(kind, (2, 2))
        counted[kind] = counted.get(kind, 0) + 1
        if counted[kind] <= most:
            body += _shortened(wrap(f"{kind:<{_HEAD}}", text), lines)
    body = body[: LINES - 5]
    more = f"{'more':<{_HEAD}}{TEXT}, report.json"
    return ["", "rootfall: THIS BOOT FAILED", _RULE, *body, more, _RULE]


def _shortened(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while columns(last) > COLUMNS - 4:
        last = last[:-1]
    return [*lines[: most - 1], f"{last} ..."]


def whole(made: list[Fact], found: "dict[str, Any]") -> str:
    """The text for the file: every fact, the plan, and the timeline."""
    more = [Fact("plan", each) for each in (found["goal"] or {"plan": []})["plan"]]
    more += [Fact("gap", each) for each in found.get("gaps", ())]
    more += [Fact("time", f"{end / 1e9:.3f} s {name}: {detail}") for name, _, end, detail in found["timeline"]]
    more.append(Fact("booted", f"kernel {found['kernel_release']}, {found['command_line']}"))
    lines = [line for kind, text in (*made, *more) for line in wrap(f"{kind:<{_HEAD}}", text)]
    return "\n".join(["rootfall: THIS BOOT FAILED", _RULE, *lines, _RULE]) + "\n"


def wrap(head: str, text: str) -> list[str]:
    """Lines of at most 76 columns; what has no glyph becomes `?`, for a label may hold a terminal's commands."""
    lines, line = [], head
    for word in text.split():
        plain = "".join(c if c.isprintable() else "?" for c in word)
        if columns(line) + columns(plain) > COLUMNS and line.strip() and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        for character in plain:
            if columns(line) + columns(character) > COLUMNS:
                lines.append(line)
                line = " " * len(head)
            line += character
        line += " "
    return [*lines, line.rstrip()]


def columns(text: str) -> int:
    """How wide a terminal prints it, at most: East Asian characters, which begin at U+1100, take two."""
    return sum(2 if character >= "\u1100" else 1 for character in text)


def to_json(value: "Any", indent: str = "") -> str:
    """JSON (RFC 8259) of dicts, lists, texts, numbers, booleans and None: the json module is not in the image."""
    inner = f"{indent} "
    if isinstance(value, dict):
        members = [f"{inner}{quote(str(key))}: {to_json(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}" if members else "{}"
    if isinstance(value, list | tuple):
        if value and not any(isinstance(each, dict | list | tuple) for each in value) and len(value) < 5:
            return f"[{', '.join(to_json(each) for each in value)}]"
        items = [f"{inner}{to_json(each, inner)}" for each in value]
        return "[\n" + ",\n".join(items) + f"\n{indent}]" if items else "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else quote(str(value))


def show(lines: list[str]) -> None:
    """Print on every console that the kernel has, once each, and wait for none; on ours where there is no list."""
    data = ("\n".join(lines) + "\n").encode(errors="replace")
    shown = [name for name in _consoles() if _write(f"/dev/{name}", data)]
    if not shown:
        console.say(*lines)


def _consoles() -> list[str]:
    try:
        with open("/proc/consoles") as file:
            return list(dict.fromkeys(line.split()[0] for line in file if line.strip()))
    except OSError:
        return []


def _write(path: str, data: bytes) -> bool:
    """Whether the console took at least the beginning: one whose reader has stopped it must not stop us."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    rest, end = data, time.monotonic() + _PATIENCE
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    try:
        while rest and (left := end - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                rest = rest[os.write(fd, rest) :]
    except OSError:
        pass  # it has gone
    finally:
        os.close(fd)
    return rest != data
