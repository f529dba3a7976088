"""Elements of protocols are written and read as another library does it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.ber import decoder

from mooring.kit.ber import Unintelligible, elements, frame_length, integer, number, numbers, oid, spans, text

ARC = st.integers(0, 2**32 - 1)


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_number_is_the_same_to_another(value):
    """Whole numbers are read by another, and by ourselves."""
    written = integer(value)

    assert int(decoder.decode(written)[0]) == value
    assert number(written[2:]) == value


@pytest.mark.parametrize(("value", "size"), [(0, 1), (127, 1), (128, 2), (-128, 1), (-129, 2), (2**32 - 1, 5)])
def test_a_number_takes_the_fewest_bytes(value, size):
    """No byte of a number only repeats its sign."""
    assert len(integer(value)) == 2 + size


@given(st.binary(max_size=70_000))
def test_a_text_is_the_same_to_another(value):
    """Strings of any length are read by another, and by ourselves."""
    written = text(value)

    assert bytes(decoder.decode(written)[0]) == value
    assert [(tag, bytes(content)) for tag, content in elements(memoryview(written))] == [(4, value)]


@given(st.integers(0, 2), st.integers(0, 39), st.lists(ARC, max_size=20))
def test_an_identifier_is_the_same_to_another(first, second, rest):
    """Object identifiers are read by another, and by ourselves, with a dot in front or without."""
    name = ".".join(map(str, (first, second, *rest)))

    assert str(decoder.decode(oid(name))[0]) == name
    assert numbers(oid(f".{name}")[2:]) == name


@pytest.mark.parametrize("buffer", [b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", b"\x30\xff"])
def test_lengths_that_protocols_do_not_use(buffer):
    """Indefinite lengths, and those of more than four bytes, are refused."""
    with pytest.raises(Unintelligible):
        frame_length(buffer)


@pytest.mark.parametrize("buffer", [b"", b"\x30", b"\x30\x82\x01"])
def test_a_header_that_is_not_there_yet(buffer):
    """How long an element is, is not known before its header is there."""
    assert frame_length(buffer) is None


@pytest.mark.parametrize("buffer", [b"\x30", b"\x30\x02\x01", b"\x02\x01\x01\x30\x7f"])
def test_an_element_that_is_cut_off(buffer):
    """An element that is longer than what is there is refused."""
    with pytest.raises(Unintelligible):
        list(spans(buffer))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x2b\x81", b"\x01" * 641])
def test_what_is_no_identifier(content):
    """An identifier without end, or of too many bytes, is refused."""
    with pytest.raises(Unintelligible):
        numbers(content)
