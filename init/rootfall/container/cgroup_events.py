# SPDX-License-Identifier: MIT
"""What became of a container's limits, in sentences: whom the kernel killed and what it refused, by the files of the cgroup.

Those are memory.events and pids.events in version 2; memory.oom_control, the failcnt files and pids.events in version 1.
"""

import os

from rootfall.container.cgroup_files import Directory, counted, text
from rootfall.container.model import Resources


def met(directory: Directory, resources: Resources) -> list[str]:
    """The limits that the kernel enforced by killing or refusing, and those that were taken away; a sentence each."""
    path = directory.path
    found = [_killed(path, file, resources.memory_max) for file in ("memory.events", "memory.oom_control")]
    if resources.pids_max is not None:
        found.append(_refused(path, resources.pids_max))
    for file, _ in directory.limits:
        if not os.path.exists(f"{path}/{file}"):
            found.append(
                f"the limit {file} was lifted while the container ran: who manages {os.path.dirname(path)} disabled the "
                "controller; use a scope of your own (systemd-run --scope -p Delegate=yes)"
            )
    return [each for each in found if each]


def _killed(path: str, file: str, limit: int | None) -> str:
    killed = counted(f"{path}/{file}", "oom_kill")
    if not killed:
        return ""
    # The killing may be an ancestor's doing, or the whole machine's: only our own limit is ours to name.
    local = f"{path}/memory.events.local"
    ours = counted(local if os.path.exists(local) else f"{path}/memory.events", "oom")
    ours += sum(int(text(f"{path}/{each}.failcnt") or 0) for each in ("memory", "memory.memsw"))  # version 1's
    what = f"the container's memory limit of {size(limit)}" if ours and limit else "a memory limit that is not its own"
    whom = "a process" if killed == 1 else f"{killed} processes"
    return f"{what} was reached: the kernel killed {whom} of it ({file}: oom_kill {killed})"


def _refused(path: str, limit: int) -> str:
    refused = counted(f"{path}/pids.events", "max")
    if not refused:
        return ""
    times = "once" if refused == 1 else f"{refused} times"
    what = "1 process" if limit == 1 else f"{limit} processes"
    return f"the container's limit of {what} was reached: fork failed {times} (pids.events: max {refused})"


def size(count: int) -> str:
    """So many bytes, in the largest unit that they are a multiple of."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"
