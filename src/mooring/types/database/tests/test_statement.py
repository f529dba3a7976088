"""Placeholders are found where they are meant, and nowhere else."""

from __future__ import annotations

import pytest

from mooring.errors import Misconfigured
from mooring.types.database.statement import for_mysql, for_postgres


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("select ?, ?", [1, 2], ("select $1, $2", [1, 2])),
        ("select $2, $1", [1, 2], ("select $2, $1", [1, 2])),
        ("select :b, :a, :b", {"a": 1, "b": 2}, ("select $1, $2, $1", [2, 1])),
        ("select '?', \"?\", ? -- ?\n/* ? /* ? */ ? */", [1], ("select '?', \"?\", $1 -- ?\n/* ? /* ? */ ? */", [1])),
        ("select $$ ? $$, $t$ $$ ? $t$, ?", [1], ("select $$ ? $$, $t$ $$ ? $t$, $1", [1])),
        (r"select E'\'?', ?", [1], (r"select E'\'?', $1", [1])),
        (r"select '\', ?", [1], (r"select '\', $1", [1])),
        ("select a ?? 'k' and b = ?", [1], ("select a ? 'k' and b = $1", [1])),
        ("select a ? 'k'", [], ("select a ? 'k'", [])),
        ("select 'it''s ?', ?::int", [1], ("select 'it''s ?', $1::int", [1])),
        ("select :a::text, x::int, y[1:2]", {"a": 1}, ("select $1::text, x::int, y[1:2]", [1])),
        ("select a ? 'k', :a", {"a": 1}, ("select a ? 'k', $1", [1])),
    ],
)
def test_postgres(sql, parameters, expected):
    """PostgreSQL gets $n, its own placeholders as they are."""
    assert for_postgres(sql, parameters) == expected


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("select ?, ?", [1, 2], ("select %s, %s", [1, 2])),
        ("select %s, 5 %% 2", [1], ("select %s, 5 %% 2", [1])),
        ("select :b, :a, :b", {"a": 1, "b": 2}, ("select %s, %s, %s", [2, 1, 2])),
        ("select '?', \"?\", `?`, ? # ?\n-- ?\n/* ? */", [1], ("select '?', \"?\", `?`, %s # ?\n-- ?\n/* ? */", [1])),
        (r"select '\'?', ?", [1], (r"select '\'?', %s", [1])),
        ("select 5--?", [1], ("select 5--%s", [1])),
        ("select 'a%' like ?, 5 % 3, '%s'", [1], ("select 'a%%' like %s, 5 %% 3, '%%s'", [1])),
        ("select '%s', %s", [1], ("select '%%s', %s", [1])),
        ("select 'a%'", [], ("select 'a%'", None)),
    ],
)
def test_mysql(sql, parameters, expected):
    """MySQL gets %s, and every other % is doubled; a %s inside quotes is no placeholder."""
    assert for_mysql(sql, parameters) == expected


@pytest.mark.parametrize("convert", [for_postgres, for_mysql])
@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("select ?", [1, 2]),
        ("select ?, ?", [1]),
        ("select 1", [1]),
        ("select :a", {"b": 1}),
        ("select :a", {"a": 1, "b": 2}),
        ("select '?'", [1]),
    ],
)
def test_disagreement_is_refused(convert, sql, parameters):
    """Values and placeholders that do not agree are refused before anything is sent."""
    with pytest.raises(Misconfigured):
        convert(sql, parameters)
