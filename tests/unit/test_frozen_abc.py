# SPDX-License-Identifier: MIT
"""What stands for `_collections_abc` while `os` is imported does what that does."""

import _collections_abc
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import frozen_abc
from rootfall.linux import standins

INIT = Path(frozen_abc.__file__).parents[1]


class Stored:
    """What a mapping must have of its own."""

    def __init__(self, **content: int) -> None:
        self.content = content

    def __getitem__(self, key: str) -> int:
        return self.content[key]

    def __setitem__(self, key: str, value: int) -> None:
        self.content[key] = value

    def __delitem__(self, key: str) -> None:
        del self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


class Small(Stored, frozen_abc.MutableMapping):
    """With our methods."""


class Real(Stored, MutableMapping[str, int]):
    """With Python's."""


KEYS = st.sampled_from("abc")
CALLS = st.one_of(
    st.tuples(st.sampled_from(["get", "pop", "__contains__"]), KEYS),
    st.tuples(st.sampled_from(["get", "pop", "setdefault"]), KEYS, st.integers(0, 3)),
    st.tuples(st.sampled_from(["popitem", "clear", "keys", "values", "items"])),
    st.tuples(st.just("update"), st.dictionaries(KEYS, st.integers(0, 3))),
    st.tuples(st.just("__eq__"), st.dictionaries(KEYS, st.integers(0, 3))),
)


def outcome(mapping: Any, name: str, *given: object) -> object:
    """What a method gives, a view as a list, or how it fails."""
    try:
        result = getattr(mapping, name)(*given)
    except KeyError as error:
        return "KeyError", error.args
    return list(result) if name in ("keys", "values", "items") else result


@given(st.dictionaries(KEYS, st.integers(0, 3)), st.lists(CALLS, max_size=8))
def test_a_mapping_behaves_as_pythons_does(content: dict[str, int], calls: list[tuple[Any, ...]]) -> None:
    small, real = Small(**content), Real(**content)
    for call in calls:
        assert outcome(small, *call) == outcome(real, *call), call
        assert small.content == real.content


def test_a_mapping_is_equal_to_one_with_the_same_pairs_and_to_nothing_else() -> None:
    assert Small(a=1) == Small(a=1)
    assert Small(a=1) != Small(a=2)
    assert Small() != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(Small())


class Without:
    """A method that is expressly not there."""

    __fspath__ = None


@pytest.mark.parametrize("cls", [int, str, Path, Without, type("Heir", (Path,), {}), type("Gone", (Path, Without), {})])
@pytest.mark.parametrize("methods", [("__fspath__",), ("__add__", "__len__"), ("__hash__",)])
def test_methods_are_looked_for_as_python_does(cls: type, methods: tuple[str, ...]) -> None:
    assert frozen_abc._check_methods(cls, *methods) is _collections_abc._check_methods(cls, *methods)  # type: ignore[attr-defined]


CHECKS = """
import sys
sys.path.insert(0, sys.argv[1])
assert "os" not in sys.modules, "python -S imports it on this machine"
from rootfall.linux import standins
standins.install()
import os
assert "_collections_abc" not in sys.modules
del os.environ["LC_ALL"]
assert os.environ["A"] == "1" and os.environ.get("B") is None and "A" in os.environ and dict(os.environ) == {"A": "1"}
os.environ["B"] = "2"
assert os.environ | {"C": "3"} == {"A": "1", "B": "2", "C": "3"} == {"C": "3"} | os.environ
os.environ |= {"D": "4"}
assert os.environ.pop("D") == "4" and os.getenv("D") is None and os.environ.copy() == {"A": "1", "B": "2"}
assert sorted(os.environ.items()) == [("A", "1"), ("B", "2")] and os.environb[b"A"] == b"1"
class Path:
    def __fspath__(self): return "/x"
assert isinstance(Path(), os.PathLike) and not isinstance("x", os.PathLike) and os.fspath(Path()) == "/x"
from collections import abc
assert abc.Mapping is not os.Mapping and isinstance({}, abc.Mapping)
"""


def test_os_is_whole_when_it_was_imported_so_and_who_asks_later_gets_the_real_module() -> None:
    command = [sys.executable, "-IS", "-c", CHECKS, str(INIT)]
    done = subprocess.run(command, env={"A": "1", "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_there_already_is_not_replaced() -> None:
    real = sys.modules["_collections_abc"]
    assert standins.import_with("os", {"_collections_abc": frozen_abc}) is sys.modules["os"]
    assert sys.modules["_collections_abc"] is real
