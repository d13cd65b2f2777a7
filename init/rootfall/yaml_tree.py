# SPDX-License-Identifier: MIT
"""YAML text -> a tree of our own nodes, each with its line and column. The only place that imports PyYAML.

Read from PyYAML's event stream and not from its constructors, so nothing in the file can build an object. Refused: tags
(`!!python/…` and every other), anchors and aliases (and with them merge keys and exponential bombs), more than
one document, deep nesting.
Imported only when a configuration must really be parsed: its regular expressions cost 110 ms at boot.
"""

from typing import Any, NamedTuple, Protocol

import yaml

from rootfall.errors import Problem

TEXT, NUMBER, OTHER, NOTHING, LIST, MAPPING, REFUSED = (
    "text",
    "number",
    "other",
    "nothing",
    "list",
    "mapping",
    "refused",
)

_DEEPEST = 16
_KINDS = {
    "tag:yaml.org,2002:int": NUMBER,
    "tag:yaml.org,2002:null": NOTHING,
    "tag:yaml.org,2002:bool": OTHER,
    "tag:yaml.org,2002:float": OTHER,
    "tag:yaml.org,2002:timestamp": OTHER,
}


class _Loader(Protocol):
    """The part of yaml.SafeLoader that is used here, with types."""

    def check_event(self, *kinds: type) -> bool: ...
    def get_event(self) -> Any: ...
    def peek_event(self) -> Any: ...
    def resolve(self, kind: type, value: str, implicit: tuple[bool, bool]) -> str: ...
    def construct_object(self, node: yaml.Node) -> object: ...


class Node(NamedTuple):
    """A value in the file. `text` is as written; `meaning` is what YAML makes of it, where that is something else.

    `items` are those of a list, `entries` the (key, value) pairs of a mapping, duplicates and all.
    """

    kind: str
    line: int
    column: int
    text: str = ""
    meaning: str = ""
    items: tuple["Node", ...] = ()
    entries: tuple[tuple["Node", "Node"], ...] = ()


def read(text: str) -> tuple[Node | None, list[Problem]]:
    """The one document in `text` and what is wrong with it as YAML; no tree where it cannot be read at all."""
    problems: list[Problem] = []
    try:
        return _document(yaml.SafeLoader(text), problems), problems
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1) + 1
        message = f"the character {chr(int(error.character))!r} is not allowed in YAML: is this the right file?"
        return None, [*problems, Problem(before.count("\n") + 1, column, "", message)]
    except yaml.MarkedYAMLError as error:
        return None, [*problems, _syntax(error, text)]


def seen(node: Node) -> str:
    """What stands in the file, in words; where YAML takes it for something else, that too."""
    if node.kind in (LIST, MAPPING):
        return f"a {node.kind}"
    if node.kind == NOTHING or not node.text:
        return "empty"
    if node.meaning:
        return f"{short(node.text)}, which YAML reads as {node.meaning}"
    return f"the number {node.text}" if node.kind == NUMBER else f'"{short(node.text)}"'


def short(text: str) -> str:
    """A text from the file as a message may show it: of one line, and not long."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:60])
    return shown if len(text) <= 60 else shown + "..."


def _document(loader: _Loader, problems: list[Problem]) -> Node | None:
    loader.get_event()  # the start of the stream
    if loader.check_event(yaml.StreamEndEvent):
        return None
    loader.get_event()  # the start of the document
    tree = _node(loader, problems, 0)
    loader.get_event()  # its end
    if not loader.check_event(yaml.StreamEndEvent):
        mark = loader.peek_event().start_mark
        problems.append(
            Problem(mark.line + 1, mark.column + 1, "", "a second document begins here (---); one file, one document")
        )
    return tree


def _node(loader: _Loader, problems: list[Problem], depth: int) -> Node:
    event = loader.get_event()
    mark = event.start_mark
    place = (mark.line + 1, mark.column + 1)
    if depth > _DEEPEST:
        raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} deep", problem_mark=mark)
    if isinstance(event, yaml.AliasEvent):
        problems.append(Problem(*place, "", f"the alias *{event.anchor} is not allowed: write the value here"))
        return Node(REFUSED, *place)
    if event.anchor is not None:
        problems.append(
            Problem(*place, "", f"the anchor &{event.anchor} is not allowed: write each value where it is used")
        )
    if isinstance(event, yaml.ScalarEvent):
        node = _scalar(loader, event)
    elif isinstance(event, yaml.SequenceStartEvent):
        node = Node(LIST, *place, items=_items(loader, problems, depth))
    else:
        node = Node(MAPPING, *place, entries=_entries(loader, problems, depth))
    if event.tag is None:
        return node
    tag = event.tag.replace("tag:yaml.org,2002:", "!!")
    problems.append(Problem(*place, "", f"the tag {short(tag)} is not allowed: write a plain value"))
    return node._replace(kind=REFUSED)


def _items(loader: _Loader, problems: list[Problem], depth: int) -> tuple[Node, ...]:
    items: list[Node] = []
    while not loader.check_event(yaml.SequenceEndEvent):
        items.append(_node(loader, problems, depth + 1))
    loader.get_event()
    return tuple(items)


def _entries(loader: _Loader, problems: list[Problem], depth: int) -> tuple[tuple[Node, Node], ...]:
    entries: list[tuple[Node, Node]] = []
    while not loader.check_event(yaml.MappingEndEvent):
        key = _node(loader, problems, depth + 1)
        entries.append((key, _node(loader, problems, depth + 1)))
    loader.get_event()
    return tuple(entries)


def _scalar(loader: _Loader, event: Any) -> Node:
    tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
    kind = _KINDS.get(tag, TEXT)
    meaning = _meaning(loader, tag, event.value) if kind in (NUMBER, OTHER) else ""
    return Node(kind, event.start_mark.line + 1, event.start_mark.column + 1, event.value, meaning)


def _meaning(loader: _Loader, tag: str, text: str) -> str:
    """What YAML 1.1 makes of a plain word: `on` is true, 1:30 is 90, 010 is 8, 2024-01-01 is a date."""
    if len(text) > 40:  # sums over many digits take long, and no message would show them
        return "a long number"
    try:
        value = loader.construct_object(yaml.ScalarNode(tag, text))
    except (ValueError, OverflowError):
        return "nothing that exists"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "" if str(value) == text else f"the number {value}"
    return f"the date {value}"


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(0, 0, "", f"this is not YAML: {error.problem}")
    so_far = text[mark.index - mark.column : mark.index + 1]
    if "\t" in so_far:
        column = so_far.index("\t") + 1
        return Problem(mark.line + 1, column, "", "a tab is not allowed here: YAML is indented with spaces only")
    context = f" ({error.context})" if error.context else ""
    return Problem(mark.line + 1, mark.column + 1, "", f"this is not YAML: {short(str(error.problem))}{short(context)}")
