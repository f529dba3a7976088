"""A line of the log: what may be sent, and how Logback's line pattern lays it out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from mooring.plugin.connector import Request
from mooring.types.logback.date import DatePattern
from mooring.types.logback.pattern import DEFAULT_LINE_DATE, LINE_WORDS, Conversion, parse

MAX_TEXT = 262_144
_LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Label = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]
Level = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]


def _of_our_days(moment: AwareDatetime) -> AwareDatetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("the year must be between 1970 and 9000")
    return moment


class Entry(Request):
    """A message to log."""

    text: str = Field(max_length=MAX_TEXT, description="The message (`%m`).")
    level: Level = Field("INFO", description="Its level (`%level`).")
    logger: Label | None = Field(None, description="Who logs (`%logger`); left out, the connection's name.")
    thread: Label = Field("mooring", description="Name of the thread (`%thread`).")
    timestamp: Annotated[AwareDatetime, AfterValidator(_of_our_days)] | None = Field(
        None, description="When it happened, with its offset: `2026-01-31T12:00:00+01:00`; now, if left out."
    )
    multiline: bool = Field(
        False,
        description="Let line ends of the text stand, as in a stack trace. Otherwise each is written as a blank, so"
        " that one message is one line.",
    )


class Layout:
    """A line pattern, ready for use. Raises `PatternError` where it cannot be used."""

    def __init__(self, pattern: str, logger: str) -> None:
        self._logger = logger
        self._parts = [_part(piece) for piece in parse(pattern, LINE_WORDS)]

    def line(self, entry: Entry) -> bytes:
        """*entry* as the pattern lays it out, in UTF-8."""
        text = entry.text if entry.multiline else _LINE_END.sub(" ", entry.text)
        said = _Said(
            _CONTROL.sub(_tamed, text) if entry.multiline else _CONTROL.sub("?", text),
            entry.level,
            entry.logger or self._logger,
            entry.thread,
            entry.timestamp.timestamp() if entry.timestamp else time.time(),
        )
        return "".join(part if isinstance(part, str) else part(said) for part in self._parts).encode()


class _Said:
    __slots__ = ("level", "logger", "text", "thread", "when")

    def __init__(self, text: str, level: str, logger: str, thread: str, when: float) -> None:
        self.text, self.level, self.logger, self.thread, self.when = text, level, logger, thread, when


def abbreviated(name: str, length: int) -> str:
    """A logger's name, its leading parts cut to their first letters until it fits; with 0 only its last part."""
    *leading, last = name.split(".")
    if length == 0:
        return last
    excess = len(name) - length
    parts = []
    for part in leading:
        kept = part[:1] if excess > 0 else part
        excess -= len(part) - len(kept)
        parts.append(kept)
    return ".".join((*parts, last))


def _part(piece: object) -> str | Callable[[_Said], str]:
    if not isinstance(piece, Conversion):
        return str(piece.text)  # type: ignore[attr-defined]  # the only other piece is literal text
    read = _reader(piece)
    if piece.width is None and piece.limit is None:
        return read
    width, limit = piece.width or 0, piece.limit
    return lambda said: _fitted(read(said), width, limit)


def _reader(piece: Conversion) -> Callable[[_Said], str]:
    match piece.word:
        case "d":
            date = DatePattern(piece.option or DEFAULT_LINE_DATE, piece.zone)
            return lambda said: date.text(date.at(said.when))
        case "n":
            return lambda _: "\n"
        case "level":
            return lambda said: said.level
        case "thread":
            return lambda said: said.thread
        case "logger" if piece.option is not None:
            length = int(piece.option)
            return lambda said: abbreviated(said.logger, length)
        case "logger":
            return lambda said: said.logger
    return lambda said: said.text


def _fitted(text: str, width: int, limit: int | None) -> str:
    if limit is not None and len(text) > abs(limit):
        # A positive limit keeps the end, as suits a logger's name. What was cut is not padded again.
        return text[-limit:] if limit > 0 else text[: abs(limit)]
    return text.rjust(width) if width >= 0 else text.ljust(-width)


def _tamed(match: re.Match[str]) -> str:
    return match[0] if match[0] in "\n\r" else "?"
