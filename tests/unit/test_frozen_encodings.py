# SPDX-License-Identifier: MIT
"""The encodings of the frozen program do what Python's do."""

import codecs
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfall import frozen_encodings

NAMES = ("utf-8", "UTF8", "ascii", "US-ASCII", "latin-1", "ISO-8859-1", "iso8859-1")
ERRORS = ("strict", "replace", "surrogateescape")


@pytest.fixture(scope="module", autouse=True)
def registered_once() -> Iterator[None]:
    """Importing the module registered it, after Python's own: what the tests need is not left behind."""
    yield
    codecs.unregister(frozen_encodings.search)


def spelled(name: str) -> str:
    """As codecs.register says that names arrive."""
    return name.lower().replace("-", "_")


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_has_the_name_and_the_kind_of_pythons(name: str) -> None:
    ours, theirs = frozen_encodings.search(spelled(name)), codecs.lookup(name)
    assert ours.name == theirs.name
    assert isinstance(ours, tuple)
    assert len(ours) == 4
    assert vars(type(ours))["_is_text_encoding"], "io.TextIOWrapper takes no other"


def outcome(function: object, *given: object) -> object:
    """What a call gives, or how it fails."""
    try:
        return function(*given)  # type: ignore[operator]
    except UnicodeError as error:
        return type(error), str(error)


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=12), text=st.text(max_size=6), cut=st.integers(0, 12))
def test_text_and_bytes_are_converted_as_python_does_whole_and_in_pieces(
    name: str, errors: str, data: bytes, text: str, cut: int
) -> None:
    ours, theirs = frozen_encodings.search(spelled(name)), codecs.lookup(name)
    assert outcome(ours.encode, text, errors) == outcome(theirs.encode, text, errors)
    assert outcome(ours.decode, data, errors) == outcome(theirs.decode, data, errors)
    assert outcome(ours.incrementalencoder(errors).encode, text) == outcome(
        theirs.incrementalencoder(errors).encode, text
    )
    decoders = ours.incrementaldecoder(errors), theirs.incrementaldecoder(errors)
    for piece, final in ((data[:cut], False), (data[cut:], True)):
        assert len({str(outcome(decoder.decode, piece, final)) for decoder in decoders}) == 1
        states = [decoder.getstate() for decoder in decoders]
        assert states[0] == states[1]
        for decoder, state in zip(decoders, states, strict=True):
            decoder.reset()
            decoder.setstate(state)


def test_another_name_is_a_module_of_the_package_or_nothing() -> None:
    assert frozen_encodings.search("utf_16_le").name == "utf-16-le"
    assert frozen_encodings.search("no_such_thing") is None
