# SPDX-License-Identifier: MIT
"""The list `boot.hooks` against what the hooks declare: which, in what order, with what options; every mistake in its place.

Pure; which hooks there are it is told (rootfall.hook.Hooks). The kinds of options stand in rootfall.schema.
"""

from __future__ import annotations

from rootfall.errors import Problem
from rootfall.hook import Declared, Hooks
from rootfall.model import Hook
from rootfall.schema import Kind, option_kind
from rootfall.similar import near
from rootfall.yaml_tree import MAPPING, NOTHING, REFUSED, TEXT, Node, seen, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Values = Callable[[Kind, str, Node, list[Problem]], object]

_SHAPE = "must be a hook's name, or one name with its options as in udevd: {hwdb: true}"


def read(node: Node, hooks: Hooks | None, directory: str, problems: list[Problem], values: Values) -> tuple[Hook, ...]:
    """The hooks of a list; those with a mistake are left out of it, and the mistakes put into `problems`.

    `values` reads the value of an option, as those of all other keys are read (rootfall.check).
    """
    found = (
        _hook(item, f"boot.hooks[{i}]", hooks or Hooks(), directory, problems, values)
        for i, item in enumerate(node.items)
        if item.kind != REFUSED
    )
    return tuple(each for each in found if each is not None)


def _hook(
    node: Node, shown: str, hooks: Hooks, directory: str, problems: list[Problem], read_values: Values
) -> Hook | None:
    name, values = node, Node(NOTHING, node.line, node.column)
    if node.kind == MAPPING and len(node.entries) == 1:
        name, values = node.entries[0]
    if REFUSED in (name.kind, values.kind):
        return None
    if name.kind != TEXT:
        more = f" with {len(node.entries)} keys; indent the options below the name" if node.kind == MAPPING else ""
        problems.append(Problem(node.line, node.column, shown, f"{_SHAPE}, not {seen(node)}{more}"))
        return None
    try:
        declared = hooks.load(name.text, directory)
    except LookupError:
        problems.append(Problem(name.line, name.column, shown, _unknown(name.text, hooks.names(directory))))
        return None
    except ValueError as error:
        problems.append(Problem(name.line, name.column, shown, f"the hook {name.text} is not usable: {error}"))
        return None
    shown = f"{shown}.{name.text}"
    if values.kind not in (MAPPING, NOTHING):
        problems.append(Problem(values.line, values.column, shown, f"must be a mapping, not {seen(values)}"))
        return None
    before = len(problems)
    made = declared.defaults | _options(values, shown, declared, problems, read_values)
    for each in declared.required:
        if each not in made:
            problems.append(Problem(name.line, name.column, f"{shown}.{each}", "is missing: the hook needs it"))
    if len(problems) > before:
        return None
    ordered = tuple((each.name, made[each.name]) for each in declared.options)
    return Hook(name.text, ordered, declared.does, declared.undoes, declared.before)


def _options(
    node: Node, shown: str, declared: Declared, problems: list[Problem], read_values: Values
) -> dict[str, Any]:
    kinds = {each.name: option_kind(each.kind) for each in declared.options}
    made: dict[str, Any] = {}
    for key, value in node.entries:
        child = f"{shown}.{short(key.text)}"
        if key.kind == REFUSED:
            continue
        if key.text not in kinds:
            guess = near(key.text, tuple(kinds)) if kinds else None
            remedy = f'; did you mean "{guess}"?' if guess else ""
            allowed = f"allowed here: {', '.join(kinds)}" if kinds else "this hook has no options"
            problems.append(Problem(key.line, key.column, child, f"unknown key{remedy} ({allowed})"))
        elif key.text in made:
            problems.append(Problem(key.line, key.column, child, "is given twice"))
        else:
            made[key.text] = read_values(kinds[key.text], child, value, problems)
    return made


def _unknown(name: str, names: tuple[str, ...]) -> str:
    guess = near(name, names) if names else None
    remedy = f'; did you mean "{guess}"?' if guess else ""
    there = f"there are: {', '.join(names)}" if names else "there are none"
    return f'no such hook as "{short(name)}"{remedy} ({there}; image.hooks_from names a directory with more)'
