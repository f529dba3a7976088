"""
Logback's patterns, as far as they are understood here.

    %d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n          a line
    %d{yyyy-MM-dd}.%i.log                      the tail of a rolled file's name

A conversion is `%`, an optional width such as `-5` or `20.30`, a word, and options in braces; `\\%` is a percent
sign. `parse` gives the pieces, and refuses by name what it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LINE_WORDS = frozenset({"d", "m", "msg", "n", "thread", "level", "logger"})
FILE_WORDS = frozenset({"d", "i"})
DATE_LETTERS: dict[str, str] = {
    "y": "year", "M": "month", "d": "day of the month", "D": "day of the year", "E": "day of the week",
    "w": "week of the year", "a": "am or pm", "H": "hour 0-23", "h": "hour 1-12", "m": "minute", "s": "second",
    "S": "fraction of a second", "z": "time zone", "Z": "offset such as +0100", "X": "offset such as +01:00",
}  # fmt: skip
"""The letters of a date pattern; all others must stand between single quotes."""
NAMED_DATES: dict[str, str] = {"ISO8601": "yyyy-MM-dd HH:mm:ss,SSS"}
DEFAULT_LINE_DATE = "yyyy-MM-dd HH:mm:ss,SSS"
DEFAULT_FILE_DATE = "yyyy-MM-dd"
MAX_WIDTH = 255
MAX_LETTERS = 9

_CONVERSION = re.compile(r"%(-?[0-9]{1,3})?(?:\.(-?[0-9]{1,3}))?([A-Za-z]+)(?:\{([^{}]*)\})?")
_DATE_PIECE = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")
_ZONE = re.compile(r"UTC|GMT(?:[+-][0-9]{1,2}(?::?[0-9]{2})?)?|[A-Za-z]+(?:/[A-Za-z0-9_+-]+){1,2}")
_LOGGER_LENGTH = re.compile(r"[0-9]{1,3}")


class PatternError(ValueError):
    """The pattern is not understood; the message continues "it ..."."""


@dataclass(frozen=True)
class Literal:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True)
class Conversion:
    """
    A word with what was said about it.

    Attributes:
        word: Such as `d` or `level`.
        width: Pad to this many characters; negative pads on the right.
        limit: Cut to this many characters; negative cuts the end.
        option: The date pattern of `d`, the length of `logger`.
        zone: The time zone of `d`.
    """

    word: str
    width: int | None = None
    limit: int | None = None
    option: str | None = None
    zone: str | None = None


@dataclass(frozen=True)
class DateField:
    """A run of one date letter: `yyyy` is the letter `y`, four times."""

    letter: str
    count: int


def parse(pattern: str, words: frozenset[str]) -> tuple[Literal | Conversion, ...]:
    """The pieces of *pattern*. Raises `PatternError` naming the first word that is not one of *words*."""
    return tuple(_pieces(pattern, words))


def parse_date(pattern: str) -> tuple[Literal | DateField, ...]:
    """The pieces of a date pattern. Raises `PatternError` naming the first letter that is not known."""
    return tuple(_date_pieces(NAMED_DATES.get(pattern, pattern)))


def fixed_text(pattern: str) -> str:
    """
    A file pattern with an `x` in the place of all that varies.

    What varies never holds a dot or a slash, so the path segments of this text are those of every file name.
    """
    text = ""
    for piece in parse(pattern, FILE_WORDS):
        if isinstance(piece, Literal):
            text += piece.text
        elif piece.word == "d":
            text += "".join(
                part.text if isinstance(part, Literal) else "x"
                for part in parse_date(piece.option or DEFAULT_FILE_DATE)
            )
        else:
            text += "x"
    return text


def _pieces(pattern: str, words: frozenset[str]) -> Iterator[Literal | Conversion]:
    text, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\" and position + 1 < len(pattern):
            text += pattern[position + 1]
            position += 2
        elif character == "%":
            if text:
                yield Literal(text)
                text = ""
            conversion, position = _conversion(pattern, position, words)
            yield conversion
        else:
            text += character
            position += 1
    if text:
        yield Literal(text)


def _conversion(pattern: str, position: int, words: frozenset[str]) -> tuple[Conversion, int]:
    match = _CONVERSION.match(pattern, position)
    if match is None:
        raise PatternError("a % must be followed by a conversion word; a percent sign itself is written \\%")
    width, limit, word, option = match.groups()
    if word not in words:
        known = ", ".join(f"%{known}" for known in sorted(words))
        raise PatternError(f"the conversion word %{word[:40]} is not supported; supported are {known}")
    if pattern.startswith("{", match.end()):
        raise PatternError(f"the options of %{word} need a closing brace, and come once")
    if max(abs(int(width or 0)), abs(int(limit or 0))) > MAX_WIDTH:
        raise PatternError(f"the width of %{word} may be at most {MAX_WIDTH}")
    return _with_option(word, int(width) if width else None, int(limit) if limit else None, option), match.end()


def _with_option(word: str, width: int | None, limit: int | None, option: str | None) -> Conversion:
    if not option:
        return Conversion(word, width, limit)
    if word == "d":
        date, zone = _date_and_zone(option)
        parse_date(date)
        return Conversion(word, width, limit, date, zone)
    if word == "logger" and _LOGGER_LENGTH.fullmatch(option.strip()):
        return Conversion(word, width, limit, option.strip())
    raise PatternError(f"the option of %{word} must be a number" if word == "logger" else f"%{word} takes no options")


def _date_and_zone(option: str) -> tuple[str, str | None]:
    """`HH:mm, UTC` is a pattern and a zone; `aux` marks a date that does not decide when files roll."""
    if len(option) > 1 and option[0] == option[-1] == '"':
        return option[1:-1], None
    date, *rest = _outside_quotes(option)
    zone = None
    for part in (part.strip() for part in rest):
        if part.lower() == "aux":
            continue
        if zone is not None or not _ZONE.fullmatch(part):
            raise PatternError(
                "after the comma in %d{...} a time zone must follow; a pattern with a comma is put between double quotes"
            )
        zone = part
    return date.strip(), zone


def _outside_quotes(text: str) -> list[str]:
    parts, quoted = [""], False
    for character in text:
        quoted ^= character == "'"
        if character == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _date_pieces(pattern: str) -> Iterator[Literal | DateField]:
    if not pattern:
        raise PatternError("a date pattern must say something")
    position = 0
    while position < len(pattern):
        match = _DATE_PIECE.match(pattern, position)
        if match is None:
            raise PatternError("a single quote in a date pattern must have its partner")
        position = match.end()
        if match[2] is None:
            yield Literal(match[0] if match[1] is None else (match[1].replace("''", "'") or "'"))
            continue
        if match[2] not in DATE_LETTERS:
            raise PatternError(
                f"the letter {match[2]} is not supported in a date pattern; text is put between single quotes"
            )
        if len(match[0]) > MAX_LETTERS:
            raise PatternError(f"the letter {match[2]} may be repeated at most {MAX_LETTERS} times")
        yield DateField(match[2], len(match[0]))
