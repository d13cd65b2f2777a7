# SPDX-License-Identifier: MIT
"""The boot configuration: a YAML file -> Config, or every mistake in it at once. Pure, but for `load`, which reads.

Beside the file the builder puts its ready form, as a .pyc lies beside a .py: YAML stays the truth, and the ready form
is used only if it was made from the very same text by the very same rootfall, so that a boot need not parse.
What the keys are and mean stands in one table in `rootfall.schema`; see docs/configuration.md.
"""

import rootfall.ready
from rootfall.errors import ConfigError, Problem
from rootfall.model import BootConfig, Config, DeviceRef, Hook, ImageConfig, OnFailure, Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.hook import Hooks

LARGEST = 1 << 20

_MOST_PROBLEMS = 50


def load(path: str, hooks: "Hooks | None" = None) -> tuple[bytes, Config]:
    """Read and check a file; its text and its Config, or ConfigError with all that is wrong with it.

    `hooks` are those that there are; without, those of this program.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(path, (Problem(0, 0, "", f"cannot be read: {error.strerror}"),)) from error
    return text, parse(text, path, hooks)


def parse(text: bytes, path: str, hooks: "Hooks | None" = None) -> Config:
    """Check the text of a file; `path` is for the messages. ConfigError has all problems, in the order of the file."""
    words = decoded(text, path)
    # Only here: PyYAML and its regular expressions cost more than all else that a boot imports.
    from rootfall import check, yaml_tree

    tree, problems = yaml_tree.read(words)
    if tree is None:
        problems = problems or [Problem(0, 0, "", "the file is empty; it must have at least the line `version: 1`")]
    else:
        config, more = check.check(tree, hooks)
        problems += more
        if config is not None and not problems:
            return config
    raise ConfigError(path, readable(problems))


def ready(text: bytes, config: Config) -> bytes:
    """The ready form of a checked file: what `read_ready` gives back without parsing."""
    return rootfall.ready.pack(text, config)


def read_ready(blob: bytes, text: bytes) -> Config | None:
    """The Config in a ready form, if it is whole, of this rootfall, and made from exactly `text`; else None."""
    plain = rootfall.ready.unpack(blob, text)
    try:
        return None if plain is None else _config(plain)
    except (ValueError, TypeError):
        return None


def decoded(text: bytes, path: str) -> str:
    """The text of a configuration file; ConfigError where it cannot be one."""
    if len(text) > LARGEST:
        message = "the file is larger than 1 MiB, and a configuration is a few lines: is this the right file?"
        raise ConfigError(path, (Problem(0, 0, "", message),))
    text = text.removeprefix(b"\xef\xbb\xbf")  # a byte order mark; the frozen program has no codec utf-8-sig
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8", "replace")
        place = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        kind = (
            "UTF-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else f"something else (byte 0x{text[error.start]:02x})"
        )
        raise ConfigError(path, (Problem(*place, "", f"the file must be UTF-8, and this is {kind}"),)) from None


def readable(problems: list[Problem]) -> tuple[Problem, ...]:
    """The problems in the order of the file, and not more than a person reads."""
    ordered = sorted(problems, key=lambda problem: problem[:2])
    if len(ordered) > _MOST_PROBLEMS:
        ordered[_MOST_PROBLEMS:] = [Problem(0, 0, "", f"and {len(ordered) - _MOST_PROBLEMS} more problems")]
    return tuple(ordered)


def _config(plain: "Any") -> Config:
    version, ((device, *root), init, failure, options, blacklist, hooks), image = plain
    action, after, password, place = failure
    reference, save = (None if each is None else DeviceRef(*each) for each in (device, place))
    used = tuple([Hook(*each) for each in hooks])
    boot = BootConfig(Root(reference, *root), init, OnFailure(action, after, password, save), options, blacklist, used)
    return Config(version, boot, ImageConfig(*image))
