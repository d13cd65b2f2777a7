# SPDX-License-Identifier: MIT
"""What a finished image holds and weighs, by group and by its biggest entries, as data and as lines for a person."""

from collections.abc import Iterator
from dataclasses import dataclass

from rootfall_build.image import File, Image
from rootfall_build.progress import size

BIGGEST = 5


@dataclass(frozen=True, slots=True)
class Group:
    """How many files a group has, and how many bytes they hold."""

    name: str
    files: int
    weight: int


@dataclass(frozen=True, slots=True)
class Summary:
    """An image that was made: the file, for which kernel, how it is compressed, and its weights in bytes."""

    output: str
    kernel: str
    compress: str
    entries: int
    unpacked: int
    packed: int
    groups: tuple[Group, ...]
    biggest: tuple[tuple[str, int], ...]

    def lines(self) -> Iterator[str]:
        """The summary as it is printed."""
        yield f"{self.output}: {size(self.packed)} ({self.packed} bytes, {self.compress}), for kernel {self.kernel}"
        yield f"  {self.entries} entries, {size(self.unpacked)} unpacked"
        for group in self.groups:
            plural = "" if group.files == 1 else "s"
            yield f"  {group.name:<16} {size(group.weight):>10}  {group.files} file{plural}"
        yield "  biggest:"
        for path, weight in self.biggest:
            yield f"    {size(weight):>10}  {path}"


def groups(image: Image) -> tuple[Group, ...]:
    """The groups of `image` that have files, the heaviest first."""
    weights: dict[str, list[int]] = {}
    for placed in image:
        if isinstance(placed.entry, File):
            weights.setdefault(placed.group, []).append(placed.entry.size)
    found = (Group(name, len(sizes), sum(sizes)) for name, sizes in weights.items())
    return tuple(sorted(found, key=lambda group: (-group.weight, group.name)))


def biggest(image: Image, count: int = BIGGEST) -> tuple[tuple[str, int], ...]:
    """Path and size of the biggest files of `image`."""
    files = [(placed.entry.path, placed.entry.size) for placed in image if isinstance(placed.entry, File)]
    return tuple(sorted(files, key=lambda file: (-file[1], file[0]))[:count])
