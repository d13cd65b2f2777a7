# SPDX-License-Identifier: MIT
"""Which modules drive a piece of hardware: modaliases matched against the patterns of modules.alias (depmod(8)). Pure.

The patterns are those of fnmatch(3): `*`, `?` and `[…]`. No regular expressions: PID 1 does without `re`.
"""

from rootfall.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Patterns(NamedTuple):
    """Patterns with the modules they name, by the letters before the first wildcard: most of them decide by those.

    `lengths` are those of the heads, `buses` the words before the colon.
    """

    by_head: dict[str, tuple[tuple[str, str], ...]]
    lengths: tuple[int, ...]
    buses: tuple[str, ...]

    def look_up(self, modalias: str) -> tuple[str, ...]:
        """The modules whose patterns match, each once, in the order of modules.alias."""
        found: dict[str, None] = {}
        for length in self.lengths:
            for pattern, name in self.by_head.get(modalias[:length], ()):
                if matches(pattern, modalias):
                    found[name] = None
        return tuple(found)


def collect(pairs: "Iterable[tuple[str, str]]") -> Patterns:
    """Patterns from pairs of pattern and module name."""
    by_head: dict[str, tuple[tuple[str, str], ...]] = {}
    for pattern, name in pairs:
        head = pattern.partition("*")[0].partition("?")[0].partition("[")[0]
        by_head[head] = (*by_head.get(head, ()), (pattern, name))
    buses = dict.fromkeys(head.partition(":")[0] for head in by_head)
    return Patterns(by_head, tuple(sorted({len(head) for head in by_head})), tuple(buses))


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
