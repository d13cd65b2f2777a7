# SPDX-License-Identifier: MIT
"""The file of a container: YAML with the keys of the option table, into what it asks for, or every mistake in it at once.

Only the file that is named is read, and only if nobody but root and the caller can have written it, and it does not lie in the
root that it names: nspawn read what it found beside an image, and was told by it how to let it out (CVE-2026-40226). Paths of
the host's are meant from the file's directory. Imported only with --config: it brings PyYAML and its regular expressions.
"""

import os
import stat

from rootfall import config
from rootfall.container import forms
from rootfall.container.model import NAMESPACES, Mount
from rootfall.container.option_table import ONLY_WORDS, rows
from rootfall.errors import ConfigError, ContainerError, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rootfall.container.forms import Form
    from rootfall.schema import Kind, Table
    from rootfall.yaml_tree import Node

_SECTIONS = {
    "": "A container for `rootfall container run --config`",
    "root": "The directory that becomes /.",
    "process": "What is executed, and as what.",
    "namespaces": "Which namespaces are made: true or false.",
    "default_mounts": "What is mounted by itself: true or false.",
    "time_offsets": "How far clocks are set ahead or back, in seconds (time_namespaces(7)).",
    "resources": "Limits, by a cgroup of its own.",
}
_MOUNT_TYPES = ("bind", "tmpfs", "proc", "sysfs", "mqueue", "dev")


def load(path: str, root: str) -> "dict[str, Any]":
    """What the file asks for, by keys; `root` is the one that the command line names, if any. Raises ConfigError."""
    text = _read(path)
    asked = parse(text, path)
    directory = os.path.dirname(path)
    if "root.path" in asked:
        asked["root.path"] = os.path.join(directory, asked["root.path"])
    if asked.get("root.overlay", "volatile") != "volatile":
        asked["root.overlay"] = ":".join(os.path.join(directory, each) for each in asked["root.overlay"].split(":"))
    asked["mounts"] = tuple(
        mount._replace(source=os.path.join(directory, mount.source)) if mount.type == "bind" else mount
        for mount in asked.get("mounts", ())
    )
    for each in (root, asked.get("root.path", "")):
        if each and _lies_in(path, each):
            raise _refused(path, f"it lies in the root that it is for, {each}: whoever made that may have written it")
    return asked


def parse(text: bytes, path: str) -> "dict[str, Any]":
    """Check the text of a file; `path` is for the messages. ConfigError has all problems, in the order of the file."""
    words = config.decoded(text, path)
    from rootfall import check, yaml_tree

    tree, problems = yaml_tree.read(words)
    if tree is None:
        problems = problems or [Problem(0, 0, "", "the file is empty; it must have at least the line `version: 1`")]
    else:
        found, more = check.walk(tree, table())
        problems += more
        mounts = _mounts(found.pop("mounts", None), problems)
        if not problems:
            return _asked({key: value for key, (_, value) in found.items()} | mounts)
    raise ConfigError(path, config.readable(problems))


def merge(file: "dict[str, Any]", words: "dict[str, Any]") -> "dict[str, Any]":
    """Both together: a list goes on with what the command line says, anything else that it says wins."""
    adds = {option.key for option in rows() if option.adds}
    return file | {key: file.get(key, ()) + value if key in adds else value for key, value in words.items()}


def table() -> "Table":
    """The keys of the file: those of the options, and those that are said by other words on a command line."""
    from rootfall.schema import VERSION, Key, Section, Table

    keys = [
        Key("version", VERSION, "", "The version of this format."),
        Key("root.path", _kind(forms.DIRECTORY), "", "The directory, from that of this file."),
        Key("process.args", _kind(forms.WORD, "[/bin/sh, -c, id]"), "", "The command and its arguments."),
    ]
    known = {key.path for key in keys}
    for option in rows():
        if option.key and option.key not in (*known, *ONLY_WORDS, "mounts", "network", "namespaces.user"):
            known.add(option.key)
            form = forms.VARIABLE if option.key == "process.env" else _form(option.key, option.form)
            keys.append(
                Key(option.key, _kind(form, _EXAMPLES.get(option.key, "") if option.adds else ""), "", option.help)
            )
    keys += [
        Key(f"namespaces.{each}", _kind(forms.FLAG), "", f"The {each} namespace.")
        for each in NAMESPACES
        if each != "mount"
    ]
    keys += [Key(f"time_offsets.{each}", _kind(forms.SECONDS), "", "Seconds.") for each in ("boottime", "monotonic")]
    keys.append(Key("mounts", _mount_kind(), "", "What is mounted besides the defaults, in this order."))
    return Table({path: Section(text) for path, text in _SECTIONS.items()}, tuple(keys))


def json_schema() -> "dict[str, Any]":
    """The keys as a JSON Schema (draft 2020-12), for editors: what the checker accepts fits it; the checker is stricter."""
    from rootfall.schema import table_schema

    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "rootfall container"}
    return {**head, **table_schema(table()), "required": ["version"]}


_EXAMPLES = {
    "process.env": "[LANG=C.UTF-8]",
    "process.additional_gids": "[27]",
    "process.capabilities": "[CAP_CHOWN]",
    "process.drop_capabilities": "[CAP_CHOWN]",
    "process.rlimits": '["NOFILE=1024:4096"]',
    "uid_mappings": '["0:100000:65536"]',
    "gid_mappings": "[auto]",
    "masked_paths": "[/proc/cpuinfo]",
    "unmasked_paths": "[/proc/sys]",
    "resources.io_max": '["8:0,wbps=1M"]',
}


# Where the words of the first option with this key are about a flag.
_HELP = {
    "root.overlay": "Where changes go, UPPER:WORK, and ROOT stays as it is; volatile throws them away.",
    "process.env": "Variables, besides the four that there are.",
    "process.additional_gids": "More groups.",
    "process.seccomp": "Refuse dangerous system calls, or do not.",
}


def _form(key: str, form: "Form") -> "Form":
    """A flag of the command line may be a word of the file: `root.overlay`, and what --init undoes."""
    return {"root.overlay": forms.OVERLAY, "process.as_pid1": forms.FLAG, "process.seccomp": forms.SECCOMP}.get(
        key, form
    )


def _kind(form: "Form", many: str = "") -> "Kind":
    """A form of the command line as a kind of the file's: the same reader reads it."""
    from rootfall.schema import Kind, RemedyError
    from rootfall.yaml_tree import NUMBER, OTHER, TEXT

    flag = form.read in (forms.FLAG.read,)

    def read(node: "Node") -> object:
        if node.kind not in (TEXT, NUMBER, OTHER) or (node.meaning and not flag):
            raise ValueError
        if flag and node.kind != OTHER:
            raise ValueError
        try:
            value = form.read(node.meaning or node.text)
        except ValueError as error:
            raise (
                RemedyError(f"{node.text!r} {error}") if isinstance(error, forms.WrongError) else ValueError()
            ) from None
        if "\0" in node.text:
            raise ValueError
        return value

    if flag:
        return Kind("true or false", {"type": "boolean"}, read)
    schema: dict[str, Any] = {"enum": list(form.words)} if form.words else {"type": ["string", "integer", "number"]}
    return Kind(form.allowed, schema, read, many)


def _mount_kind() -> "Kind":
    from rootfall.schema import Key, Kind, Section, Table, table_schema

    choice = Kind(
        f"one of {', '.join(_MOUNT_TYPES)}",
        {"enum": list(_MOUNT_TYPES)},
        _kind(forms.choice(*_MOUNT_TYPES)).read,
    )
    keys = (
        Key("destination", _kind(forms.PLACE), "", "Where, in the new root."),
        Key("type", choice, "", "A bind of the host's file or tree, or a file system."),
        Key("source", _kind(forms.WORD), "", "What is bound, from the directory of this file."),
        Key("options", _kind(forms.WORD, "[ro, noexec]"), "", "As mount(8) has them."),
    )
    inner = Table({"": Section("One mount")}, keys)
    schema = table_schema(inner) | {"required": ["destination", "type"]}
    return Kind("a mount", schema, lambda _: None, "[{destination: /work, type: bind, source: /home/me}]", inner)


def _mounts(found: "tuple[Node, Any] | None", problems: list[Problem]) -> "dict[str, Any]":
    """The mounts of the file as records."""
    made = []
    for n, item in enumerate(found[1] if found else ()):
        if not isinstance(item, tuple):
            continue  # a mistake that is known already
        node, said = item
        try:
            made.append(_mount(said))
        except ValueError as error:
            problems.append(Problem(node.line, node.column, f"mounts[{n}]", str(error)))
    return {"mounts": tuple(made)}


def _mount(said: "dict[str, Any]") -> Mount:
    if "destination" not in said or "type" not in said:
        raise ValueError("a mount needs a destination and a type")
    kind, options = said["type"], said.get("options", ())
    if kind == "bind":
        if not said.get("source"):
            raise ValueError("a bind needs a source")
        return forms.bound(said["source"], said["destination"], options)
    if kind == "tmpfs":
        return forms.fresh_tmpfs(said["destination"], options)
    return forms.api_mount(said["destination"], kind, options)


def _asked(found: "dict[str, Any]") -> "dict[str, Any]":
    """Without what only the file has."""
    return {key: value for key, value in found.items() if key != "version"}


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise _refused(path, "it is no regular file")
            if found.st_uid not in (0, os.geteuid()):
                raise _refused(path, f"it belongs to user {found.st_uid}; only root's files and your own are used")
            if found.st_mode & 0o022:
                raise _refused(path, f"others may write to it (mode {found.st_mode & 0o7777:04o}); chmod go-w it")
            return os.read(fd, config.LARGEST + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(path, (Problem(0, 0, "", f"cannot be read: {error.strerror}"),)) from error


def _refused(path: str, why: str) -> ContainerError:
    return ContainerError("use the configuration", path, seen=why)


def _lies_in(path: str, root: str) -> bool:
    """Whether a file is below a directory, whatever the names; everything is below /, and that is no reason."""
    try:
        top = os.stat(root)
    except OSError:
        return False  # there is no such root: that will be said later
    place = os.path.dirname(os.path.realpath(path))
    while place != "/":
        found = os.stat(place)
        if (found.st_dev, found.st_ino) == (top.st_dev, top.st_ino):
            return True
        place = os.path.dirname(place)
    return False
