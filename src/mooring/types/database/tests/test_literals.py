"""Values as literals: one spelling for each, and no way out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.errors import Misconfigured
from mooring.types.database.literals import for_hive, for_trino
from mooring.types.database.statement import HIVE, STANDARD, bound

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("value", "trino", "hive"),
    [
        (None, "NULL", "NULL"), (True, "TRUE", "TRUE"), (1, "1", "1"), (-1, "(-1)", "(-1)"), (1.5, "1.5E0", "1.5D"),
        (-1e300, "(-1e+300)", "(-1e+300)"), ("a", "'a'", "'a'"), ("it's", "'it''s'", "'it\\'s'"), ("\\", "'\\'", "'\\\\'"),
        ("", "''", "''"),
    ],
)  # fmt: skip
def test_spelling(value, trino, hive):
    """Each kind of value has one spelling."""
    assert for_trino(1, value) == trino
    assert for_hive(1, value) == hive


@pytest.mark.parametrize("value", [[1], {"a": 1}, "\ud800"])
@pytest.mark.parametrize("literal", [for_trino, for_hive])
def test_what_has_no_spelling_is_refused(literal, value):
    """Lists, objects and lone surrogates are refused by number."""
    with pytest.raises(Misconfigured, match="parameter 3"):
        literal(3, value)


def read_standard(text):
    """A literal as standard SQL reads it: the value and what follows."""
    assert text[0] == "'"
    value, position = "", 1
    while True:
        if text[position] != "'":
            value, position = value + text[position], position + 1
        elif text[position + 1 : position + 2] == "'":
            value, position = value + "'", position + 2
        else:
            return value, text[position + 1 :]


def read_hive(text):
    """A literal as Hive reads it."""
    names = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a", "t": "\t"}
    assert text[0] == "'"
    value, position = "", 1
    while text[position] != "'":
        if text[position] == "\\":
            value, position = value + names.get(text[position + 1], text[position + 1]), position + 2
        else:
            value, position = value + text[position], position + 1
    return value, text[position + 1 :]


@given(TEXT)
def test_text_reads_back(value):
    """Whatever the text, the literal reads back as it, and ends where it ends."""
    assert read_standard(for_trino(1, value) + " rest") == (value, " rest")
    assert read_hive(for_hive(1, value) + " rest") == (value, " rest")


@pytest.mark.parametrize("sql", ["select ' ?", 'select " ?', "select /* ?", "select ` ?"])
@pytest.mark.parametrize("grammar", [HIVE, STANDARD])
def test_open_quote_takes_no_values(grammar, sql):
    """A statement with a quote that is not closed gets no value put into it."""
    with pytest.raises(Misconfigured, match="not closed"):
        bound(sql, ["x"], grammar, for_hive)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [("select ? -- ?\n, '?'", "select 1 -- ?\n, '?'"), ("select ?, \"?\", /* ? */ 2", 'select 1, "?", /* ? */ 2'),
     ("select a ?? b, ?", "select a ? b, 1")],
)  # fmt: skip
def test_quoted_placeholders_stay(sql, expected):
    """Placeholders in literals, names and comments are none."""
    assert bound(sql, [1], STANDARD, for_trino)[0] == expected
