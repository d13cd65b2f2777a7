# SPDX-License-Identifier: MIT
"""What a hook is, and which there are: plain modules of the package rootfall_hooks, of which an image holds the chosen ones.

A hook declares its options as data, so that this module, and all that checks a configuration, needs to know none of them.
Refuses a module that does not keep to docs/hooks.md. Imported only when there are hooks, or when a file is parsed.
"""

import os

from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, NoReturn, Protocol

    class Image(Protocol):
        """What `install` of a hook is given: the image that is being built, and the root to take things from."""

        @property
        def options(self) -> Any:
            """The hook's own Options, as the configuration has them."""

        @property
        def root(self) -> Path:
            """The root directory of the system that programs and files are taken from."""

        def find(self, path: str) -> Path | None:
            """Where a file or directory of that system is on this machine, links followed; None where there is none."""

        def add_file(self, path: str, content: bytes | None = None, mode: int = 0o644) -> None:
            """Put in a file: `content`, or the system's file of that path. A link stays one, with what it names."""

        def add_link(self, path: str, target: str) -> None:
            """Put in a symbolic link."""

        def add_program(self, path: str) -> None:
            """Put in a program of the system with its libraries, or its interpreter, and theirs."""

        def add_modules(self, *names: str) -> None:
            """Put in kernel modules (names or aliases) with all that they need. They are loaded when the hook asks for it."""

        def add_module_index(self) -> None:
            """Put in the index of the image's modules in the form that libkmod reads."""

        def note(self, text: str) -> None:
            """Tell the person who builds."""

        def refuse(self, what: str, seen: str, hint: str) -> NoReturn:
            """End the build: cannot put `what` into the image."""


PLACES = ("device", "switch")
KINDS = ("flag", "number", "duration", "timeout", "text", "texts", "path", "paths", "device", "modules")


class Option(NamedTuple):
    """An option of a hook: a field of its Options, which has the default; one of KINDS; its meaning.

    A kind with | in it is a choice: "storage|all".
    """

    name: str
    kind: str
    description: str


class Declared(NamedTuple):
    """A hook's module and what it declares; `defaults` of its options that have one, the names of those that have none."""

    module: "Any"
    options: tuple[Option, ...]
    defaults: "dict[str, object]"
    required: tuple[str, ...]
    does: str
    undoes: str
    before: str

    def made(self, values: "dict[str, object]") -> "Any":
        """The hook's Options with these values."""
        return self.module.Options(**values) if self.options else ()


class Hooks:
    """The hooks of this program: frozen, those that were chosen for it; else all of the package rootfall_hooks."""

    def names(self, directory: str) -> tuple[str, ...]:
        """All names; `directory` is image.hooks_from, of which only the builder makes something."""
        package = _package()
        if package is None:
            return ()
        chosen: tuple[str, ...] | None = getattr(package, "CHOSEN", None)
        if chosen is not None:
            return chosen
        files = (name.partition(".py") for name in os.listdir(package.__path__[0]) if name.endswith(".py"))
        return tuple(sorted(name for name, _, _ in files if not name.startswith("_")))

    def load(self, name: str, directory: str = "") -> Declared:
        """The hook of a name. Raises LookupError where there is none, ValueError with the reason where it is none."""
        if name not in self.names(directory):
            raise LookupError(name)
        return declared(getattr(__import__(f"rootfall_hooks.{name}"), name))


def _package() -> "Any":
    try:
        return __import__("rootfall_hooks")
    except ImportError:  # an image without hooks
        return None


def declared(module: "Any") -> Declared:
    """What a module declares as a hook. Raises ValueError with what it lacks."""
    options: tuple[Option, ...] = tuple(getattr(module, "OPTIONS", ()))
    if options and not hasattr(getattr(module, "Options", None), "_field_defaults"):
        raise ValueError("it has OPTIONS, but no NamedTuple Options for them")
    fields = tuple(getattr(getattr(module, "Options", None), "_fields", ()))
    if tuple(each.name for each in options) != fields:
        raise ValueError(f"OPTIONS and the fields of Options are not the same: {', '.join(fields) or 'no fields'}")
    if unknown := [each.kind for each in options if "|" not in each.kind and each.kind not in KINDS]:
        raise ValueError(f"there is no kind of option {', '.join(unknown)}, only {', '.join(KINDS)} and a|b")
    does, undoes, before = (getattr(module, name, "") for name in ("DOES", "UNDOES", "BEFORE"))
    perform: Callable[..., object] | None = getattr(module, "perform", None)
    if perform is None or not does:
        raise ValueError("it has no `perform`, or no DOES that says in words what that does")
    if bool(undoes) != hasattr(module, "undo"):
        raise ValueError("it has `undo` or UNDOES, but not both")
    if (before := before or PLACES[0]) not in PLACES:
        raise ValueError(f"BEFORE is {before!r}, which is not one of {', '.join(PLACES)}")
    defaults = dict(module.Options._field_defaults) if options else {}
    required = tuple(name for name in fields if name not in defaults)
    return Declared(module, options, defaults, required, does, undoes, before)
