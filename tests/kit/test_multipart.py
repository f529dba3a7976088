"""Forms with files, as curl and browsers send them; and what is no form."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.kit.multipart import MAX_PARTS, NotAForm, read_form

TYPE = 'multipart/form-data; boundary="X-y"'


def body(*parts: tuple[str, bytes], end: bytes = b"--X-y--\r\n") -> bytes:
    made = b"".join(
        b"--X-y\r\nContent-Disposition: " + head.encode() + b"\r\n\r\n" + text + b"\r\n" for head, text in parts
    )
    return made + end


def test_fields_and_files_are_told_apart() -> None:
    """A file is what comes with a file name."""
    found = read_form(TYPE, body(('form-data; name="a"', b"1"), ('form-data; name="b"; filename="x.pem"', b"2")))

    assert [(part.name, part.content, part.is_file) for part in found.values()] == [
        ("a", b"1", False),
        ("b", b"2", True),
    ]


@given(st.binary(max_size=300).filter(lambda content: b"--X-y" not in content))
def test_every_byte_of_a_file_arrives(content: bytes) -> None:
    """Line ends included."""
    assert read_form(TYPE, body(('form-data; name="f"; filename="f"', content)))["f"].content == content


def test_a_text_around_the_form_counts_for_nothing() -> None:
    """As in mail, where it came from."""
    assert read_form(TYPE, b"hello\r\n" + body(('form-data; name="a"', b"1")) + b"bye")["a"].text == "1"


@pytest.mark.parametrize(
    ("content_type", "sent", "why"),
    [
        ("multipart/form-data", body(('form-data; name="a"', b"1")), "names no boundary"),
        (TYPE, b"", "end is missing"),
        (TYPE, body(('form-data; name="a"', b"1"), end=b""), "end is missing"),
        (TYPE, body(("form-data", b"1")), "no name"),
        (TYPE, body(('attachment; name="a"', b"1")), "no name"),
        (TYPE, body(('form-data; name="a"', b"1"), ('form-data; name="a"', b"2")), "more than once"),
        (TYPE, b"--X-y\r\nno head--X-y--", "end is missing"),
        (TYPE, body(*((f'form-data; name="{n}"', b"") for n in range(MAX_PARTS + 2))), "more than"),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, sent: bytes, why: str) -> None:
    """With the reason."""
    with pytest.raises(NotAForm, match=why):
        read_form(content_type, sent)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else(sent: bytes) -> None:
    """Whatever comes, it is a form or it is refused."""
    with contextlib.suppress(NotAForm):
        read_form(TYPE, b"--X-y\r\n" + sent + b"\r\n--X-y--")
