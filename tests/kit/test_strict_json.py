"""What of JSON is taken from strangers, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.kit.strict_json import MAX_DEPTH, JsonRefused, Repeated, read_json

TYPE = frozenset({"type"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), inner, max_size=5
    ),
    max_leaves=30,
)  # fmt: skip


def refusal(body: bytes | str, **options: Any) -> str:
    """Why *body* is refused."""
    with pytest.raises(JsonRefused) as raised:
        read_json(body if isinstance(body, bytes) else body.encode(), **options)
    return str(raised.value)


@given(VALUES, st.booleans())
def test_ordinary_json_is_taken(value: Any, ascii_only: bool) -> None:
    """What the standard library writes of plain values is read back."""
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_junk_is_refused_or_read(junk: bytes) -> None:
    """No bytes make it fail in another way than by refusing."""
    try:
        read_json(junk)
    except JsonRefused as exc:
        assert str(exc)


@given(st.text(alphabet='{}[]",:\\u0d8tyfnalsre1-+.eEINaN \n', max_size=80))
def test_nearly_json_is_refused_or_read(text: str) -> None:
    """Neither do texts that look like JSON."""
    try:
        read_json(text.encode(), repeatable=TYPE)
    except JsonRefused as exc:
        assert str(exc)


@pytest.mark.parametrize(
    "body", ['{"a":1,"a":1}', '{"b":{"a":1,"a":2}}', '[{"a":null,"a":null}]', '{"a":1,"\\u0061":2}']
)
def test_a_key_stands_once(body: str) -> None:
    """Duplicates are refused at any depth, also where an escape hides them and the values agree."""
    assert refusal(body) == "the key 'a' stands more than once"


def test_many_keys_cost_no_more_than_their_number() -> None:
    """A duplicate behind very many other keys is found in one walk (a square of them would never end)."""
    body = "{" + ",".join(f'"k{n}":1' for n in range(300_000)) + ',"k299999":2}'

    assert "stands more than once" in refusal(body)


def test_a_long_key_is_not_quoted_whole() -> None:
    """A message stays short."""
    assert len(refusal('{"%s":1,"%s":1}' % (("k" * 100_000,) * 2))) < 150


def test_a_repeatable_key_may_stand_again() -> None:
    """Its values come in their order."""
    assert read_json(b'{"type":"elasticsearch","type":"READ","x":1}', repeatable=TYPE) == {
        "type": Repeated(["elasticsearch", "READ"]),
        "x": 1,
    }


def test_a_repeatable_key_that_stands_once_is_plain() -> None:
    """It is no `Repeated` then."""
    assert type(read_json(b'{"type":"email"}', repeatable=TYPE)["type"]) is str


@pytest.mark.parametrize(
    "body", ['{"x":{"type":1,"type":2}}', '[{"type":1,"type":2}]', '{"a":1,"type":1,"type":2,"a":2}']
)
def test_only_the_outermost_object_may_repeat(body: str) -> None:
    """Inside, and for other keys, the rule holds."""
    assert "stands more than once" in refusal(body, repeatable=TYPE)


def test_repeated_values_are_looked_at() -> None:
    """What a plain value must not be, a repeated one must not be either."""
    assert "2^53" in refusal('{"type":"a","type":9007199254740993}', repeatable=TYPE)
    assert "NUL" in refusal('{"type":"a","type":"\\u0000"}', repeatable=TYPE)
    assert "deeper" in refusal('{"type":"a","type":' + "[" * 40 + "1" + "]" * 40 + "}", repeatable=TYPE)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 10_000, 100_000])
def test_deep_json_is_refused(opening: str, depth: int) -> None:
    """Lists and objects, a little too deep and far too deep."""
    closing = "]" if opening == "[" else "}"

    assert "nested deeper" in refusal(opening * depth + "1" + closing * depth, max_strings=10**6)


def test_the_last_allowed_depth_is_taken() -> None:
    """The limit itself is fine."""
    read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_unclosed_depth_is_refused() -> None:
    """Without an end it is refused too."""
    assert refusal("[" * 100_000)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("around", ["%s", "[%s]", '{"a":%s}'])
def test_a_number_is_finite(number: str, around: str) -> None:
    """Neither by name nor by size."""
    assert "number" in refusal(around % number)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**400, 10**4000])
def test_a_whole_number_fits_a_double(number: int) -> None:
    """Beyond 2^53 readers disagree."""
    assert "2^53" in refusal(str(number)) and "2^53" in refusal(f'{{"a":[{number}]}}')


def test_2_to_the_53_is_taken() -> None:
    """The limit itself is fine, either way."""
    assert read_json(f"[{2**53},{-(2**53)}]".encode()) == [2**53, -(2**53)]


@pytest.mark.parametrize("digits", [4_301, 100_000])
def test_a_number_of_very_many_digits_is_refused(digits: int) -> None:
    """Turning it into a number is not even tried."""
    assert refusal("9" * digits) == "a number is too long"


@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\udc00\\ud800", "x\\ud83d"])
@pytest.mark.parametrize("around", ['"%s"', '["%s"]', '{"a":"%s"}', '{"%s":1}'])
def test_half_a_surrogate_pair_is_refused(half: str, around: str) -> None:
    """As a value and as a key."""
    assert "surrogate" in refusal(around % half)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    """Escaped or not."""
    assert read_json(b'["\\ud83d\\ude00"]') == ["\U0001f600"] == read_json('["\U0001f600"]'.encode())


@pytest.mark.parametrize("around", ['"a%sb"', '{"a":["%s"]}', '{"%s":1}'])
def test_nul_is_refused(around: str) -> None:
    """It ends texts early in too many programs."""
    assert "NUL" in refusal(around % "\\u0000")


@pytest.mark.parametrize("control", ["\0", "\x01", "\n", "\x1f"])
def test_a_raw_control_character_is_no_json(control: str) -> None:
    """Unescaped inside a text."""
    assert refusal(f'"{control}"')


@pytest.mark.parametrize("body", [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'\xff\xfe"\x00a\x00"\x00', b'"\xc3'])
def test_only_utf8_is_taken(body: bytes) -> None:
    """No overlong forms, no encoded surrogates, no other encoding."""
    assert refusal(body) == "the text is not UTF-8"


@pytest.mark.parametrize(
    "body", ["", " ", "{", '{"a"}', "{} {}", "[1,]", "{'a':1}", "\ufeff{}", "01", "+1", ".5", "tru"]
)
def test_what_is_no_json_is_refused(body: str) -> None:
    """Saying where."""
    assert "line 1 column" in refusal(body)


def test_a_refusal_quotes_nothing() -> None:
    """What was sent is not in the message, wherever the fault lies."""
    for body in ('{"password":"hunter2"', '{"password":"hunter2\\q"}', '["hunter2","\\ud800"]', '["hunter2",NaN]'):
        assert "hunter2" not in refusal(body)


def test_too_many_strings_are_refused() -> None:
    """Keys and values count alike; the limit can be chosen."""
    assert "more than 1000 strings" in refusal(json.dumps(["x"] * 1001))
    assert "more than 10 strings" in refusal(json.dumps({str(n): "x" for n in range(6)}), max_strings=10)
    read_json(json.dumps(["x"] * 1000).encode())


def test_quotes_inside_a_text_are_not_strings() -> None:
    """One text full of quotes is one string."""
    text = 'say "x" ' * 2000

    assert read_json(json.dumps({"description": text}).encode()) == {"description": text}
