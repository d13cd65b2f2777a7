# SPDX-License-Identifier: MIT
"""The options of `rootfall container run`: words into a Container, with defaults. Pure but for asking who runs it."""

import os

from rootfall.container.model import Container, IdMapping, Mount, Process, Root
from rootfall.errors import ContainerError
from rootfall.record import NamedTuple

MOUNTS = (Mount("/proc", "proc", "proc", ("nosuid", "nodev", "noexec")),)
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


class Asked(NamedTuple):
    """What a command line asks for."""

    container: Container
    plan: bool = False


def parse(words: list[str]) -> Asked:
    """The words after `container run`. Raises ContainerError with what is wrong and what is right."""
    plan = words[:1] == ["--plan"]
    rest = [each for each in words[plan:] if each != "--"]
    if len(rest) < 2:
        raise ContainerError("run", "a container", seen="no command", hint="rootfall container run ROOT [--] COMMAND…")
    container = Container(f"rootfall-{os.getpid()}", Root(rest[0]), Process(tuple(rest[1:]), ENVIRONMENT), MOUNTS)
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        container = container._replace(
            namespaces=("user", *container.namespaces),
            uid_mappings=(IdMapping(0, uid, 1),),
            gid_mappings=(IdMapping(0, gid, 1),),
        )
    return Asked(container, plan)
