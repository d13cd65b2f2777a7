# SPDX-License-Identifier: MIT
"""The cgroup of a container, version 2 or 1 (cgroups(7)): made with its limits, entered, explained, removed."""

from rootfall.container.model import Resources
from rootfall.errors import ContainerError


class Cgroup:
    """A container's cgroup; `descriptor` is its directory for CLONE_INTO_CGROUP, -1 where there is no such thing."""

    descriptor = -1

    def admit(self, pid: int) -> None:
        """Put a process in."""

    def explain(self, status: int) -> int:
        """The exit status; says on standard error what limit it met, if any."""
        return status

    def remove(self) -> None:
        """Kill what is left in it and remove it."""


def make(name: str, resources: Resources) -> Cgroup:
    """Make the cgroup of a container and write its limits. Raises ContainerError."""
    raise ContainerError("limit", name, seen=str(resources))
