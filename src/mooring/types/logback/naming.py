"""How the files of a connection are called, which period a file belongs to, and which are too many."""

from __future__ import annotations

import re
from datetime import datetime

from mooring.errors import Misconfigured
from mooring.types.logback.date import UNITS, DatePattern
from mooring.types.logback.pattern import DEFAULT_FILE_DATE, FILE_WORDS, Conversion, parse

_PACKED = (".gz", ".zip", ".xz")


class FileNames:
    """
    The names that `logFileName`, `logPodName` and `logFilenamePattern` make, relative to `logPath`.

    Attributes:
        indexed: Whether a period may have several files (`%i`).
        unit: The period that files are rolled by, such as `day`; None where they are not.
        pattern: What matches the names, and no others.

    Raises:
        PatternError: a date cannot be written.
        Misconfigured: the names would lead somewhere else, or promise what is not done.
    """

    def __init__(self, base: str, pod: str, pattern: str) -> None:
        self._pieces: list[str | Conversion | DatePattern] = [f"{base}-{pod}-"]
        for piece in parse(pattern, FILE_WORDS):
            if not isinstance(piece, Conversion):
                self._pieces.append(piece.text)
            elif piece.word == "d":
                self._pieces.append(DatePattern(piece.option or DEFAULT_FILE_DATE, piece.zone))
            else:
                self._pieces.append(piece)
        if any(piece.fraction for piece in self._pieces if isinstance(piece, DatePattern)):
            raise Misconfigured(
                "files are rolled once a second at the most, and logFilenamePattern has a fraction of a second",
                hint="Take the S out of its date pattern.",
            )
        dates = [piece for piece in self._pieces if isinstance(piece, DatePattern)]
        units = {date.unit for date in dates}
        self.indexed = any(isinstance(piece, Conversion) for piece in self._pieces)
        self.unit = next((unit for unit in UNITS if unit in units), None)
        # The date that decides about the period; others, such as those of folders, are coarser.
        self._date = next((date for date in dates if date.unit == self.unit), None)
        self.pattern = re.compile(self._regex(), re.DOTALL)
        example = self.name(0.0, 0)
        if any(part in ("", ".", "..") or "\0" in part for part in example.split("/")):
            raise Misconfigured(
                "the log file's name is not a path below logPath", hint="Correct logFileName and logFilenamePattern."
            )
        if example.endswith(_PACKED):
            raise Misconfigured(
                "rolled files are not compressed here, and the name says so",
                hint="Let logFilenamePattern end otherwise, such as with .log.",
            )

    @property
    def depth(self) -> int:
        """How many folders stand between `logPath` and a file."""
        return self.name(0.0, 0).count("/")

    def name(self, timestamp: float, index: int) -> str:
        """The name of file *index* of the period that *timestamp* is in."""
        return "".join(self._text(piece, timestamp, index) for piece in self._pieces)

    def period(self, timestamp: float) -> str:
        """Something that is the same for all moments of one period, and for no other."""
        return self.name(timestamp, 0)

    def index_of(self, name: str, timestamp: float) -> int | None:
        """The number of the file *name* within the period of *timestamp*; None where it is not of that period."""
        index = self.index(name)
        return index if index is not None and self.name(timestamp, index) == name else None

    def index(self, name: str) -> int | None:
        """The number of the file *name*; None where it is none of ours."""
        match = self.pattern.fullmatch(name)
        if match is None:
            return None
        return int(match["index"]) if self.indexed else 0

    def moment(self, name: str) -> datetime | None:
        """The start of the period that the file *name* belongs to, as far as its name says."""
        match = self.pattern.fullmatch(name)
        return self._date.read(match, "d") if match is not None and self._date is not None else None

    def now(self, timestamp: float) -> datetime:
        """*timestamp* in the zone of the names, for comparison with `moment`."""
        return (self._date or DatePattern("yyyy")).at(timestamp).replace(tzinfo=None)

    def _text(self, piece: str | Conversion | DatePattern, timestamp: float, index: int) -> str:
        if isinstance(piece, str):
            return piece
        if isinstance(piece, Conversion):
            return str(index)
        return piece.text(piece.at(timestamp))

    def _regex(self) -> str:
        parts = []
        counted = False
        for number, piece in enumerate(self._pieces):
            if isinstance(piece, str):
                parts.append(re.escape(piece))
            elif isinstance(piece, DatePattern):
                parts.append(piece.regex("d" if piece is self._date else f"x{number}"))
            else:
                parts.append("(?:[0-9]+)" if counted else "(?P<index>[0-9]{1,9})")
                counted = True
        return "".join(parts)
