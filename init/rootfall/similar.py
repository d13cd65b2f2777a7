# SPDX-License-Identifier: MIT
"""What a word was most likely meant to be, for "did you mean": of keys, of options, of values."""


def near(word: str, candidates: tuple[str, ...]) -> str | None:
    """The candidate that `word` is most likely a slip for; None if all are too far away."""
    if len(word) > 40:
        return None
    scored = min((_distance(word.lower().replace("-", "_"), candidate), candidate) for candidate in candidates)
    return scored[1] if scored[0] <= max(1, len(scored[1]) // 3) else None


def _distance(a: str, b: str) -> int:
    """How many letters must be put in, left out, changed or swapped with a neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        before, last, row = row, before, [i + 1]
        for j, y in enumerate(b):
            row.append(min(before[j + 1] + 1, row[j] + 1, before[j] + (x != y)))
            if i and j and x == b[j - 1] and a[i - 1] == y:
                row[-1] = min(row[-1], last[j - 1] + 1)
    return row[-1]
