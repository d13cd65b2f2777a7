# SPDX-License-Identifier: MIT
"""What `os` and pyudev take of `_collections_abc`, without its twenty-five abstract classes: a millisecond of each start.

Each class is made by the interpreter at every start, and an abstract one is dear. These have the methods that Mapping
and MutableMapping give to their heirs, and no register: isinstance() knows their heirs only. Pure. Used by `standins` and
`linux.udev`, in the frozen program alone.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MISSING = object()


class Iterable:
    """A mark (collections.abc.Iterable)."""


class Container:
    """A mark (collections.abc.Container)."""


class SmallMapping:
    """The methods of collections.abc.Mapping, from __getitem__, __iter__ and __len__."""

    if TYPE_CHECKING:

        def __getitem__(self, key: Any) -> Any: ...  # noqa: D105
        def __iter__(self) -> Iterator[Any]: ...  # noqa: D105

    def get(self, key: "Any", default: "Any" = None) -> "Any":
        """The value, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        """Whether there is a value."""
        return self.get(key, _MISSING) is not _MISSING

    def keys(self) -> "list[Any]":
        """All keys, now: no view."""
        return list(self)

    def values(self) -> "list[Any]":
        """All values, now: no view."""
        return [self[key] for key in self]

    def items(self) -> "list[tuple[Any, Any]]":
        """All pairs, now: no view."""
        return [(key, self[key]) for key in self]

    def __eq__(self, other: object) -> bool:
        """Whether all pairs are equal."""
        return dict(self.items()) == dict(other.items()) if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class MutableMapping(SmallMapping):
    """The methods of collections.abc.MutableMapping, from those and __setitem__ and __delitem__."""

    if TYPE_CHECKING:

        def __setitem__(self, key: Any, value: Any) -> None: ...  # noqa: D105
        def __delitem__(self, key: Any) -> None: ...  # noqa: D105

    def pop(self, key: "Any", default: "Any" = _MISSING) -> "Any":
        """Take the value out. Raises KeyError where there is none, and no `default`."""
        value = self.get(key, default)
        if value is _MISSING:
            raise KeyError(key)
        if key in self:
            del self[key]
        return value

    def popitem(self) -> "tuple[Any, Any]":
        """Take one pair out. Raises KeyError where there is none."""
        for key in self:
            return key, self.pop(key)
        raise KeyError

    def clear(self) -> None:
        """Take all out."""
        for key in list(self):
            del self[key]

    def setdefault(self, key: "Any", default: "Any" = None) -> "Any":
        """The value, set first if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, other: "Any" = (), /, **more: "Any") -> None:
        """Set all of these."""
        for key, value in (dict(other) | more).items():
            self[key] = value


Mapping = (SmallMapping, dict)  # os asks isinstance(other, Mapping) of what may be a dict


def _check_methods(cls: type, *methods: str) -> "Any":
    """Whether the class has all of these methods, none of them None (for os.PathLike)."""
    for method in methods:
        for each in cls.__mro__:
            if method in vars(each):
                if vars(each)[method] is None:
                    return NotImplemented
                break
        else:
            return NotImplemented
    return True
