"""
Reading JSON from strangers.

The standard library's decoder does the parsing; what it lets through and we do not: duplicate keys, NaN and
Infinity, text that is not UTF-8, lone surrogates, NUL, numbers that a double cannot hold, and structures so
deep or so many that the code after us would pay for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

MAX_DEPTH = 32
MAX_STRINGS = 1_000
MAX_INTEGER = 2**53


class JsonRefused(ValueError):
    """The text is not JSON that we take; the message says why and never quotes the input."""


class Repeated(tuple[Any, ...]):
    """The values of a key that stood more than once in one object, in their order."""


def read_json(body: bytes, *, repeatable: frozenset[str] = frozenset(), max_strings: int = MAX_STRINGS) -> Any:
    """
    The value that *body* holds.

    Keys named in *repeatable* may stand more than once in the outermost object; their value is then a
    `Repeated`. Raises `JsonRefused`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise JsonRefused("the text is not UTF-8") from None
    try:
        value = _decoder(repeatable).decode(text)
    except json.JSONDecodeError as exc:
        raise JsonRefused(f"{exc.msg} at line {exc.lineno} column {exc.colno}") from None
    except RecursionError:
        raise JsonRefused(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as exc:
        if isinstance(exc, JsonRefused):
            raise
        raise JsonRefused("a number is too long") from None
    if "\\u" in text or "\0" in text or "\x7f" in text:
        _refuse_odd_text(value)
    # Quotes are quickly counted; those inside texts count for nothing.
    if text.count('"') > 2 * max_strings and sum(1 for _ in _texts(value)) > max_strings:
        raise JsonRefused(f"it holds more than {max_strings} strings")
    _check(value, 1, repeatable)
    return value


@cache
def _decoder(repeatable: frozenset[str]) -> json.JSONDecoder:
    """The library's decoder with our refusals hooked in."""

    def pairs_to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            # One walk: an object of very many keys must not cost their square.
            values: dict[str, list[Any]] = {}
            for key, value in pairs:
                values.setdefault(key, []).append(value)
            for key, several in values.items():
                if len(several) > 1:
                    if key not in repeatable:
                        raise JsonRefused(f"the key {key[:80]!r} stands more than once")
                    result[key] = Repeated(several)
        return result

    return json.JSONDecoder(object_pairs_hook=pairs_to_dict, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise JsonRefused(f"{name} is not a JSON number")


def _refuse_odd_text(value: Any) -> None:
    """Escapes can smuggle in what strict UTF-8 decoding cannot: lone surrogates and NUL."""
    for text in _texts(value):
        if "\0" in text:
            raise JsonRefused("a text contains the NUL character")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise JsonRefused("a text contains half of a surrogate pair") from None


def _texts(value: Any) -> Iterable[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def _check(value: Any, depth: int, repeatable: frozenset[str]) -> None:
    kind = type(value)
    if kind is dict:
        if depth > MAX_DEPTH:
            raise JsonRefused(f"it is nested deeper than {MAX_DEPTH} levels")
        for key, item in value.items():
            if type(item) is Repeated:
                if depth > 1:
                    raise JsonRefused(f"the key {key!r} stands more than once")
                for one in item:
                    _check(one, depth + 1, repeatable)
            elif type(item) is not str:
                _check(item, depth + 1, repeatable)
    elif kind is list:
        if depth > MAX_DEPTH:
            raise JsonRefused(f"it is nested deeper than {MAX_DEPTH} levels")
        for item in value:
            _check(item, depth + 1, repeatable)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise JsonRefused("a number is beyond 2^53")
    elif kind is float and value in (float("inf"), float("-inf")):
        raise JsonRefused("a number is too large")
