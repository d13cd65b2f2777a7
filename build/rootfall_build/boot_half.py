# SPDX-License-Identifier: MIT
"""The half of a hook that PID 1 needs: its source without `install` and without what only `install` uses, imports too.

A hook is one module, and its build half may use what it likes of Python; none of that is to be frozen. What is kept is what
`perform`, `undo` and the declarations reach, and every statement that is no definition. Lines keep their numbers.
"""

import ast
from collections.abc import Iterator

from rootfall.errors import BuildError

_ROOTS = frozenset(("perform", "undo", "OPTIONS", "Options", "DOES", "UNDOES", "BEFORE"))


def of(source: str, path: str) -> str:
    """The boot half of a hook's source; `path` is for the message."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise BuildError("read the hook", path, seen=str(error)) from None
    defined = [(node, frozenset(_defines(node))) for node in body]
    reached = set(_ROOTS)
    pending = [node for node, names in defined if not names or names & _ROOTS]
    kept = list(pending)
    while pending:
        reached |= set(_uses(pending.pop()))
        more = [node for node, names in defined if names & reached and node not in kept]
        kept += more
        pending += more
    return _without(source, [node for node in body if node not in kept])


def _defines(node: ast.stmt) -> Iterator[str]:
    """The names that a statement of the module binds; none for one that does something else, which is always kept."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (each.asname or each.name.partition(".")[0] for each in names)


def _uses(node: ast.stmt) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load):
            yield each.id


def _without(source: str, cut: list[ast.stmt]) -> str:
    lines = source.splitlines()
    for node in cut:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        last = node.end_lineno or node.lineno
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(lines) + "\n"
