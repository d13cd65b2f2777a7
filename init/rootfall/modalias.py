# SPDX-License-Identifier: MIT
"""Which modules drive a piece of hardware: modaliases matched against the patterns of modules.alias (depmod(8)). Pure.

The patterns are those of fnmatch(3): `*`, `?` and `[…]`. No regular expressions: PID 1 does without `re`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Patterns:
    """Patterns with the modules they name, kept by the letters before the first wildcard: most of them decide by those."""

    def __init__(self, pairs: "Iterable[tuple[str, str]]") -> None:
        """`pairs` are pattern and module name."""
        self._by_head: dict[str, list[tuple[str, str]]] = {}
        for pattern, name in pairs:
            self._by_head.setdefault(_head(pattern), []).append((pattern, name))
        self._lengths = sorted({len(head) for head in self._by_head})
        self.buses = frozenset(head.partition(":")[0] for head in self._by_head)

    def look_up(self, modalias: str) -> tuple[str, ...]:
        """The modules whose patterns match, each once, in the order of modules.alias."""
        found: dict[str, None] = {}
        for length in self._lengths:
            for pattern, name in self._by_head.get(modalias[:length], ()):
                if matches(pattern, modalias):
                    found[name] = None
        return tuple(found)


def _head(pattern: str) -> str:
    for index, letter in enumerate(pattern):
        if letter in "*?[":
            return pattern[:index]
    return pattern


def matches(pattern: str, text: str) -> bool:
    """fnmatch(3) of the whole text, without flags."""
    star = text_at_star = -1
    p = t = 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, text_at_star = p, t
            p += 1
        elif p < len(pattern) and (length := _one(pattern, p, text[t])):
            p, t = p + length, t + 1
        elif star >= 0:  # let the last star take one letter more
            text_at_star += 1
            p, t = star + 1, text_at_star
        else:
            return False
    return not pattern[p:].strip("*")


def _one(pattern: str, at: int, letter: str) -> int:
    """How long the piece of the pattern is that matches one letter; 0 when it does not."""
    if pattern[at] == "[":
        end = pattern.find("]", at + 2)
        if end > 0:
            return end + 1 - at if _in_set(pattern[at + 1 : end], letter) else 0
    return 1 if pattern[at] in ("?", letter) else 0


def _in_set(content: str, letter: str) -> bool:
    negated = content[0] in "!^"
    content = content[1:] if negated else content
    found = at = 0
    while at < len(content):
        if content[at + 1 : at + 2] == "-" and at + 2 < len(content):
            found |= content[at] <= letter <= content[at + 2]
            at += 3
        else:
            found |= content[at] == letter
            at += 1
    return bool(found) != negated
