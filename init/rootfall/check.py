# SPDX-License-Identifier: MIT
"""A tree of nodes against the table of `rootfall.schema`: a Config, or every mistake with its place, key and remedy.

Goes on after each mistake, so that a person corrects a file once and not ten times. Pure; knows nothing of YAML beyond
the nodes. What a value of each kind may be stands in the schema, not here.
"""

from __future__ import annotations

from rootfall.errors import Problem
from rootfall.model import BootConfig, Config, ImageConfig, OnFailure, Root
from rootfall.schema import BOOT, LEVELS, Kind, RemedyError, Table, children, join
from rootfall.yaml_tree import LIST, MAPPING, NOTHING, NUMBER, REFUSED, TEXT, Node, seen, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rootfall.hook import Hooks

_WRONG = object()


def check(tree: Node, hooks: Hooks | None = None) -> tuple[Config | None, list[Problem]]:
    """The Config that a file's tree says, and every mistake in it; there is a Config if there are no mistakes.

    `hooks` are those that there are; without, those of this program.
    """
    found, problems = walk(tree, BOOT)
    _level_fits(found, problems)
    if "boot.hooks" in found:
        from rootfall import hook_list  # few files have any

        node, _ = found["boot.hooks"]
        directory = found["image.hooks_from"][1] if "image.hooks_from" in found else ""
        found["boot.hooks"] = (node, hook_list.read(node, hooks, directory, problems, _values))
    return (None, problems) if problems or "version" not in found else (_config(found), [])


def walk(tree: Node, table: Table) -> tuple[dict[str, tuple[Node, Any]], list[Problem]]:
    """What a file's tree says by a table, by the keys' paths, and every mistake in it."""
    problems: list[Problem] = []
    found: dict[str, tuple[Node, Any]] = {}
    _section(table, "", tree, found, problems)
    if tree.kind == MAPPING and not any(key.text == "version" for key, _ in tree.entries):
        problems.append(Problem(tree.line, tree.column, "version", "is missing: add the line `version: 1`"))
    return found, problems


def _section(table: Table, path: str, node: Node, found: dict[str, tuple[Node, Any]], problems: list[Problem]) -> None:
    section = table.sections[path]
    if node.kind == REFUSED:
        return
    if section.shorthand and node.kind not in (MAPPING, LIST, NOTHING):
        _value(table, join(path, section.shorthand), path, node, found, problems)
        return
    if node.kind != MAPPING:
        shape = f"must be a mapping with {', '.join(children(path, table))}, not {seen(node)}"
        remedy = "; indent its keys below it, or remove it" if path and node.kind == NOTHING else ""
        problems.append(Problem(node.line, node.column, path, shape + remedy))
        return
    lines: dict[str, int] = {}
    for key, value in node.entries:
        if key.kind != REFUSED:
            _entry(table, path, key, value, lines, found, problems)


def _entry(
    table: Table,
    path: str,
    key: Node,
    value: Node,
    lines: dict[str, int],
    found: dict[str, tuple[Node, Any]],
    problems: list[Problem],
) -> None:
    child = join(path, short(key.text))
    if key.kind in (LIST, MAPPING):
        problems.append(Problem(key.line, key.column, path, f"a key must be a word, not {seen(key)}"))
    elif key.text in lines:
        problems.append(Problem(key.line, key.column, child, f"is given twice; first in line {lines[key.text]}"))
    elif child in table.sections:
        _section(table, child, value, found, problems)
    elif child in table.by_path:
        _value(table, child, child, value, found, problems)
    else:
        problems.append(Problem(key.line, key.column, child, _unknown(table, path, key.text)))
    lines.setdefault(key.text, key.line)


def _value(
    table: Table, path: str, shown: str, node: Node, found: dict[str, tuple[Node, Any]], problems: list[Problem]
) -> None:
    kind = table.by_path[path].kind
    if kind.later and node.kind == LIST:
        found[path] = (node, ())
    elif (value := _values(kind, shown, node, problems)) is not _WRONG:
        found[path] = (node, value)


def _values(kind: Kind, shown: str, node: Node, problems: list[Problem]) -> object:
    """The value of a key, or the values where it takes a list; what is wrong goes into `problems`."""
    if not kind.many or node.kind == REFUSED:
        return _read(kind, shown, node, problems)
    if node.kind == LIST:
        return tuple(_read(kind, f"{shown}[{i}]", item, problems) for i, item in enumerate(node.items))
    remedy = f"; write [{short(node.text)}]" if node.kind in (TEXT, NUMBER) else ""
    message = f"must be a list such as {kind.many}, not {seen(node)}{remedy}"
    problems.append(Problem(node.line, node.column, shown, message))
    return _WRONG


def _read(kind: Kind, shown: str, node: Node, problems: list[Problem]) -> object:
    if node.kind == REFUSED:
        return _WRONG
    if kind.table is not None:
        return _mapping(kind.table, shown, node, problems)
    try:
        return kind.read(node)
    except RemedyError as hint:
        message = str(hint)
    except ValueError:
        message = f"must be {kind.allowed}, not {seen(node)}"
    problems.append(Problem(node.line, node.column, shown, message))
    return _WRONG


def _mapping(table: Table, shown: str, node: Node, problems: list[Problem]) -> object:
    """A mapping in a list, by a table of its own."""
    found: dict[str, tuple[Node, Any]] = {}
    inner: list[Problem] = []
    _section(table, "", node, found, inner)
    problems += [problem._replace(key=f"{shown}.{problem.key}" if problem.key else shown) for problem in inner]
    return _WRONG if inner else (node, {path: value for path, (_, value) in found.items()})


def _level_fits(found: dict[str, tuple[Node, Any]], problems: list[Problem]) -> None:
    if "image.compress.level" not in found:
        return
    node, level = found["image.compress.level"]
    method = found["image.compress.method"][1] if "image.compress.method" in found else ImageConfig().compress
    limits = LEVELS[method]
    if limits is None:
        problems.append(Problem(node.line, node.column, "image.compress.level", f"{method} has no levels: remove it"))
    elif not limits[0] <= level <= limits[1]:
        message = f"must be {limits[0]} to {limits[1]} for {method}, not {level}"
        problems.append(Problem(node.line, node.column, "image.compress.level", message))


def _config(found: Mapping[str, tuple[Node, Any]]) -> Config:
    def under(section: str) -> dict[str, Any]:
        return {
            path.removeprefix(f"{section}."): value
            for path, (_, value) in found.items()
            if path.startswith(f"{section}.")
        }

    image = {{"compress.method": "compress", "compress.level": "level"}.get(k, k): v for k, v in under("image").items()}
    root = Root(**{"device": None, **under("boot.root")})
    plain = {key: value for key, value in under("boot").items() if "." not in key}
    boot = BootConfig(root, on_failure=OnFailure(**under("boot.on_failure")), **plain)
    return Config(found["version"][1], boot, ImageConfig(**image))


def _unknown(table: Table, path: str, name: str) -> str:
    allowed = children(path, table)
    from rootfall.similar import near  # few files have a slip

    guess = near(name, allowed)
    if guess is None:
        guess = next(
            (known for known in (*table.by_path, *table.sections) if known and known.rpartition(".")[2] == name), None
        )
    remedy = f'; did you mean "{guess}"?' if guess else ""
    return f"unknown key{remedy} (allowed here: {', '.join(allowed)})"
