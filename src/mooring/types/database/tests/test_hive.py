"""HiveServer2 in use: the one that Spark carries, where it was started by name; and servers that misbehave."""

from __future__ import annotations

import asyncio
import secrets
import threading
from pathlib import Path

import pytest
from tests.support.databases import hive_server
from tests.support.services import black_hole

from mooring.errors import InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database.hive import translated
from mooring.types.database.tests.support import Cut, execute, query, settled

FORMS = {"plain": ("port", ""), "https": ("https_port", ";ssl=true;transportMode=http;httpPath=cliservice")}


@pytest.fixture(params=FORMS)
def hive(request):
    server = hive_server()
    port, switches = FORMS[request.param]
    return server, server[port], switches


def body_of(hive, **fields):
    server, port, switches = hive
    port = fields.pop("port", port)
    return {
        "type": "database", "name": "lake", "username": server["user"], "password": server["password"],
        "jdbcUrl": f"jdbc:hive2://localhost:{port}/default{switches}", **fields,
    }  # fmt: skip


def use(hive, **fields):
    return connected(body_of(hive, **fields), ca_file=hive[0].ca)


def lines():
    return sum(thread.name == "mooring-database" for thread in threading.enumerate())


async def test_values(hive):
    """Values come as JSON has them."""
    async with use(hive) as guard:
        answer = await query(
            guard,
            "select 1 as a, 'ğüş' as b, cast(1.5 as decimal(5,2)) as c, x'00ff' as d, date '2026-01-31' as e,"
            " timestamp '2026-01-31 10:30:00' as f, array(1, 2) as g, null as h, true as i",
        )

    assert answer.columns == list("abcdefghi")
    assert answer.rows == [[1, "ğüş", "1.50", "AP8=", "2026-01-31", "2026-01-31T10:30:00", "[1,2]", None, True]]


async def test_value_never_becomes_sql(hive):
    """A value with quotes, backslashes and line ends stays a value."""
    evils = ["it's", "\\", "\\'", "' or '1'='1", 'a"b`c', "line\nend\r\t", "%s ? :a", "ğüş"]
    async with use(hive) as guard:
        answer = await query(guard, "select " + ", ".join(["?"] * len(evils)), evils)

    assert answer.rows == [evils]


async def test_execute_is_seen_in_the_files(hive):
    """A table that was made is a folder of files that hold what was sent."""
    name = f"t_{secrets.token_hex(5)}"
    place = f"{hive[0]['tables']}/{name}"
    async with use(hive) as guard:
        await execute(guard, f"create table {name} using json location '{place}' as select ? as word", ["ğüş"])
        assert (await query(guard, f"select word from {name}")).rows == [["ğüş"]]
        await execute(guard, f"drop table {name}")
    assert any("ğüş" in file.read_text() for file in Path(place).glob("*.json"))


async def test_rows_are_limited(hive):
    """More rows than asked for are cut off."""
    async with use(hive) as guard:
        answer = await query(guard, "select id from range(100000)", max_rows=7)
        assert (answer.row_count, answer.truncated) == (7, True)
        assert (await query(guard, "select 2 as a")).rows == [[2]]


@pytest.mark.parametrize(
    ("sql", "says"),
    [("selec 1", "PARSE_SYNTAX_ERROR in line 1"), ("select * from nowhere", "TABLE_OR_VIEW_NOT_FOUND"),
     ("select nocolumn from range(1)", "UNRESOLVED_COLUMN"), ("use nodatabase", "no database of that name")],
)  # fmt: skip
async def test_refused_statement(hive, sql, says):
    """A refused statement is the author's matter."""
    async with use(hive) as guard:
        with pytest.raises(Misconfigured, match=says):
            await query(guard, sql)


async def test_wrong_password(hive):
    """A wrong password is Rejected, at the step login."""
    async with use(hive, password="wr0ng") as guard:
        with pytest.raises(Rejected):
            await query(guard, "select 1")
        report = await guard.probe()

    assert (report.failure.name, report.failure.code) == ("login", "rejected")


async def test_threads_are_those_of_the_pool_and_go(hive):
    """As many threads as sessions, never more than maxPoolSize, and none after resting."""
    async with use(hive, maxPoolSize=2) as guard:
        assert lines() == 0
        await asyncio.gather(*(query(guard, "select 1") for _ in range(10)))
        assert 1 <= lines() <= 2
        assert await guard.rest()
        await settled(lambda: lines() == 0)
        assert (await query(guard, "select 1")).rows == [[1]]
    await settled(lambda: lines() == 0)


async def test_cut_connections_heal(hive):
    """After all connections were cut the next statement has a new one."""
    async with Cut("127.0.0.1", hive[1]) as way, use(hive, port=way.port) as guard:
        await query(guard, "select 1")
        way.cut()
        await asyncio.sleep(0.05)
        assert (await query(guard, "select 2")).rows == [[2]]


async def test_hung_server_holds_nobody():
    """A server that says nothing: the caller leaves at the deadline, and the thread is gone after it."""
    with black_hole() as hole:
        body = {
            "type": "database", "name": "d", "jdbcUrl": f"jdbc:hive2://127.0.0.1:{hole.port}/d", "username": "u",
            "password": "p", "maxPoolSize": 3,
        }  # fmt: skip
        async with connected(body) as guard:

            async def one():
                with pytest.raises(Unreachable):
                    await guard.use("query", {"sql": "select 1"}, 0.3)

            await asyncio.gather(*(one() for _ in range(9)))
            await settled(lambda: lines() == 0)


@pytest.mark.parametrize(
    ("url", "says"),
    [("jdbc:hive2://h/d`x", "must be host"), ("jdbc:hive2://h/d-x", "none that Hive knows"),
     ("jdbc:hive2://h/d;transportMode=http;httpPath=a%20b?c", "no path")],
)  # fmt: skip
async def test_names_that_could_be_more_are_refused(url, says):
    """A database or a path that could hold more than a name is refused when the connection is made."""
    body = {"type": "database", "name": "d", "jdbcUrl": url, "username": "u", "password": "p"}
    with pytest.raises((Misconfigured, InvalidConfig), match=says):
        async with connected(body):
            pass


def test_statement_errors_show_no_data():
    """What HiveServer2 repeats of a statement is not shown."""
    from impala.error import OperationalError

    error = translated(OperationalError("Error while compiling: SemanticException line 1:7 value 'g3heim' ..."), "h:1")

    assert "g3heim" not in error.message
    assert isinstance(error, Misconfigured)
