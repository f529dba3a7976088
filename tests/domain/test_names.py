"""Which spellings are one name, and what may be a name."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring.domain.names import MAX_LENGTH, name_key, why_not_a_name

ALIKE = [
    ("Orders-DB", "orders-db", "case"),
    ("Straße", "STRASSE", "sharp s"),
    ("Straße", "STRAẞE", "capital sharp s"),
    ("café", "cafe\u0301", "a combining accent"),
    ("Å", "A\u030a", "a ring, composed or not"),
    ("Å", "\u212b", "the Ångström sign"),
    ("k", "\u212a", "the Kelvin sign"),
    ("ｏｒｄｅｒｓ", "orders", "full-width letters"),
    ("ORDERS", "ＯＲＤＥＲＳ", "full-width capitals"),
    ("ΟΔΟΣ", "οδος", "sigma"),
    ("οδοσ", "οδος", "final sigma"),
    ("ﬁle", "file", "a ligature"),
    ("ﬅone", "stone", "a ligature of long s"),
    ("ﬃ", "FFI", "a ligature of three"),
    ("№1", "no1", "a number sign"),
    ("x²", "x2", "a superscript"),
    ("Ⅳ", "iv", "a Roman numeral"),
    ("ｶﾞ", "ガ", "half-width kana"),
    ("각", "\u1100\u1161\u11a8", "Hangul syllables"),
    ("ᾳ", "ΑΙ", "iota subscript"),
    ("ŉ", "ʼn", "n with apostrophe"),
    ("ſ", "S", "long s"),
    ("a\u0323\u0307", "a\u0307\u0323", "marks in another order"),
    ("İ", "i\u0307", "capital dotted i, and what it folds to"),
]

APART = [
    ("İ", "i", "dotted capital i"),
    ("I", "ı", "dotless i"),
    ("İ", "ı", "the two Turkish letters"),
    ("i", "ı", "small i and dotless i"),
    ("a", "а", "Latin and Cyrillic a"),
    ("o", "ο", "Latin o and omicron"),
    ("e", "é", "an accent"),
    ("a-b", "a_b", "hyphen and underscore"),
    ("a-b", "a\u2010b", "another hyphen"),
    ("ab", "a b", "a blank"),
    ("a\u200db", "ab", "an invisible joiner"),
    ("ö", "oe", "an umlaut"),
    ("1", "l", "one and l"),
]


@pytest.mark.parametrize(("one", "other"), [pair[:2] for pair in ALIKE], ids=[pair[2] for pair in ALIKE])
def test_these_are_one_name(one: str, other: str) -> None:
    """Spellings that differ in case, composition or compatibility only."""
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(("one", "other"), [pair[:2] for pair in APART], ids=[pair[2] for pair in APART])
def test_these_are_two_names(one: str, other: str) -> None:
    """What people would call different stays different."""
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Orders", "orders"),
        ("İı", "i\u0307ı"),
        ("ß", "ss"),
        ("Σς", "σσ"),
        ("K", "k"),
        ("Ａ", "a"),
        ("é", "é"),
        ("ﬀ", "ff"),
    ],
)
def test_keys_are_these(name: str, key: str) -> None:
    """They stand in databases: a key must never come out differently in another version."""
    assert name_key(name) == key


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=1000)
def test_a_key_is_its_own_key(name: str) -> None:
    """Making the key of a key changes nothing, so that it does not matter how often it is made."""
    assert name_key(name_key(name)) == name_key(name)


def test_every_character_s_key_is_its_own_key() -> None:
    """One by one, through all of Unicode."""
    characters = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)

    assert [ascii(one) for one in characters if name_key(name_key(one)) != name_key(one)] == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=1000)
def test_canonical_spellings_are_one_name(name: str) -> None:
    """However an editor or a file system composes letters."""
    assert (
        name_key(unicodedata.normalize("NFD", name)) == name_key(unicodedata.normalize("NFC", name)) == name_key(name)
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=500)
def test_folded_case_is_one_name(name: str) -> None:
    """A name and its case-folded form collide."""
    assert name_key(unicodedata.normalize("NFKC", name).casefold()) == name_key(name)


@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_the_short_way_for_ascii_gives_the_same(name: str) -> None:
    """As normalising and folding would."""
    assert name_key(name) == unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


GOOD = [
    "a", "orders-db", "Orders DB", "order.s_1", "ßtraße", "İı", "ıİğşçöü", "订单数据库", "заказы", "注文", "طلبات", "הזמנות",
    "café", "cafe\u0301", "ｏｒｄｅｒｓ", "नमस्ते", "a'b", 'a"b', "a&b", "a=b", "a;b", "a:b", "a,b", "...", ".a", "~", "-", "\U0001f680",
    "می\u200cخواهم", "x" * MAX_LENGTH, "ﷺ" * 10,
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_in_any_script_are_names(name: str) -> None:
    """Nothing is said against them."""
    assert why_not_a_name(name) is None


BAD = [
    ("", "empty"), (" ", "blank"), (" a", "blank"), ("a ", "blank"), ("a\u00a0", "blank"), ("\u3000a", "blank"), ("\ta", "blank"),
    (".", "path segment"), ("..", "path segment"), ("a/b", "'/'"), ("a\\b", "contains"), ("a?b", "'?'"), ("a#b", "'#'"),
    ("a%b", "'%'"), ("a\0b", "control"), ("a\nb", "control"), ("a\x7fb", "control"), ("a\x85b", "control"), ("a\u2028b", "control"),
    ("a\u2029b", "control"), ("a\ud800b", "control"), ("a\uffffb", "control"), ("x" * (MAX_LENGTH + 1), "longer"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "why"), BAD, ids=[ascii(name)[:20] for name, _ in BAD])
def test_these_are_no_names(name: str, why: str) -> None:
    """And the reason says why."""
    reason = why_not_a_name(name)

    assert reason is not None and why in reason


@given(st.text(max_size=300))
@settings(max_examples=500)
def test_every_name_can_be_a_path_segment(name: str) -> None:
    """What is taken for a name survives the way through a URL, and has a key."""
    from urllib.parse import quote, unquote

    if why_not_a_name(name) is None:
        assert unquote(quote(name, safe="")) == name
        assert name_key(name)
