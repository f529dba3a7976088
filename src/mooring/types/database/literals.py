"""
Values as literals of SQL, for products whose protocol carries no values beside the statement.

Every kind of value has one spelling, and what has none is refused: nothing that a caller sends is ever taken as SQL.
"""

from __future__ import annotations

import math
from typing import Any, Final

from mooring.errors import Misconfigured

_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", "\t": "\\t"}


def for_trino(number: int, value: Any) -> str:
    """*value* in standard SQL. Raises `Misconfigured`."""
    if isinstance(value, str):
        return "'" + _text(number, value).replace("'", "''") + "'"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{'-' if value < 0 else ''}{'nan' if math.isnan(value) else 'infinity'}()"
    return _plain(number, value, "E0")


def for_hive(number: int, value: Any) -> str:
    """*value* as Hive and Impala read it, where a backslash escapes. Raises `Misconfigured`."""
    if isinstance(value, str):
        return "'" + "".join(_ESCAPES.get(sign, sign) for sign in _text(number, value)) + "'"
    if isinstance(value, float) and not math.isfinite(value):
        raise _no_literal(number, "not a finite number")
    return _plain(number, value, "D" if isinstance(value, float) and "e" not in repr(value) else "")


def _plain(number: int, value: Any, double: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        # In brackets, so that a minus before the placeholder does not begin a comment.
        return str(value) if value >= 0 else f"({value})"
    if isinstance(value, float):
        text = repr(value) + ("" if "e" in repr(value) else double)
        return text if value >= 0 else f"({text})"
    raise _no_literal(number, "a list or an object")


def _text(number: int, value: str) -> str:
    try:
        value.encode()
    except UnicodeError:
        raise _no_literal(number, "no Unicode text") from None
    return value


def _no_literal(number: int, what: str) -> Misconfigured:
    return Misconfigured(
        f"parameter {number} is {what}, which has no place in a statement",
        hint="Send text, a number, true, false or null; a date as text with a cast, bytes as base64 with its function.",
    )
