"""What FTP servers say about the files in a directory: in the machine's format, or as `ls -l` and `dir` would."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from mooring.types.ftp.messages import Entry

_TYPES = {"file": "file", "dir": "directory", "os.unix=slink": "link", "os.unix=symlink": "link"}
_MODES = {"-": "file", "d": "directory", "l": "link"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# -rw-r--r--    1 owner    group        1234 Nov 24 15:25 name
_UNIX = re.compile(
    r"^(?P<mode>[a-z-])[a-zA-Z-]{9}[.+@]?\s+(?:\d+\s+)?(?:\S+\s+){1,2}?(?P<size>\d+)\s+"
    r"(?P<month>[A-Za-z]{3})\s+(?P<day>\d{1,2})\s+(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})|(?P<year>\d{4})) (?P<name>.+)$"
)
# 11-24-26  03:25PM       <DIR>          name
_WINDOWS = re.compile(
    r"^(?P<month>\d\d)-(?P<day>\d\d)-(?P<year>\d\d(?:\d\d)?)\s+(?P<hour>\d\d):(?P<minute>\d\d)(?P<half>[AP]M)?\s+"
    r"(?:(?P<dir><DIR>)|(?P<size>\d+)) *(?P<name>\S.*)$"
)


def machine_line(line: str) -> Entry | None:
    """A line that MLSD answers (RFC 3659); None for the directory itself, its parent, and what is unintelligible."""
    facts, _, name = line.partition(" ")
    found = {key.lower(): value for key, _, value in (fact.partition("=") for fact in facts.split(";"))}
    kind = found.get("type", "").lower()
    if not name or kind in ("cdir", "pdir") or name in (".", ".."):
        return None
    known = _TYPES.get(kind) or _TYPES.get(kind.partition(":")[0]) or "other"
    size = found.get("size", "")
    return Entry(
        name=name,
        type=known,  # type: ignore[arg-type]  # one of its words
        size=int(size) if known == "file" and size.isdecimal() else None,
        modified=_machine_time(found.get("modify", "")),
    )


def people_line(line: str, now: datetime | None = None) -> Entry | None:
    """A line that LIST answers; None for the directory itself, its parent, and what is unintelligible."""
    if match := _UNIX.match(line):
        kind = _MODES.get(match["mode"], "other")
        name = match["name"].partition(" -> ")[0] if kind == "link" else match["name"]
        modified = _unix_time(match, now or datetime.now(UTC))
    elif match := _WINDOWS.match(line):
        kind, name, modified = "directory" if match["dir"] else "file", match["name"], _windows_time(match)
    else:
        return None
    if name in (".", ".."):
        return None
    size = int(match["size"]) if kind == "file" else None
    return Entry(name=name, type=kind, size=size, modified=modified)  # type: ignore[arg-type]  # one of its words


def _machine_time(text: str) -> str | None:
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return None


def _unix_time(match: re.Match[str], now: datetime) -> str | None:
    month = match["month"].lower()
    if month not in _MONTHS:
        return None
    parts = (_MONTHS.index(month) + 1, int(match["day"]))
    if match["year"]:
        return _written(int(match["year"]), *parts)
    # Without a year it is within half a year of today; a server's clock and zone may be ahead of ours.
    for year in (now.year + 1, now.year, now.year - 1):
        text = _written(year, *parts, int(match["hour"]), int(match["minute"]))
        if text and datetime.fromisoformat(text) <= now.replace(tzinfo=None) + timedelta(days=2):
            return text
    return None


def _windows_time(match: re.Match[str]) -> str | None:
    year, hour = int(match["year"]), int(match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] == "PM" else 0)
    return _written(
        year if year > 99 else 2000 + year, int(match["month"]), int(match["day"]), hour, int(match["minute"])
    )


def _written(*parts: Any) -> str | None:
    try:
        return datetime(*parts).isoformat()  # the server does not say in which zone
    except ValueError:
        return None
