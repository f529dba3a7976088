"""Dates as Logback's date patterns write them, in English; and the period that a pattern divides time into."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from mooring.types.logback.pattern import DateField, Literal, PatternError, parse_date

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OFFSET_ZONE = re.compile(r"GMT([+-])([0-9]{1,2})(?::?([0-9]{2}))?")

Formatter = Callable[[datetime], str]

UNITS = ("second", "minute", "hour", "half day", "day", "week", "month", "year")
_UNIT_OF = {
    "S": "second", "s": "second", "m": "minute", "H": "hour", "h": "hour", "a": "half day", "d": "day", "D": "day",
    "E": "day", "w": "week", "M": "month", "y": "year",
}  # fmt: skip
_READ = "yMdDHhamsw"
_STEPS = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1),
    "half day": timedelta(hours=12), "day": timedelta(days=1), "week": timedelta(weeks=1),
}  # fmt: skip


class DatePattern:
    """
    A date pattern with its zone (the machine's, where none is given).

    Attributes:
        unit: The finest part of time that it writes: `day` for `yyyy-MM-dd`; None where it writes none.
        fraction: Whether it writes fractions of a second.
    """

    def __init__(self, pattern: str, zone: str | None = None) -> None:
        self.zone = zone_of(zone)
        self._pieces = parse_date(pattern)
        fields = [piece for piece in self._pieces if isinstance(piece, DateField)]
        self._parts = [_formatter(piece) for piece in self._pieces]
        self.fraction = any(field.letter == "S" for field in fields)
        found = {_UNIT_OF[field.letter] for field in fields if field.letter in _UNIT_OF}
        self.unit = next((unit for unit in UNITS if unit in found), None)

    def at(self, timestamp: float) -> datetime:
        """The moment *timestamp*, in the pattern's zone."""
        return datetime.fromtimestamp(timestamp, self.zone).astimezone(self.zone)

    def text(self, moment: datetime) -> str:
        """*moment*, as the pattern writes it; it must be in the pattern's zone."""
        return "".join(part(moment) for part in self._parts)

    def regex(self, mark: str) -> str:
        """What matches the pattern's texts; its groups are called by letter and *mark*."""
        seen: set[str] = set()
        parts = []
        for piece in self._pieces:
            if isinstance(piece, Literal):
                parts.append(re.escape(piece.text))
            else:
                named = piece.letter in _READ and piece.letter not in seen
                seen.add(piece.letter)
                parts.append(f"(?P<{piece.letter}{mark}>{_regex(piece)})" if named else f"(?:{_regex(piece)})")
        return "".join(parts)

    def read(self, match: re.Match[str], mark: str) -> datetime | None:
        """The start of the period that a text matched by `regex` names, without zone; None where it does not say."""
        groups = match.groupdict()
        found = {letter: groups[letter + mark] for letter in _READ if groups.get(letter + mark)}
        if "y" not in found or "w" in found:
            return None
        year = int(found["y"]) + (2000 if len(found["y"]) <= 2 else 0)
        try:
            if "D" in found:
                day = datetime(year, 1, 1) + timedelta(days=int(found["D"]) - 1)
            else:
                if "d" in found and "M" not in found:
                    return None
                day = datetime(year, _month(found.get("M", "1")), int(found.get("d", 1)))
            hour = int(found["H"]) if "H" in found else int(found.get("h", 0)) % 12
            if "H" not in found and found.get("a") == "PM":
                hour += 12
            return day.replace(hour=hour, minute=int(found.get("m", 0)), second=int(found.get("s", 0)))
        except ValueError:
            return None


def start_of(moment: datetime, unit: str, ago: int) -> datetime:
    """The start, without zone, of the period of *unit* that was *ago* periods before the one of *moment*."""
    moment = moment.replace(tzinfo=None, microsecond=0)
    try:
        if unit in ("month", "year"):
            months = moment.year * 12 + moment.month - 1 - ago if unit == "month" else (moment.year - ago) * 12
            return datetime(months // 12, months % 12 + 1, 1)
        midnight = moment.replace(hour=0, minute=0, second=0)
        if unit == "week":
            start = midnight - timedelta(days=(moment.weekday() + 1) % 7)
        else:
            step = _STEPS[unit]
            start = midnight + (moment - midnight) // step * step
        return start - ago * _STEPS[unit]
    except (OverflowError, ValueError):
        return datetime.min


def zone_of(name: str | None) -> tzinfo | None:
    """The time zone *name*; None for the machine's own. Raises `PatternError`."""
    if name is None:
        return None
    if name in ("UTC", "GMT"):
        return timezone(timedelta(), name)
    offset = _OFFSET_ZONE.fullmatch(name)
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        if minutes >= 24 * 60:
            raise PatternError(f"the time zone {name} does not exist")
        return timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes), name)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise PatternError(f"the time zone {name} is not known on this machine") from None


def _formatter(piece: Literal | DateField) -> Formatter:
    if isinstance(piece, Literal):
        text = piece.text
        return lambda _: text
    count = piece.count
    match piece.letter:
        case "y":
            return (lambda t: f"{t.year % 100:02d}") if count == 2 else (lambda t: f"{t.year:0{count}d}")
        case "M":
            return _named(lambda t: t.month, lambda t: _MONTHS[t.month - 1], count)
        case "E":
            return _named(lambda t: 0, lambda t: _DAYS[t.weekday()], max(3, count))
        case "a":
            return lambda t: "PM" if t.hour >= 12 else "AM"
        case "S":
            return lambda t: f"{t.microsecond * 1000:09d}"[:count]
        case "z":
            return lambda t: t.tzname() or "UTC"
        case "Z":
            return lambda t: _offset(t, colon=count == 5, zulu=count == 5, prefix="GMT" if count == 4 else "")
        case "X":
            return lambda t: _offset(t, colon=count in (3, 5), zulu=True, short=count == 1)
    number = _NUMBERS[piece.letter]
    return lambda t: f"{number(t):0{count}d}"


def _week(moment: datetime) -> int:
    """The week of the year, where weeks begin on Sunday and the first one holds January 1st."""
    saturday = moment + timedelta(days=(5 - moment.weekday()) % 7)
    if saturday.year != moment.year:
        return 1
    first = datetime(moment.year, 1, 1).weekday()
    return (moment.timetuple().tm_yday - 1 + (first + 1) % 7) // 7 + 1


_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "d": lambda t: t.day,
    "D": lambda t: t.timetuple().tm_yday,
    "w": _week,
    "H": lambda t: t.hour,
    "h": lambda t: t.hour % 12 or 12,
    "m": lambda t: t.minute,
    "s": lambda t: t.second,
}


def _named(number: Callable[[datetime], int], name: Callable[[datetime], str], count: int) -> Formatter:
    if count <= 2:
        return lambda t: f"{number(t):0{count}d}"
    if count == 3:
        return lambda t: name(t)[:3]
    return name if count == 4 else lambda t: name(t)[:1]


def _offset(moment: datetime, *, colon: bool, zulu: bool, short: bool = False, prefix: str = "") -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    if minutes == 0 and zulu:
        return "Z"
    if minutes == 0 and prefix:
        return prefix
    hours, rest = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    if short and not rest:
        return f"{sign}{hours:02d}"
    return f"{prefix}{sign}{hours:02d}{':' if colon or prefix else ''}{rest:02d}"


def _regex(field: DateField) -> str:
    if field.letter in "ME" and (field.count > 2 or field.letter == "E"):
        return "[A-Z][a-z]*"
    if field.letter == "a":
        return "AM|PM"
    if field.letter in "zZX":
        return "[A-Za-z0-9:+-]+"
    return f"[0-9]{{{field.count}}}" if field.count > 1 else "[0-9]+"


def _month(text: str) -> int:
    if text.isdigit():
        return int(text)
    return next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(text))
