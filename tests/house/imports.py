# SPDX-License-Identifier: MIT
"""What a source file imports, read with `ast`: at the top, in functions, for type checkers only, by a constant name."""

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[2]
ROOTS = {"init": "rootfall", "hooks": "rootfall_hooks", "build": "rootfall_build", "qemu": "rootfall_qemu"}


def sources(root: str) -> dict[str, Path]:
    """The modules of one import root by their dotted names."""
    package = HOUSE / root / ROOTS[root]
    return {name_of(path.relative_to(HOUSE / root)): path for path in sorted(package.rglob("*.py"))}


def name_of(path: Path) -> str:
    """rootfall/linux/libc.py is rootfall.linux.libc, and a package is its __init__.py."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, modules: dict[str, Path]) -> frozenset[str]:
    """Dotted names of what `path` imports; `from p import m` is p.m where that is one of `modules`, else p."""
    return frozenset(_imports(ast.parse(path.read_text()), modules))


def _imports(tree: ast.AST, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                every = {f"{module}.{alias.name}" for alias in names}
                yield from every & set(modules)
                if every - set(modules):
                    yield module
            case ast.ImportFrom():
                raise AssertionError("a relative import: say where it is from")
            # importlib.import_module("name") and tables of "module:attribute".
            case ast.Constant(value=str(text)) if text.partition(":")[0] in modules and "." in text:
                yield text.partition(":")[0]
