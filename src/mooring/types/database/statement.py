"""
Placeholders in SQL: found outside literals and comments, and turned into what a driver binds.

Values never become part of the text here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

from mooring.errors import Misconfigured

Kind = Literal["text", "?", "??", ":name", "$n", "%s"]


class _Token(NamedTuple):
    kind: Kind
    text: str


_POSTGRES = re.compile(
    r"""(?P<skip>(?<![A-Za-z0-9_])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*
    |(?<![A-Za-z0-9_$])\$(?P<tag>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$.*?\$(?(tag)(?P=tag))\$)
    |(?P<two>\?\?)|(?P<mark>\?)|(?P<dollar>(?<![A-Za-z0-9_$])\$[0-9]+)|(?P<cast>::|:=)|:(?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.DOTALL | re.VERBOSE,
)
_MYSQL = re.compile(
    r"""(?P<skip>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`|--(?=\s|$)[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<two>\?\?)|(?P<mark>\?)|(?P<percent>%%|%s)|(?P<cast>::|:=)|:(?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.DOTALL | re.VERBOSE,
)

_REST = r"""
    |(?P<two>\?\?)|(?P<mark>\?)|(?P<cast>::|:=)|:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<open>['"`]|/\*)"""


def _grammar(skip: str) -> re.Pattern[str]:
    return re.compile(f"(?P<skip>{skip}){_REST}", re.DOTALL | re.VERBOSE)


STANDARD: Final = _grammar(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/""")
ORACLE: Final = _grammar(
    r"""(?<![A-Za-z0-9_])[nN]?[qQ]'(?:\[.*?\]|\{.*?\}|<.*?>|\(.*?\)|(?P<quote>[^\s\[{<(]).*?(?P=quote))'
    |'(?:[^']|'')*'|"[^"]*"|--[^\n]*|/\*.*?\*/"""
)
SQL_SERVER: Final = _grammar(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\]|--[^\n]*|/\*""")
HIVE: Final = _grammar(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`]|``)*`|--[^\n]*|/\*.*?\*/""")


def bound(
    sql: str,
    parameters: Sequence[Any] | dict[str, Any],
    grammar: re.Pattern[str],
    mark: Callable[[int, Any], str] = lambda number, value: "?",
) -> tuple[str, list[Any]]:
    """
    *sql* with *mark*, given a number from 1 on and the value, for each value; and the values in that order.

    Raises:
        Misconfigured: placeholders and values do not agree.
    """
    if not parameters:
        return sql, []
    named = isinstance(parameters, dict)
    tokens = list(_tokens(grammar, sql))
    if isinstance(parameters, dict):
        _named(dict.fromkeys((token.text for token in tokens if token.kind == ":name"), 0), parameters)
    else:
        _agree(sum(token.kind == "?" for token in tokens), parameters)
    parts: list[str] = []
    values: list[Any] = []
    for token in tokens:
        if token.kind == (":name" if named else "?"):
            value = parameters[token.text] if isinstance(parameters, dict) else parameters[len(values)]
            values.append(value)
            parts.append(mark(len(values), value))
        else:
            parts.append(_shown(token, doubled="??" if named else "?"))
    return "".join(parts), values


def for_postgres(sql: str, parameters: Sequence[Any] | dict[str, Any]) -> tuple[str, list[Any]]:
    """*sql* with `$1`, `$2`, ... and the values in that order. Raises `Misconfigured`."""
    if not parameters:
        return sql, []
    tokens = list(_tokens(_POSTGRES, sql))
    if isinstance(parameters, dict):
        order: dict[str, int] = {}
        parts = [
            f"${order.setdefault(token.text, len(order) + 1)}" if token.kind == ":name" else _shown(token)
            for token in tokens
        ]
        return "".join(parts), _named(order, parameters)
    if any(token.kind == "$n" for token in tokens):
        return sql, list(parameters)
    count = 0
    parts = []
    for token in tokens:
        count += token.kind == "?"
        parts.append(f"${count}" if token.kind == "?" else _shown(token, doubled="?"))
    _agree(count, parameters)
    return "".join(parts), list(parameters)


def for_mysql(sql: str, parameters: Sequence[Any] | dict[str, Any]) -> tuple[str, list[Any] | None]:
    """*sql* with `%s` for each value and every other `%` doubled, as the client expects. Raises `Misconfigured`."""
    if not parameters:
        return sql, None
    tokens = list(_tokens(_MYSQL, sql))
    native = not isinstance(parameters, dict) and not any(token.kind == "?" for token in tokens)
    names: list[str] = []
    parts = []
    count = 0
    for token in tokens:
        wanted = ":name" if isinstance(parameters, dict) else ("%s" if native else "?")
        if token.kind == wanted:
            count += 1
            names.append(token.text)
            parts.append("%s")
        elif native and token.text == "%%":
            parts.append("%%")
        else:
            parts.append(_shown(token, doubled="?").replace("%", "%%"))
    if isinstance(parameters, dict):
        _named(dict.fromkeys(names, 0), parameters)
        return "".join(parts), [parameters[name] for name in names]
    _agree(count, parameters)
    return "".join(parts), list(parameters)


def _shown(token: _Token, doubled: str = "??") -> str:
    if token.kind == "??":
        return doubled
    return f":{token.text}" if token.kind == ":name" else token.text


def _agree(count: int, parameters: Sequence[Any]) -> None:
    if count != len(parameters):
        raise Misconfigured(
            f"the statement has {count} placeholders, and {len(parameters)} parameters were given",
            hint="Write ? for each value of a list, or :name for each of a map; quoted ones do not count.",
        )


def _named(order: dict[str, int], parameters: dict[str, Any]) -> list[Any]:
    missing = [name for name in order if name not in parameters]
    unused = [name for name in parameters if name not in order]
    if missing or unused:
        what = f"has no value for :{missing[0][:80]}" if missing else "has no place for one of the parameters"
        raise Misconfigured(
            f"the statement {what}",
            hint="A map of parameters gives a value for each :name of the statement, and no other.",
        )
    return [parameters[name] for name in order]


def _tokens(grammar: re.Pattern[str], sql: str) -> Iterator[_Token]:
    position = 0
    while match := grammar.search(sql, position):
        if match.start() > position:
            yield _Token("text", sql[position : match.start()])
        position = match.end()
        groups = match.groupdict()
        if groups.get("open"):
            # What comes after it is a literal to the server; nothing may be put into one.
            raise Misconfigured(
                "the statement has a quote or a comment that is not closed", hint="Close it, or send no parameters."
            )
        if match["skip"] == "/*":
            position = _comment_end(sql, match.start())
            yield _Token("text", sql[match.start() : position])
        elif groups["name"] is not None:
            yield _Token(":name", groups["name"])
        elif groups.get("two"):
            yield _Token("??", "??")
        elif groups["mark"]:
            yield _Token("?", "?")
        elif groups.get("dollar"):
            yield _Token("$n", match[0])
        elif match[0] == "%s":
            yield _Token("%s", "%s")
        else:
            yield _Token("text", match[0])
    if position < len(sql):
        yield _Token("text", sql[position:])


def _comment_end(sql: str, start: int) -> int:
    """Where a comment of PostgreSQL or SQL Server ends: they nest."""
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(sql, start):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return len(sql)
