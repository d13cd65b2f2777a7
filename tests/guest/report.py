# SPDX-License-Identifier: MIT
"""What tests/guest/witness.c printed on a console, as a record; a report that was cut short is refused."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# In KiB. Reclaimable is MemAvailable and the per-CPU free pages: two boots of the same thing agree in it.
MEMORY = ("Reclaimable", "MemAvailable", "MemFree", "Shmem", "Slab", "VmallocUsed", "MemTotal")


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo (proc(5)), escapes left as they are."""

    device: str
    root: str
    point: str
    options: str
    fstype: str
    source: str


@dataclass(frozen=True)
class Witness:
    """The machine as the real init found it. Strings hold bytes as latin-1; None: it could not be read (no /proc).

    `files` are those of /run/rootfall, and of udev's database on block devices as
    udev/bMAJOR:MINOR; `processes` read "PID (name) state".
    """

    pid: int
    release: str
    argv: tuple[str, ...]
    environ: tuple[str, ...]
    fd: dict[int, str] | None
    mounts: tuple[Mount, ...] | None
    status: dict[str, str]
    cmdline: str | None
    cwd: str | None
    root: str | None
    exe: str | None
    umask: int
    sid: int
    root_fstype: int
    root_inode: int
    monotonic_ns: int
    boottime_ns: int
    memory: dict[str, int]
    kmsg: tuple[str, ...]
    processes: tuple[str, ...]
    files: dict[str, str | None]

    def signals(self, field: str) -> int:
        """A mask of /proc/self/status: SigBlk, SigIgn, SigCgt, SigPnd."""
        return int(self.status[field], 16)

    def mounted(self, point: str) -> str | None:
        """The type of the file system on top at `point`; None when nothing is mounted there."""
        return next((m.fstype for m in reversed(self.mounts or ()) if m.point == point), None)

    def logged(self, text: str) -> float | None:
        """Seconds from the kernel's start to the first kernel message that holds `text`; None when there is none."""
        line = next((line for line in self.kmsg if text in line), None)
        stamp = re.search(r"\[\s*(\d+\.\d+)\]", line or "")
        return float(stamp[1]) if stamp else None


def parse(console: str) -> Witness:
    """The report in a console's text; ValueError when there is none or its end is missing."""
    values: dict[str, Any] = {"files": {}}
    for record in _records(console):
        if "file" in record:
            name, text = record["file"]
            values["files"][name] = text
        values |= record
    if "end" not in values:
        raise ValueError(f"no whole witness report on the console, which ends: {console[-1500:]!r}")
    return _witness(values)


def _records(console: str) -> Iterator[dict[str, Any]]:
    for line in console.splitlines():
        if found := re.search(r"witness: (\{.*\})\s*$", line):
            yield json.loads(found[1])


def _witness(values: dict[str, Any]) -> Witness:
    fields = (line.split(":", 1) for line in (values["status"] or "").splitlines() if ":" in line)
    mountinfo = values["mountinfo"]
    return Witness(
        argv=tuple(values["argv"]),
        environ=tuple(values["environ"]),
        fd=None if values["fd"] is None else {int(number): target for number, target in values["fd"].items()},
        mounts=None if mountinfo is None else tuple(_mount(line) for line in mountinfo.splitlines()),
        status={name: text.strip() for name, text in fields},
        memory={name: values[name] for name in MEMORY},
        kmsg=tuple(values["kmsg"]),
        processes=tuple(values["processes"]),
        **{name: values[name] for name in ("pid", "release", "cmdline", "cwd", "root", "exe", "umask", "sid")},
        **{name: values[name] for name in ("root_fstype", "root_inode", "monotonic_ns", "boottime_ns", "files")},
    )


def _mount(line: str) -> Mount:
    left, _, right = line.partition(" - ")
    _id, _parent, device, root, point, options = left.split(" ")[:6]
    fstype, source = right.split(" ")[:2]
    return Mount(device, root, point, options, fstype, source)
