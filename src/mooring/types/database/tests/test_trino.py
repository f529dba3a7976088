"""Trino in use: a real coordinator, and servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest
from tests.support.databases import trino_cli
from tests.support.services import service

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database.tests.support import Cut, execute, query


@pytest.fixture
def trino():
    return service("trino")


def body_of(server, **fields):
    port, switches = fields.pop("port", server["tls_port"]), fields.pop("query", "SSL=true")
    place = fields.pop("place", "memory/default")
    return {
        "type": "database", "name": "lake", "username": server["user"], "password": server["password"],
        "jdbcUrl": f"jdbc:trino://localhost:{port}/{place}?{switches}", **fields,
    }  # fmt: skip


def use(server, **fields):
    return connected(body_of(server, **fields), ca_file=server.ca)


def use_plain(server, port=None, **fields):
    """Without TLS and without a password."""
    return use(server, port=port or server["port"], query="user=mooring", useCredentials=False, **fields)


async def test_query_answers_typed_values(trino):
    """Values come as JSON has them, dates and times as ISO 8601, decimals as text, bytes as base64."""
    async with use(trino) as guard:
        answer = await query(
            guard,
            "select 1, 'ğüş', decimal '1.50', x'00ff', date '2026-01-31', timestamp '2026-01-31 10:30:00.5',"
            " timestamp '2026-01-31 10:30:00 Europe/Istanbul', array[1, 2], map(array['a'], array[2]), json '{\"a\": 1}',"
            " nan(), null, row(1, 'x')",
        )

    assert answer.rows == [
        [1, "ğüş", "1.50", "AP8=", "2026-01-31", "2026-01-31T10:30:00.5", "2026-01-31T10:30:00+03:00", [1, 2], {"a": 2},
         {"a": 1}, "NaN", None, [1, "x"]],
    ]  # fmt: skip


async def test_execute_is_seen_by_the_command_line(trino):
    """What was inserted is there for Trino's own command line, odd characters and all."""
    table, text = f"t_{secrets.token_hex(5)}", 'it\'s 100% "ğüş" \\ ; -- ? :a'
    async with use(trino) as guard:
        await execute(guard, f"create table {table} (id bigint, name varchar, paid boolean, share double)")
        done = await execute(guard, f"insert into {table} values (?, ?, ?, ?)", [-1, text, True, 0.25])
    seen = trino_cli(trino, f"select id, to_hex(to_utf8(name)), paid, share from {table}; drop table {table}")

    assert done.row_count == 1
    assert seen[0] == ["-1", text.encode().hex().upper(), "true", "0.25"]


async def test_parameters_by_name(trino):
    """A map of parameters fills `:name`, as often as it stands there."""
    async with use_plain(trino) as guard:
        assert (await query(guard, "select :a, :b, :a, ':a'", {"a": 1, "b": "x"})).rows == [[1, "x", 1, ":a"]]


async def test_value_never_becomes_sql(trino):
    """A value that looks like SQL stays a value."""
    evil = "' || (select 'x') || '"
    async with use_plain(trino) as guard:
        assert (await query(guard, "select ?", [evil])).rows == [[evil]]


async def test_lists_are_refused(trino):
    """A list has no literal, and is refused by number."""
    async with use_plain(trino) as guard:
        with pytest.raises(Misconfigured, match="parameter 1 is a list"):
            await query(guard, "select ?", [[1, 2]])


async def test_rows_are_limited(trino):
    """More rows than asked for are cut off, and the statement is ended at the server."""
    mark = secrets.token_hex(6)
    async with use_plain(trino) as guard:
        answer = await query(guard, f"select orderkey as k_{mark} from tpch.tiny.lineitem", max_rows=7)
        state = await query(
            guard,
            f"select state from system.runtime.queries where query like '%{mark}%' and query not like '%runtime%'",
        )

    assert (answer.row_count, answer.truncated) == (7, True)
    assert state.rows[0][0] in ("FINISHED", "FAILED", "FINISHING")


async def test_given_up_statement_ends_at_the_server(trino):
    """A statement whose caller gives up is ended."""
    mark = secrets.token_hex(6)
    async with use_plain(trino) as guard:
        with pytest.raises(Unreachable, match="no answer within"):
            await guard.use("query", {"sql": f"select count(*) as k_{mark} from tpch.sf100.lineitem"}, 0.5)
        sql = f"select state from system.runtime.queries where query like '%{mark}%' and query not like '%runtime%'"
        async with asyncio.timeout(10):
            while (await query(guard, sql)).rows[0][0] != "FAILED":
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("selec 1", "syntax error in line 1"),
        ("select * from nowhere", "nowhere"),
        ("select cast('g3heim' as integer)", "invalid cast argument"),
        ("select * from nocatalog.a.b", "nocatalog"),
        ("select 1/0", "division by zero"),
    ],
)
async def test_refused_statement(trino, sql, says):
    """A refused statement is the author's matter, and no value is repeated."""
    async with use_plain(trino) as guard:
        with pytest.raises(Misconfigured, match=says) as caught:
            await query(guard, sql)

    assert "g3heim" not in caught.value.message
    assert caught.value.hint


async def test_wrong_password(trino):
    """A wrong password is Rejected, at the step login, and is not repeated."""
    async with use(trino, password="wr0ng-passw0rd") as guard:
        with pytest.raises(Rejected) as caught:
            await query(guard, "select 1")
        report = await guard.probe()

    assert "wr0ng" not in caught.value.message
    assert (report.failure.name, report.failure.code) == ("login", "rejected")


async def test_password_needs_tls(trino):
    """A password is never sent without TLS: such a connection is not opened."""
    with pytest.raises(Misconfigured, match="over TLS only"):
        async with use(trino, port=trino["port"], query="SSL=false"):
            pass


async def test_unverified_where_it_is_asked_for(trino):
    """SSLVerification=NONE takes any certificate."""
    async with connected(body_of(trino, query="SSL=true&SSLVerification=NONE")) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_probe_passes(trino):
    """A probe of a good connection passes every step, and needs no start."""
    async with use(trino) as guard:
        report = await guard.probe()
        assert not guard.started

    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "tls", "login", "round trip")
    ]


async def test_cut_connections_heal(trino):
    """After all connections were cut the next statement has a new one; never more than maxPoolSize."""
    async with Cut("127.0.0.1", trino["port"]) as way, use_plain(trino, port=way.port, maxPoolSize=3) as guard:
        # Its server names itself by the address it was asked at.
        assert (await query(guard, "select 1")).rows == [[1]]
        await asyncio.gather(*(query(guard, "select 1") for _ in range(9)))
        way.cut()
        await asyncio.sleep(0.05)
        assert (await query(guard, "select 2")).rows == [[2]]

    assert way.most <= 3


async def answering(*pages):
    """A server that gives those answers, one for each request; its port and what it was asked."""
    asked = []
    rest = list(pages)

    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                ),
                0,
            )
            asked.append(head + await reader.readexactly(size))
            status, content = (400, "") if not size and head.startswith(b"POST") else rest.pop(0)
            text = content if isinstance(content, str) else json.dumps(content)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
            )

    async def quiet(reader, writer):
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError, IndexError):
            writer.close()

    listener = await asyncio.start_server(quiet, "127.0.0.1", 0)
    return listener, listener.sockets[0].getsockname()[1], asked


def fake_body(port):
    return {
        "type": "database", "name": "lake", "jdbcUrl": f"jdbc:trino://127.0.0.1:{port}/c/s?user=u", "useCredentials": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "following",
    ["http://other.invalid/v1/x", "https://127.0.0.1:{port}/v1/x", "http://127.0.0.1:1/v1/x", "file:///etc/passwd"],
)
async def test_next_page_of_another_server_is_not_followed(following):
    """A page that names another server, port or scheme for the next one ends the statement."""
    listener, port, asked = await answering((200, {"id": "q", "nextUri": following.replace("{port}", "9")}))
    async with listener, connected(fake_body(port)) as guard:
        with pytest.raises(Misconfigured, match="names another server"):
            await query(guard, "select 1")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, "no json"), Misconfigured),
        ((200, []), Misconfigured),
        ((200, "[" * 100_000), Misconfigured),
        ((302, ""), Misconfigured),
        ((404, ""), Misconfigured),
        ((503, ""), Unreachable),
        ((200, {"error": {"errorName": "GENERIC_INTERNAL_ERROR", "errorType": "INTERNAL_ERROR"}}), Unreachable),
        ((200, {"error": "text"}), Unreachable),
    ],
)
async def test_strange_answers(answer, error):
    """What no Trino says is told as such."""
    listener, port, _ = await answering(answer)
    async with listener, connected(fake_body(port)) as guard:
        with pytest.raises(error) as caught:
            await query(guard, "select 1")
    assert caught.value.hint


async def test_busy_server_is_asked_again_for_the_page():
    """A question for the next page is repeated after 503, as the protocol has it."""
    pages = [(200, {}), (503, ""), (200, {"columns": [{"name": "a", "type": "bigint"}], "data": [[1]]})]
    listener, port, asked = await answering(*pages)
    pages[0][1]["nextUri"] = f"http://127.0.0.1:{port}/v1/statement/1"
    async with listener, connected(fake_body(port)) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]
    assert sum(question.startswith(b"GET") for question in asked) == 2
