"""Values survive JSON."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address
from uuid import UUID

import pytest

from mooring.types.database.values import plain, weight


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        ("ğ", "ğ"),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("NaN"), "NaN"),
        (b"\x00\xff", "AP8="),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC), "2024-02-29T01:02:03+00:00"),
        (time(1, 2, 3), "01:02:03"),
        (timedelta(days=1, hours=2, seconds=3, microseconds=500000), "P1DT2H0M3.5S"),
        (timedelta(seconds=-1), "-P0DT0H0M1S"),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (ip_address("10.0.0.1"), "10.0.0.1"),
        ([Decimal(1), [b"a"]], ["1", ["YQ=="]]),
        ({"a": date(2024, 1, 1)}, {"a": "2024-01-01"}),
    ],
)
def test_plain(value, expected):
    """Each kind of value has one form in JSON."""
    found = plain(value)

    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_weight_grows_with_the_text():
    """The weight of a row follows the length of its texts."""
    assert weight(["x" * 1000]) > 1000 > weight([1, 2, 3])
