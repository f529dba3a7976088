"""The words that models are written in."""

from __future__ import annotations

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import ConnectionConfig, read_config
from mooring.plugin.fields import Count, field


class Model(ConnectionConfig):
    """One whole number."""

    number: Count = field(1, description="A number.")


@pytest.mark.parametrize(("given", "read"), [(7, 7), ("7", 7), ("0", 0), ("${N}", "${N}"), ("a${N}b", "a${N}b")])
def test_numbers_numeric_texts_and_references_are_taken(given, read):
    """A number, its digits as text, and a variable reference all stand for a number."""
    assert read_config(Model, {"number": given}).number == read


@pytest.mark.parametrize("given", ["1_000", " 5", "5 ", "5.0", "1e3", "+5", "٣", "", True, 1.5, [1], {}])
def test_anything_else_is_no_number(given):
    """What merely could be read as a number is refused, and the field is named."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(Model, {"number": given})

    assert [problem.path for problem in caught.value.problems] == ["/number"]


@pytest.mark.parametrize("key", ["a(b)", "list[int]", "failover:(x)", "[]", "()"])
def test_an_unknown_key_with_brackets_is_named(key):
    """An unknown key is refused by its own name, whatever brackets stand in it."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(Model, {"number": 1, key: 1})

    assert [problem.code for problem in caught.value.problems] == ["unknown_field"]
    assert key in caught.value.problems[0].message
