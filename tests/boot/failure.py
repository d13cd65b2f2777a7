# SPDX-License-Identifier: MIT
"""The report of a failed boot as it stood on the console, its wrapped lines joined again."""

from dataclasses import dataclass

HEAD = "rootfall: THIS BOOT FAILED"
RULE = "-" * 76
WIDTH = 10


@dataclass(frozen=True)
class Report:
    """The facts of a report in their order: (what it is, its text)."""

    facts: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """The texts of all facts of one kind."""
        return tuple(text for kind, text in self.facts if kind == name)


def report(console: str) -> Report:
    """The last report on a console, its cause within ten lines; ValueError when there is none."""
    _, found, after = console.rpartition(HEAD + "\n")
    if not found:
        raise ValueError(f"no report on the console, which ends: {console[-1500:]!r}")
    body = after.partition(RULE + "\n")[2].partition(RULE)[0]
    facts: list[tuple[str, str]] = []
    for line in body.splitlines():
        name, text = line[:WIDTH].strip(), line[WIDTH:].strip()
        if name:
            facts.append((name, text))
        elif facts:
            facts[-1] = (facts[-1][0], f"{facts[-1][1]} {text}")
    first = [HEAD, *after.splitlines()][:10]
    assert any(line.startswith("failed") for line in first), f"the cause is not within ten lines: {first}"
    return Report(tuple(facts))
