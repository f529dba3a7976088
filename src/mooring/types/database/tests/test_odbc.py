"""DB2 and Sybase without a server: what their drivers are told, and what their refusals mean."""

from __future__ import annotations

import pytest
from tests.support.services import closed_port

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database.odbc import pairs, said
from mooring.types.database.tests.support import query


@pytest.mark.parametrize(
    ("value", "expected"),
    [("plain", "A=plain;"), ("a;Driver=/tmp/x.so", "A={a;Driver=/tmp/x.so};"), ("a}b;c", "A={a}}b;c};"), ("{x", "A={{x};"),
     (" x", "A={ x};"), (None, ";"), ("", ";")],
)  # fmt: skip
def test_value_cannot_begin_another_pair(value, expected):
    """A value with signs of the format stands in braces."""
    assert pairs({"A": value}) == expected


def test_control_characters_are_refused():
    """A line end or NUL in a value is refused."""
    for evil in ("a\nb", "a\0b"):
        with pytest.raises(Misconfigured):
            pairs({"A": evil})


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("[IBM][CLI Driver] SQL30082N  Security processing failed with reason \"24\". SQLSTATE=08001", Rejected, "login"),
        ("[IBM][CLI Driver] SQL30081N  A communication error has been detected. SQLSTATE=08001", Unreachable, "reached"),
        ("[IBM][CLI Driver][DB2] SQL0204N \"g3heim\" is an undefined name. SQLSTATE=42704", Misconfigured, "42704"),
        ("[IBM][CLI Driver][DB2] SQL0911N deadlock SQLSTATE=40001", Unreachable, "others held"),
        ("[IBM][CLI Driver][DB2] SQL0803N duplicate SQLSTATE=23505", Misconfigured, "duplicate"),
        ("[IBM] SQL1013N  The database alias name could not be found. SQLSTATE=42705", Misconfigured, "no database"),
        ("('28000', \"[28000] [FreeTDS][SQL Server]Login failed. (4002) (SQLDriverConnect)\")", Rejected, "login"),
        ("('08001', '[08001] [FreeTDS][SQL Server]Unable to connect to data source (20009)')", Unreachable, "reached"),
        ("('40001', '[40001] [FreeTDS] deadlock victim (1205)')", Unreachable, "others held"),
        ("('42000', \"[42000] [FreeTDS] Incorrect syntax near 'g3heim'. (102)\")", Misconfigured, "42000"),
        ("('HYT00', '[HYT00] Timeout expired (0)')", Unreachable, "in time"),
        ("something", Misconfigured, "no code"),
    ],
)  # fmt: skip
def test_what_a_message_means(text, kind, says):
    """Vendor's numbers come first, then SQLSTATE; the text itself is not shown."""
    error = said(text, "db:1")

    assert type(error) is kind
    assert says in error.message
    assert "g3heim" not in error.message
    assert error.hint


async def test_db2_closed_port():
    """A closed port is Unreachable at once; the probe stops at connect."""
    pytest.importorskip("ibm_db_dbi")
    body = {
        "type": "database",
        "name": "d",
        "jdbcUrl": f"jdbc:db2://127.0.0.1:{closed_port()}/APP",
        "username": "u",
        "password": "p",
    }
    async with connected(body) as guard:
        with pytest.raises(Unreachable, match="refused the connection"):
            await query(guard, "values 1")
        report = await guard.probe()

    assert report.failure.name == "connect"


async def test_sybase_closed_port():
    """A closed port is Unreachable at once; the probe stops at connect."""
    pyodbc = pytest.importorskip("pyodbc", exc_type=ImportError)
    if "FreeTDS" not in pyodbc.drivers():
        pytest.skip("FreeTDS is not installed")
    body = {
        "type": "database",
        "name": "d",
        "jdbcUrl": f"jdbc:sybase:Tds:127.0.0.1:{closed_port()}/app",
        "username": "u",
        "password": "p",
    }
    async with connected(body) as guard:
        with pytest.raises(Unreachable):
            await query(guard, "select 1")
        report = await guard.probe()

    assert report.failure.name == "connect"
