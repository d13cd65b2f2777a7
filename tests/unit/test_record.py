# SPDX-License-Identifier: MIT
"""Our NamedTuple does what typing's does, as far as records go."""

import copy
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import record
from rootfall.model import DeviceRef, OnFailure, Root


class Ours(record.NamedTuple):
    """A record."""

    left: object
    right: object = 7

    def both(self) -> tuple[object, object]:
        return self.left, self.right


class Theirs(typing.NamedTuple):
    left: object
    right: object = 7

    def both(self) -> tuple[object, object]:
        return self.left, self.right


VALUES = st.none() | st.integers() | st.text() | st.tuples(st.integers())


@given(VALUES, VALUES)
def test_a_record_behaves_as_typings_does(left: object, right: object) -> None:
    ours, theirs = Ours(left, right=right), Theirs(left, right=right)
    assert tuple(ours) == tuple(theirs) == (left, right) == ours
    assert hash(ours) == hash(theirs)
    assert repr(ours).replace("Ours", "Theirs") == repr(theirs)
    assert tuple(ours._replace(left=right)) == tuple(theirs._replace(left=right))
    assert ours.both() == theirs.both()
    assert tuple(Ours(left)) == tuple(Theirs(left))
    assert (ours.left, ours.right) == (theirs.left, theirs.right)


def test_a_record_can_be_copied_and_pickled() -> None:
    value = Root(DeviceRef("LABEL", "x"))
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value
        assert type(twin) is Root
        assert twin.device == DeviceRef("LABEL", "x")


def test_a_record_is_a_pattern() -> None:
    match Ours(1, 2):
        case Ours(left, right):
            assert (left, right) == (1, 2)
        case _:
            pytest.fail("no match by position")


def test_a_record_does_not_change() -> None:
    value = OnFailure()
    with pytest.raises(AttributeError):
        value.action = "reboot"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        value.other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"left": 2}), ((1,), {"middle": 2}), ((), {"right": 2})],
)
def test_wrong_values_are_a_type_error_in_both(arguments: tuple[int, ...], named: dict[str, int]) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*arguments, **named)


def test_annotations_made_on_demand_are_found() -> None:
    """Python 3.14 has no __annotations__ in a class's namespace (PEP 649)."""
    meta: typing.Any = type(record.NamedTuple)
    made = meta("Made", (record.NamedTuple,), {"__annotate_func__": lambda form: {"one": int, "two": str}, "two": "x"})
    assert tuple(made(1)) == (1, "x")


def test_the_records_of_a_boot_import_no_typing() -> None:
    code = "import sys, rootfall.model, rootfall.plan; sys.exit('typing' in sys.modules)"
    path = str(Path(record.__file__).parents[1])
    subprocess.run([sys.executable, "-S", "-E", "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"], check=True)
