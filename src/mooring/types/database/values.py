"""Values of databases as values that JSON knows, and back where a database is strict about types."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final


def plain(value: Any) -> Any:
    """*value* for JSON: bytes as base64, dates and times as ISO 8601 text, decimals and the rest as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    return next(convert(value) for kinds, convert in _PLAIN if isinstance(value, kinds))


def duration(value: timedelta) -> str:
    """ISO 8601: `P1DT2H3M4.5S`."""
    sign = "-" if value < timedelta() else ""
    value = abs(value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    return f"{sign}P{value.days}DT{hours}H{minutes}M{seconds}{fraction}S"


def weight(value: Any) -> int:
    """Roughly how many bytes *value* holds in memory."""
    if isinstance(value, str | bytes):
        return 50 + len(value)
    if isinstance(value, Mapping):
        return 64 + sum(weight(key) + weight(item) for key, item in value.items())
    if isinstance(value, list):
        return 64 + sum(map(weight, value))
    return 32


_PLAIN: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (float, lambda value: value if math.isfinite(value) else str(value)),
    (Decimal, lambda value: format(value, "f") if value.is_finite() else str(value)),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    ((datetime, date, time), lambda value: value.isoformat()),
    (timedelta, duration),
    (Mapping, lambda value: {str(key): plain(item) for key, item in value.items()}),
    ((list, tuple, set, frozenset), lambda value: [plain(item) for item in value]),
    (object, str),
)
