# SPDX-License-Identifier: MIT
"""Every error that rootfall raises on purpose, in one tree. Nothing is printed here: one place prints (emergency, cli).

RootfallError          attempted, on what, errno, seen, hint
├── ConfigError        the configuration file, with file:line:column and the key's path
├── CommandLineError   a kernel parameter that rootfall owns and cannot read
├── ModuleError        a kernel module that is missing or that the kernel refused
├── DeviceError        the root device did not appear, or more than one claims to be it
├── MountError         mount(2) said no
├── HookError          a hook could not do its part
├── SwitchRootError    the new root, or its init, cannot take over
├── ContainerError     a container cannot be started, with the exit status that says so
└── BuildError         the image cannot be made (rootfall_build)
"""

import os

from rootfall.record import NamedTuple


class RootfallError(Exception):
    """What was attempted, on what, what the kernel answered, what was seen instead, and how to mend it."""

    def __init__(self, attempted: str, subject: str, *, errno: int = 0, seen: str = "", hint: str = "") -> None:
        """`attempted` is a verb phrase ("mount the root"), `subject` its object; `errno` 0 means none was set."""
        super().__init__(attempted, subject)
        self.attempted = attempted
        self.subject = subject
        self.errno = errno
        self.seen = seen
        self.hint = hint

    def __str__(self) -> str:
        """One line: `cannot ATTEMPTED SUBJECT: strerror; seen: …; hint`."""
        text = f"cannot {self.attempted} {self.subject}"
        if self.errno:
            text += f": {os.strerror(self.errno)} (errno {self.errno})"
        if self.seen:
            text += f"; seen: {self.seen}"
        if self.hint:
            text += f"; {self.hint}"
        return text


class ModuleError(RootfallError):
    """A kernel module is not in the image, or the kernel refused it (finit_module(2))."""


class DeviceError(RootfallError):
    """The root device did not appear in time, or its reference is ambiguous."""


class MountError(RootfallError):
    """A file system could not be mounted or moved (mount(2))."""


class HookError(RootfallError):
    """A hook failed, or what it runs did (docs/hooks.md)."""


class SwitchRootError(RootfallError):
    """The new root cannot take over: found by the preflight, before anything irreversible."""


class ContainerError(RootfallError):
    """A container was not started; `status` is the launcher's exit status: 125, or 126 and 127 as a shell has them."""

    status = 125


class BuildError(RootfallError):
    """The image cannot be made; nothing was written."""


class CommandLineError(RootfallError):
    """A parameter on the kernel command line that rootfall owns has a value that it cannot read."""


class Problem(NamedTuple):
    """One mistake in a configuration file: line and column from 1 (0: the file as a whole), key path, message."""

    line: int
    column: int
    key: str
    message: str


class ConfigError(RootfallError):
    """A configuration file that cannot be used; `problems` holds each mistake, in the order of the file."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        """`path` is the file's name as the user gave it; there is at least one problem."""
        super().__init__("use the configuration", path, seen=problems[0].message)
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        """One line a problem: `file:line:column: key: message`, as compilers print, so that editors jump to it."""
        return "\n".join(
            f"{self.path}{f':{p.line}:{p.column}' if p.line else ''}: {p.key + ': ' if p.key else ''}{p.message}"
            for p in self.problems
        )
