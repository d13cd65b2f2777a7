# SPDX-License-Identifier: MIT
"""pyudev, imported for what a boot needs of it: the kernel's uevents and the block devices in sysfs (libudev).

pyudev's modules import subprocess, threading and re for parts that PID 1 never calls, and functools and collections for
three small things; together they cost more than pyudev itself. While pyudev is imported those names hold small stand-ins
(docs/adr/0003).
"""

import _functools  # type: ignore[import-not-found]
import os
import select
import sys

from rootfall import frozen_abc
from rootfall.linux import standins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


_ABC: "dict[str, object]" = {
    "Iterable": frozen_abc.Iterable,
    "Container": frozen_abc.Container,
    "Mapping": frozen_abc.SmallMapping,
}
# What pyudev takes of each module at import time, and what is enough of it.
_TAKEN: "dict[str, dict[str, object]]" = {
    "subprocess": {"check_output": None},  # for udev_version(), which asks udevadm
    "threading": {"Thread": object},  # the base class of MonitorObserver
    "re": {},  # compiled in functions only: device ids and discovery
    "functools": {"partial": _functools.partial, "wraps": lambda _wrapped: lambda function: function},
    "collections": {"abc": standins.module("collections.abc", _ABC)},
    "collections.abc": _ABC,
}


def load() -> "Any":
    """Import pyudev and return it; with stand-ins only when frozen, so that tests on a host see pyudev untouched."""
    small = _TAKEN if getattr(sys, "frozen", False) else {}
    standins.import_with("pyudev", {name: standins.module(name, taken) for name, taken in small.items()})
    import pyudev

    return pyudev


class Monitor:
    """The uevents for some subsystems (none: all), from the moment it is made (netlink(7), NETLINK_KOBJECT_UEVENT).

    The kernel's own, or udevd's, which come when its rules for a device have run; without a udevd there are none of those.
    """

    def __init__(self, subsystems: "Iterable[str]", source: str = "kernel") -> None:
        """Start receiving at once: a device that appears after this is never missed."""
        pyudev = load()
        self._context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(self._context, source=source)
        for subsystem in subsystems:
            self._monitor.filter_by(subsystem)
        self._monitor.start()

    def fileno(self) -> int:
        """Readable when there is an event (poll(2))."""
        fd: int = self._monitor.fileno()
        return fd

    def present(self) -> "Iterator[Any]":
        """The block devices that are in sysfs now, as pyudev.Device."""
        return iter(self._context.list_devices(subsystem="block"))

    def wait(self, timeout: float, others: "Iterable[int]" = ()) -> None:
        """Return when there is an event, when one of the eventfds `others` was written, or after `timeout` seconds."""
        poll = select.poll()
        for fd in (self._monitor.fileno(), *others):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(timeout * 1000):
            if fd != self._monitor.fileno():
                os.eventfd_read(fd)

    def poll(self, timeout: float | None) -> "Any":
        """The next uevent as pyudev.Device, or None when `timeout` seconds have passed (None: for ever)."""
        return self._monitor.poll(timeout)
