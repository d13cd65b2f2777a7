# SPDX-License-Identifier: MIT
"""What the configuration file may say: one table, from which come the checker, the JSON Schema and the reference.

A new key is a line in KEYS and a field in `rootfall.model`; both names are the same, and the default is the model's.
Imported only when a file is parsed, so it may use regular expressions: the same that stand in the JSON Schema.
"""

from __future__ import annotations

import re

import rootfall
from rootfall import device_ref
from rootfall.model import DeviceRef
from rootfall.record import NamedTuple
from rootfall.yaml_tree import NUMBER, OTHER, TEXT, Node, seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootfall.hook import Hooks

# What each group holds, rootfall_build.drivers knows.
GROUPS = ("storage", "virtio", "ata", "nvme", "scsi", "usb", "mmc", "keyboard")
LEVELS = {"zstd": (1, 22), "lz4": (1, 12), "xz": (0, 9), "gzip": (1, 9), "none": None}

_DURATION = r"(?!$)([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_HEX4 = "[0-9A-Fa-f]{4}"
_GPT = f"[0-9A-Fa-f]{{8}}-{_HEX4}-{_HEX4}-{_HEX4}-[0-9A-Fa-f]{{12}}"
_ISO9660 = "[0-9]{4}(-[0-9]{2}){6}"
_NAMED = (
    f"(UUID=({_GPT}|{_HEX4}-{_HEX4}|[0-9A-Fa-f]{{16}}|{_ISO9660})"
    f"|PARTUUID=({_GPT}|[0-9A-Fa-f]{{8}}-[0-9A-Fa-f]{{2}})(/PARTNROFF=-?[0-9]{{1,3}})?"
    r'|(PART)?LABEL=[^"\x00-\x1f\x7f]+'
    r"|/dev/(?!(nfs|cifs|ram|root)$)(?!(.*/)?\.{1,2}(/|$))[^/\s]+(/[^/\s]+)*"
    "|[0-9]{1,4}:[0-9]{1,7})"
)
_DEVICE = f"({_NAMED}|auto)"
_FSTYPE = r"[a-z0-9][a-z0-9._-]*(,[a-z0-9][a-z0-9._-]*)*"
_OPTION = r'(?!r[ow]$)[^\s,"]+("[^"]*")?'
_MODULE = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_MODULE_OPTION = r"[A-Za-z0-9][A-Za-z0-9_-]*\.[A-Za-z0-9_]+(=\S*)?"
_HASH = r"\$(2[abxy]|5|6|7|y|gy)\$[./0-9A-Za-z$=,]{20,400}"
_INIT = r"/[^\s/]\S*"


class Kind(NamedTuple):
    """A kind of value: `allowed` in words, its JSON Schema, and its reader, which raises ValueError.

    `many` is an example of a list, where the key takes a list of such values; `table` is that of a mapping in the list;
    `later`: what a list may hold depends on another key, and is checked when all keys are read."""

    allowed: str
    schema: dict[str, Any]
    read: Callable[[Node], object]
    many: str = ""
    table: Table | None = None
    later: bool = False


class Key(NamedTuple):
    """A key of the file by its dotted path; `default` as it would be written in the file."""

    path: str
    kind: Kind
    default: str
    description: str


class Section(NamedTuple):
    """A mapping in the file. A plain word in its place stands for its key `shorthand`, where that is set."""

    description: str
    shorthand: str = ""


class Table(NamedTuple):
    """What a kind of file may say."""

    sections: Mapping[str, Section]
    keys: tuple[Key, ...]

    @property
    def by_path(self) -> dict[str, Key]:
        """The keys by their paths."""
        return {key.path: key for key in self.keys}


class RemedyError(ValueError):
    """A mistake that has its own sentence, better than "must be …, not …"."""


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _text(node: Node) -> str:
    if node.kind != TEXT:
        raise ValueError
    return node.text


def _words(*words: str) -> Kind:
    def read(node: Node) -> str:
        if _text(node) in words:
            return node.text
        from rootfall.similar import near  # few files have a slip

        guess = near(node.text, words)
        raise RemedyError(f'must be {_or(words)}, not {seen(node)}; did you mean "{guess}"?') if guess else ValueError

    return Kind(_or(words), {"enum": list(words)}, read)


def _pattern(allowed: str, pattern: str, remedies: Mapping[str, str]) -> Kind:
    def read(node: Node) -> str:
        text = _text(node)
        if re.fullmatch(pattern, text):
            return text
        for mistake, remedy in remedies.items():
            if re.fullmatch(mistake, text):
                raise RemedyError(f"{seen(node)}: {remedy}")
        raise ValueError

    return Kind(allowed, {"type": "string", "pattern": f"^{pattern}$"}, read)


def _version(node: Node) -> int:
    if node.kind == NUMBER and node.text == "1":
        return 1
    if node.kind == NUMBER and node.text.isdecimal() and not node.meaning:
        raise RemedyError(f"must be 1, not {node.text}: that is all that rootfall {rootfall.__version__} knows")
    raise ValueError


def _device(node: Node) -> object:
    try:
        return device_ref.parse(_text(node))
    except ValueError as error:
        raise RemedyError(str(error)) if error.args else error from None


def _save(node: Node) -> object:
    if _text(node) == "esp":
        return DeviceRef("ESP", node.text)
    if node.text == "auto":
        raise RemedyError("must name one device: esp is the EFI system partition")
    return _device(node)


def _duration(node: Node) -> float:
    if node.kind == NUMBER and not node.meaning and node.text.isdecimal() and len(node.text) <= 6:
        return float(node.text)
    found = re.fullmatch(_DURATION, _text(node))
    if not found:
        raise ValueError
    # Whole milliseconds first: 100 ms and 0.1 s are then the same number.
    return (
        sum(
            _UNITS[unit] * 1000 * int(part[: -len(unit)])
            for unit, part in zip(_UNITS, found.groups(), strict=True)
            if part
        )
        / 1000
    )


def _timeout(node: Node) -> float | None:
    return None if node.kind == TEXT and node.text == "forever" else _duration(node)


def _level(node: Node) -> int:
    if node.kind == NUMBER and not node.meaning and node.text.isdecimal() and int(node.text) <= 22:
        return int(node.text)
    raise ValueError


def _number(node: Node) -> int:
    if node.kind == NUMBER and not node.meaning and node.text.isdecimal() and len(node.text) <= 9:
        return int(node.text)
    raise ValueError


def _flag(node: Node) -> bool:
    if node.kind != OTHER or node.meaning not in ("true", "false"):
        raise ValueError
    return node.meaning == "true"


def _device_text(node: Node) -> str:
    _device(node)
    return node.text


_SPAN = "a duration such as 30s, 2m, 1m30s, 500ms, or a plain number of seconds"
_SPAN_SCHEMA: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 0, "maximum": 999999},
    {"type": "string", "pattern": f"^{_DURATION}$"},
]
VERSION = Kind("1", {"const": 1}, _version)
DEVICE = Kind(device_ref.FORMS, {"type": "string", "pattern": f"^{_DEVICE}$"}, _device)
SAVE = Kind(
    "esp, or a device as for boot.root.device, but not auto",
    {"type": "string", "pattern": f"^(esp|{_NAMED})$"},
    _save,
)
DURATION = Kind(_SPAN, {"anyOf": _SPAN_SCHEMA}, _duration)
TIMEOUT = Kind(f"forever, or {_SPAN}", {"anyOf": [*_SPAN_SCHEMA, {"const": "forever"}]}, _timeout)
LEVEL = Kind(
    "a whole number: " + ", ".join(f"{m} {r[0]} to {r[1]}" for m, r in LEVELS.items() if r), {"type": "integer"}, _level
)
FSTYPE = _pattern("auto, or a file system as the kernel names it, such as ext4", _FSTYPE, {})
INIT = _pattern(
    "an absolute path in the real root",
    _INIT,
    {r"/\S+\s.*": "a path alone; arguments for init go after -- on the kernel command line"},
)
OPTIONS = _pattern(
    "a mount option, such as noatime",
    _OPTION,
    {"r[ow]": "say it with `mode:`", ".*,.*": "one option each, as in [noatime, nodev]"},
)._replace(many="[noatime, commit=30]")
MODULES = _pattern(
    "the name of a kernel module, such as ext4",
    _MODULE,
    {r".*\.ko(\.\w+)?": "a module's name, not its file: leave out the folder and .ko"},
)._replace(many="[virtio_blk, ext4]")

PASSWORD = _pattern(
    "a password's hash as in /etc/shadow (crypt(5))",
    _HASH,
    {
        "[^$].*|": "this is not a hash: `openssl passwd -6` or `mkpasswd` makes one, and the password stays out of the file"
    },
)
MODULE_OPTIONS = _pattern(
    "a module's parameter as on the kernel command line, such as usb_storage.delay_use=0",
    _MODULE_OPTION,
    {r"[A-Za-z0-9_-]+": "write module.parameter=value"},
)._replace(many="[usb_storage.delay_use=0]")
DRIVERS = _words(*GROUPS)._replace(many="[storage]")
FILESYSTEMS = _pattern("a file system as the kernel names it, such as ext4", _FSTYPE.partition("(")[0], {})._replace(
    many="[ext4, btrfs]"
)

PATH = _pattern("an absolute path", _INIT, {})
DIRECTORY = _pattern("a directory, absolute or beside this file", r"[^\x00-\x1f\x7f]+", {})
LINE = _pattern("a text of one line", r"[^\x00-\x1f\x7f]+", {})
HOOKS = Kind("a hook's name, alone or with its options", {}, _text, "[udevd, {my_hook: {an_option: 1}}]", later=True)

# What the options of a hook can be; several words with | between them are a choice (rootfall.hook.Option).
OPTION_KINDS = {
    "flag": Kind("true or false", {"type": "boolean"}, _flag),
    "number": Kind("a whole number", {"type": "integer", "minimum": 0, "maximum": 999999999}, _number),
    "duration": DURATION,
    "timeout": TIMEOUT,
    "text": LINE,
    "texts": LINE._replace(many="[one, two]"),
    "path": PATH,
    "paths": PATH._replace(many="[/usr/bin/one]"),
    "device": DEVICE._replace(read=_device_text),
    "modules": MODULES,
}

SECTIONS = {
    "": Section("A rootfall boot configuration"),
    "boot": Section("What PID 1 does."),
    "boot.root": Section("The real root."),
    "boot.on_failure": Section("What happens when the boot fails, after the report."),
    "image": Section("What the builder puts into the image."),
    "image.compress": Section("How the image is compressed: a method alone, or with its level.", shorthand="method"),
}

KEYS = (
    Key("version", VERSION, "", "The version of this format. It must be there; it pins the defaults below."),
    Key("boot.root.device", DEVICE, "", "The block device of the root. Without it, the command line must say `root=`."),
    Key("boot.root.fstype", FSTYPE, "auto", "Its file system; `auto` looks at the device."),
    Key("boot.root.options", OPTIONS, "[]", "Mount options, as in fstab(5), but for ro and rw."),
    Key("boot.root.mode", _words("ro", "rw"), "ro", "Mount it read-only, as init systems expect, or read-write."),
    Key("boot.root.timeout", TIMEOUT, "30s", "How long to wait for the device."),
    Key("boot.root.delay", DURATION, "0s", "Wait this long before looking for it, for hardware that settles slowly."),
    Key("boot.init", INIT, "/sbin/init", "The program that becomes PID 1 in the real root."),
    Key("boot.module_options", MODULE_OPTIONS, "[]", "Parameters for modules; the command line's win."),
    Key("boot.blacklist", MODULES, "[]", "Modules that are never loaded because hardware asks for them."),
    Key("boot.hooks", HOOKS, "[]", "Hooks, performed in this order; only these are in the image (docs/hooks.md)."),
    Key("boot.on_failure.action", _words("shell", "reboot", "poweroff", "halt"), "shell", "What to do."),
    Key("boot.on_failure.after", DURATION, "0s", "How long to show the report first."),
    Key("boot.on_failure.password", PASSWORD, "", "Whoever wants a shell must type it; three wrong ones reboot."),
    Key(
        "boot.on_failure.save",
        SAVE,
        "",
        "Keep the report in /rootfall of the EFI system partition, or of another FAT, for the next good boot.",
    ),
    Key("image.modules", MODULES, "[]", "Kernel modules to put in, with all they need, and to load at every boot."),
    Key("image.drivers", DRIVERS, "[]", "Groups of drivers to put in; loaded where their hardware is there."),
    Key("image.filesystems", FILESYSTEMS, "[]", "File systems to put in; loaded when the root is one."),
    Key(
        "image.shell", _words("none", "busybox"), "none", "The emergency shell; `none` leaves a small built-in console."
    ),
    Key("image.hooks_from", DIRECTORY, "", "A directory with the site's own hooks, `NAME.py` each."),
    Key(
        "image.programs_from",
        DIRECTORY,
        "",
        "The root directory that hooks take programs from; without it, this machine's.",
    ),
    Key("image.compress.method", _words(*LEVELS), "zstd", "The kernel must know the method."),
    Key("image.compress.level", LEVEL, "", "How hard to try; each method has its own default. Not for `none`."),
)

BOOT = Table(SECTIONS, KEYS)
BY_PATH = BOOT.by_path


def children(path: str, table: Table = BOOT) -> tuple[str, ...]:
    """The names of the keys and sections that may stand in a section, in the order of the table."""
    paths = (p for key in table.keys for p in _prefixes(key.path) if p.rpartition(".")[0] == path)
    return tuple(dict.fromkeys(p.rpartition(".")[2] for p in paths))


def join(path: str, name: str) -> str:
    """The path of a name in a section; the file itself is the section "" (nothing)."""
    return f"{path}.{name}" if path else name


def option_kind(kind: str) -> Kind:
    """The kind of a hook's option: one of OPTION_KINDS, or a choice."""
    return _words(*kind.split("|")) if "|" in kind else OPTION_KINDS[kind]


def json_schema(hooks: Hooks | None = None, directory: str = "") -> dict[str, Any]:
    """The whole table as a JSON Schema (draft 2020-12), for editors; the checker and it accept the same files.

    With the hooks that there are, those in `directory` too.
    """
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rootfall",
        **table_schema(BOOT),
        "required": ["version"],
    }
    from rootfall import hook

    schema["properties"]["boot"]["properties"]["hooks"]["items"] = _hook_shapes(hooks or hook.Hooks(), directory)
    return schema


def _hook_shapes(hooks: Hooks, directory: str) -> dict[str, Any]:
    """A hook alone, if it needs no options, or as the only key of a mapping, with its options."""
    alone, shapes = [], {}
    for name in hooks.names(directory):
        found = hooks.load(name, directory)
        properties = {each.name: _leaf(Key("", option_kind(each.kind), "", each.description)) for each in found.options}
        options = {"type": "object", "properties": properties, "additionalProperties": False}
        if found.required:
            options["required"] = list(found.required)
        else:
            alone.append(name)
        shapes[name] = {"description": found.does, "anyOf": [options] + [{"type": "null"}] * (name in alone)}
    one = {
        "type": "object",
        "properties": shapes,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": alone}, one] if alone else [one]}


def options_table(hooks: Hooks, name: str) -> str:
    """The options of a hook as Markdown, as they stand in docs/hooks.md."""
    found = hooks.load(name, "")
    rows = ["| Option | Allowed | Default | Meaning |", "|---|---|---|---|"]
    for each in found.options:
        kind = option_kind(each.kind)
        allowed = f"a list: `{kind.many}`" if kind.many else kind.allowed
        default = f"`{_written(found.defaults[each.name])}`" if each.name in found.defaults else "required"
        rows.append(f"| `{each.name}` | {allowed} | {default} | {each.description} |")
    return "\n".join(rows) + "\n"


def _written(value: object) -> str:
    """A default as it would be written in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}s"
    return "[]" if value == () else str(value)


def reference_table() -> str:
    """The table as Markdown, as it stands in docs/configuration.md."""
    rows = ["| Key | Allowed | Default | Meaning |", "|---|---|---|---|"]
    for key in KEYS:
        default = f"`{key.default}`" if key.default else "required" if key.path == "version" else "none"
        allowed = f"a list: `{key.kind.many}`" if key.kind.many else key.kind.allowed
        rows.append(f"| `{key.path}` | {allowed} | {default} | {key.description} |")
    return "\n".join(rows) + "\n"


def _prefixes(path: str) -> tuple[str, ...]:
    parts = path.split(".")
    return tuple(".".join(parts[: n + 1]) for n in range(len(parts)))


def table_schema(table: Table, path: str = "") -> dict[str, Any]:
    """A section of a table as a JSON Schema."""
    properties = {name: _property(table, join(path, name)) for name in children(path, table)}
    return {
        "description": table.sections[path].description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _property(table: Table, path: str) -> dict[str, Any]:
    if path not in table.sections:
        return _leaf(table.by_path[path])
    schema = table_schema(table, path)
    if path == "image.compress":
        schema["allOf"] = _level_rules()
    if not table.sections[path].shorthand:
        return schema
    word = table.by_path[join(path, table.sections[path].shorthand)]
    return {"description": schema.pop("description"), "anyOf": [word.kind.schema, schema], "default": word.default}


def _leaf(key: Key) -> dict[str, Any]:
    one = key.kind.schema
    schema = {"description": key.description, **({"type": "array", "items": one} if key.kind.many else one)}
    if key.default:
        schema["default"] = [] if key.kind.many else key.default
    return schema


def _level_rules() -> list[dict[str, Any]]:
    """The levels depend on the method; a method that is not given is the default one."""
    rules = []
    for method, limits in LEVELS.items():
        allowed: Any = {"minimum": limits[0], "maximum": limits[1]} if limits else False
        when: dict[str, Any] = {"properties": {"method": {"const": method}}}
        if method != BY_PATH["image.compress.method"].default:
            when["required"] = ["method"]
        rules.append({"if": when, "then": {"properties": {"level": allowed}}})
    return rules
