# SPDX-License-Identifier: MIT
"""Progress of which no uevent tells: an md array that is being synchronized, a person who is asked for something.

Imported when a boot has waited for a second, and asked once a second from then on. Reads files only. /proc/mdstat has an
array's position (Documentation/admin-guide/md.rst): md/sync_completed of sysfs moves in sixteenths of the array, which may
take hours (md_do_sync of drivers/md/md.c). A question is a file: one of systemd's password agents, or of docs/hooks.md.
"""

from rootfall.hardware import listing, read
from rootfall.record import NamedTuple

_LONGEST = 200  # letters of a question that are shown


class Sync(NamedTuple):
    """An md array that is being synchronized: its name, the kernel's word for it, KiB that are done and in all."""

    array: str
    action: str
    done: int
    total: int

    def __str__(self) -> str:
        """As the console says it."""
        return f"{self.array} {self.action} {100 * self.done // max(self.total, 1)} %"


class Work(NamedTuple):
    """What goes on: the question that somebody is asked, or "", and the arrays that move."""

    asked: str = ""
    syncs: tuple[Sync, ...] = ()

    def __str__(self) -> str:
        """As the console says it; empty: nothing goes on."""
        return ", ".join((*((f"somebody is asked: {self.asked}",) if self.asked else ()), *map(str, self.syncs)))


class Watch:
    """Looks at both; remembers where each array was. `root` is "", or what stands for / in a test."""

    def __init__(self, stuck: float, root: str = "") -> None:
        """An array that does not move for `stuck` seconds is no progress any more."""
        self._stuck, self._root = stuck, root
        self._moved: dict[str, tuple[Sync, float]] = {}  # where an array was, and since when

    def look(self, now: float) -> Work:
        """What goes on at `now`, a time of the monotonic clock."""
        syncs = parse(read(f"{self._root}/proc/mdstat"))
        for each in syncs:
            if self._moved.get(each.array, (None,))[0] != each:
                self._moved[each.array] = (each, now)
        moving = tuple(each for each in syncs if now - self._moved[each.array][1] < self._stuck)
        return Work(self._asked(now), moving)

    def _asked(self, now: float) -> str:
        """The first question whose asker lives and waits for an answer."""
        agents, hooks = f"{self._root}/run/systemd/ask-password", f"{self._root}/run/rootfall/asking"
        for name in listing(agents):
            fields = dict(line.split("=", 1) for line in read(f"{agents}/{name}").splitlines() if "=" in line)
            too_late = 0 < _number(fields.get("NotAfter", "")) < now * 1e6
            if name.startswith("ask.") and not too_late and self._lives(fields.get("PID", "")):
                return _plain(fields.get("Message", ""))
        return next((_plain(read(f"{hooks}/{pid}")) for pid in listing(hooks) if self._lives(pid)), "")

    def _lives(self, pid: str) -> bool:
        """Whether there is such a process; one that has ended may be there until PID 1 reaps it (proc(5))."""
        state = read(f"{self._root}/proc/{pid}/stat").rpartition(")")[2].split()[:1]
        return pid.isdecimal() and bool(state) and state[0] not in "ZXx"


def parse(mdstat: str) -> tuple[Sync, ...]:
    """The arrays at work in the text of /proc/mdstat. One that waits for its turn has no position and is none."""
    found, array = [], ""
    for line in mdstat.splitlines():
        if line[:1].strip():  # not indented: another array
            array = line.partition(" : ")[0]
        for action in ("resync", "recovery", "reshape", "check"):
            position = line.partition(f" {action} =")[2].partition("(")[2].partition(")")[0]
            done, _, total = position.partition("/")
            if done.isdecimal() and total.isdecimal():
                found.append(Sync(array, action, int(done), int(total)))
    return tuple(found)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _plain(text: str) -> str:
    """A question on one line, without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in text)[:_LONGEST].strip() or "something"
