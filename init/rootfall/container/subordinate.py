# SPDX-License-Identifier: MIT
"""The ids that a user may map into a user namespace: /etc/subuid and /etc/subgid (subuid(5)), for newuidmap(1) to allow."""

_MOST = 0xFFFFFFFF


def ranges(kind: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The ranges (first, count) of a user for "uid" or "gid"; none where the file does not name them."""
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    try:
        with open(f"/etc/sub{kind}", encoding="utf-8", errors="replace") as file:
            return parse(file.read(), name, uid)
    except OSError:
        return ()


def parse(text: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The ranges that a file gives a user, by name or by number; lines that are none are passed over, as newuidmap(1) does."""
    found = []
    for line in text.splitlines():
        owner, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if not owner or owner not in (name, str(uid)) or not first.isdecimal() or not count.isdecimal():
            continue
        if 0 < int(count) <= _MOST - int(first):
            found.append((int(first), int(count)))
    return tuple(found)
