"""
LDAP search filters (RFC 4515) with `{0}` in the place of a user name.

A filter is parsed first, and the name is put in afterwards, into a value that is already known to be one; so no
name, whatever it contains, changes what the filter asks. Blanks between components are taken, though the RFC has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

USER = "{0}"
MAX_DEPTH = 32

_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)(?:;[A-Za-z0-9-]+)*")
_RULE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_VALUE = re.compile(r"(?:[^()\\\x00]|\\[0-9A-Fa-f]{2})*")
_BLANKS = re.compile(" *")
_OPERATORS = ("=", "~=", ">=", "<=")
_ESCAPED = {"\\": r"\5c", "*": r"\2a", "(": r"\28", ")": r"\29", "\0": r"\00"}


class FilterError(ValueError):
    """The text is no filter; the message continues the sentence "it ...", and quotes nothing of the text."""


@dataclass(frozen=True)
class Group:
    """All of (`&`), any of (`|`), or not (`!`) its parts."""

    operator: str
    parts: tuple[Filter, ...]

    def filled(self, user: str) -> str:
        """The filter's text, asking for *user*."""
        return f"({self.operator}{''.join(part.filled(user) for part in self.parts)})"


@dataclass(frozen=True)
class Comparison:
    """One attribute, matching rule or both, an operator, and the value, in which `*` is a wildcard and `{0}` the user."""

    left: str
    operator: str
    value: str

    def filled(self, user: str) -> str:
        """The filter's text, asking for *user*."""
        return f"({self.left}{self.operator}{self.value.replace(USER, escaped(user))})"


Filter = Group | Comparison


def escaped(value: str) -> str:
    """*value* so that a filter takes every character of it literally."""
    return "".join(_ESCAPED.get(character, character) for character in value)


def parse(text: str) -> Filter:
    """The filter in *text*. Raises `FilterError`."""
    reader = _Reader(text)
    found = reader.filter(0)
    reader.blanks()
    if not reader.at_end():
        raise FilterError("goes on after its last parenthesis")
    return found


class _Reader:
    """Reads a filter from the left; `position` is where it stands."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    def at_end(self) -> bool:
        return self.position == len(self.text)

    def blanks(self) -> None:
        self._match(_BLANKS)

    def filter(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise FilterError(f"must not be nested deeper than {MAX_DEPTH}")
        self.blanks()
        self._expect("(")
        self.blanks()
        operator = self.text[self.position : self.position + 1]
        found = self._group(operator, depth) if operator and operator in "&|!" else self._comparison()
        self._expect(")")
        return found

    def _group(self, operator: str, depth: int) -> Group:
        self.position += 1
        parts = [self.filter(depth + 1)]
        self.blanks()
        while operator != "!" and self.text.startswith("(", self.position):
            parts.append(self.filter(depth + 1))
            self.blanks()
        return Group(operator, tuple(parts))

    def _comparison(self) -> Comparison:
        attribute = self._match(_ATTRIBUTE)
        operator = next((sign for sign in _OPERATORS if self.text.startswith(sign, self.position)), None)
        if attribute and operator:
            self.position += len(operator)
            return Comparison(attribute, operator, self._value(wildcards=operator == "="))
        return self._extensible(attribute)

    def _extensible(self, attribute: str) -> Comparison:
        left = attribute
        if self.text[self.position : self.position + 3].lower() == ":dn":
            left += self.text[self.position : self.position + 3]
            self.position += 3
        if self.text.startswith(":", self.position) and not self.text.startswith(":=", self.position):
            self.position += 1
            rule = self._match(_RULE)
            if not rule:
                raise FilterError("must have the name of a matching rule after a colon")
            left += f":{rule}"
        elif not attribute:
            raise FilterError("must have an attribute at the start of each comparison")
        if not self.text.startswith(":=", self.position):
            raise FilterError("must have =, ~=, >=, <= or := after each attribute")
        self.position += 2
        return Comparison(left, ":=", self._value(wildcards=False))

    def _value(self, *, wildcards: bool) -> str:
        value = self._match(_VALUE)
        if self.text.startswith("\\", self.position):
            raise FilterError("must have two hexadecimal digits after each backslash")
        if "\0" in self.text[self.position : self.position + 1]:
            raise FilterError(r"must write the NUL character as \00")
        if "*" in value and not wildcards:
            raise FilterError(r"must have wildcards only after =; a literal asterisk is \2a")
        return value

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match[0]

    def _expect(self, sign: str) -> None:
        if not self.text.startswith(sign, self.position):
            raise FilterError(
                "must be in parentheses, and so must each of its parts"
                if sign == "("
                else "must close each parenthesis once"
            )
        self.position += 1
