# SPDX-License-Identifier: MIT
"""Which seccomp filter a command gets: the default profile, a program that somebody hands over by a descriptor, or none.

Found before anything is started, in the launcher: afterwards there is nothing to read, and nothing to import. Refuses what is
no array of struct sock_filter; whether it is a valid program, the kernel says when it is installed.
"""

import os
import sys

from rootfall.container import seccomp
from rootfall.container.model import Process
from rootfall.errors import ContainerError

_INSTRUCTION = 8  # sizeof(struct sock_filter)


def prepare(process: Process) -> bytes | None:
    """The program to install before the command is executed, None for none. Raises ContainerError."""
    if process.seccomp == "unconfined":
        return None
    if process.seccomp.startswith("fd:"):
        return read(int(process.seccomp[3:]))
    machine = os.uname().machine
    program = seccomp.program(machine, process.capabilities)
    if program is None:
        known = f"known: {' '.join(seccomp.ARCHITECTURES)}"
        if process.seccomp == "default":
            raise ContainerError("use the default seccomp profile on", machine, seen="no such profile", hint=known)
        print(f"rootfall: no seccomp profile for {machine} ({known}): the command goes without", file=sys.stderr)
    return program


def read(fd: int) -> bytes:
    """All of a BPF program that a descriptor is open on (as bubblewrap's --seccomp takes it). Raises ContainerError."""
    what = f"file descriptor {fd}"
    try:
        data = b""
        while len(data) <= seccomp.MOST * _INSTRUCTION and (more := os.read(fd, 65536)):
            data += more
        os.close(fd)
    except OSError as error:
        raise ContainerError("read the seccomp program from", what, errno=error.errno or 0) from error
    if not data or len(data) % _INSTRUCTION or len(data) > seccomp.MOST * _INSTRUCTION:
        raise ContainerError(
            "use the seccomp program from",
            what,
            seen=f"{len(data)} bytes",
            hint=f"a program is 1 to {seccomp.MOST} instructions of {_INSTRUCTION} bytes (struct sock_filter)",
        )
    return data
