# SPDX-License-Identifier: MIT
"""What the kernel would see after it has unpacked an image: later members replace earlier ones, hard links have data.

A path is looked up as the kernel does it, symbolic links followed (path_resolution(7)), and never outside the image.
"""

import dataclasses
import stat
from collections.abc import Iterable, Mapping

from rootfall.errors import BuildError
from rootfall_build.cpio import Member

MAXSYMLINKS = 40


def unpack(members: Iterable[Member]) -> dict[str, Member]:
    """The members by plain path (no leading `/` or `./`), as they are when all is unpacked."""
    tree: dict[str, Member] = {}
    contents: dict[tuple[int, int], Member] = {}
    for member in members:
        tree[_plain(member.path)] = member
        if member.nlink > 1 and member.size and stat.S_ISREG(member.mode):
            contents[member.segment, member.ino] = member
    for path, member in tree.items():
        linked = contents.get((member.segment, member.ino))
        if linked is not None and not member.size and stat.S_ISREG(member.mode):
            tree[path] = dataclasses.replace(member, data=linked.data)
    return tree


def look_up(tree: Mapping[str, Member], path: str, image: str) -> Member:
    """The member that `path` names, symbolic links followed; BuildError when there is none."""
    pending, done, followed = _parts(path), list[str](), 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([*done, part])
        member = tree.get(here)
        if member is not None and stat.S_ISLNK(member.mode):
            followed += 1
            if followed > MAXSYMLINKS:
                raise BuildError("read", f"{path} in {image}", seen=f"a loop of symbolic links at /{here}")
            target = bytes(member.data).decode("utf-8", "surrogateescape")
            done = [] if target.startswith("/") else done
            pending = _parts(target) + pending
        else:
            done.append(part)
    found = tree.get("/".join(done))
    if found is None:
        raise BuildError(
            "read", f"{path} in {image}", seen=f"no /{'/'.join(done)} there", hint="`rootfall list` names all"
        )
    return found


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _plain(path: str) -> str:
    return "/".join(_parts(path))
