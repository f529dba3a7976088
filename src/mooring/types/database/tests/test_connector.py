"""Databases in use: real PostgreSQL and MariaDB, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.support.services import ProgramFailed, black_hole, closed_port, mysql, psql, service

from mooring.errors import Busy, DriverMissing, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.database import kinds
from mooring.types.database.tests.target import FIRST_USE, aimed

KINDS = {"postgres": "postgresql", "mariadb": "mysql"}
FULL = {"postgres": "sslmode=verify-full", "mariadb": "sslMode=VERIFY_IDENTITY"}
ask = {"postgres": psql, "mariadb": mysql}


@pytest.fixture(params=KINDS)
def server(request):
    return service(request.param)


@pytest.fixture
def postgres():
    return service("postgres")


@pytest.fixture
def mariadb():
    return service("mariadb")


@pytest.fixture
def table(server):
    """A table of this test alone."""
    name = f"t_{secrets.token_hex(6)}"
    ask[server.name](
        server, f"create table {name} (id int primary key, name varchar(100), at timestamp, paid decimal(10,2))"
    )
    yield name
    ask[server.name](server, f"drop table {name}")


def url_of(server, query=None, host=None, port=None, database=None):
    query = FULL[server.name] if query is None else query
    tail = f"?{query}" if query else ""
    return f"jdbc:{KINDS[server.name]}://{host or server['host']}:{port or server['port']}/{database or server['database']}{tail}"


def body_of(server, **fields):
    address = {key: fields.pop(key) for key in ("query", "host", "port", "database") if key in fields}
    return {
        "type": "database", "name": "orders-db", "jdbcUrl": url_of(server, **address),
        "username": server["user"], "password": server["password"], **fields,
    }  # fmt: skip


def use(server, **fields):
    return connected(body_of(server, **fields), ca_file=server.ca)


async def query(guard, sql, parameters=(), **more):
    return await guard.use(
        "query", {"sql": sql, "parameters": parameters if isinstance(parameters, dict) else list(parameters), **more}
    )


async def execute(guard, sql, parameters=()):
    return await guard.use(
        "execute", {"sql": sql, "parameters": parameters if isinstance(parameters, dict) else list(parameters)}
    )


@contextlib.contextmanager
def user_of(server, name=None):
    """A login of this test alone: its name and password."""
    name, password = name or f"u_{secrets.token_hex(5)}", f"pw-{secrets.token_hex(8)}"
    if server.name == "postgres":
        psql(server, f"create role \"{name}\" login password '{password}'", admin=True)
        end = f'drop role "{name}"'
    else:
        mysql(
            server,
            f"create user '{name}'@'%' identified by '{password}'; grant all on mooring.* to '{name}'@'%'",
            admin=True,
        )
        end = f"drop user '{name}'@'%'"
    try:
        yield name, password
    finally:
        ask[server.name](server, end, admin=True)


def sessions_of(server, user):
    """How many sessions *user* has, as the server counts them."""
    if server.name == "postgres":
        return int(psql(server, f"select count(*) from pg_stat_activity where usename = '{user}'", admin=True))
    return int(mysql(server, f"select count(*) from information_schema.processlist where user = '{user}'", admin=True))


def kill(server, user):
    """End every session of *user* from outside."""
    if server.name == "postgres":
        psql(server, f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'", admin=True)
    else:
        mysql(server, f"kill user '{user}'", admin=True)


async def settled(condition, for_s=5.0):
    async with asyncio.timeout(for_s):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


# --- works -----------------------------------------------------------------------------------------------------


async def test_query_answers_rows(server):
    """A query answers columns, rows and their number."""
    async with use(server) as guard:
        answer = await query(guard, "select 1 as one, 'ğüş' as text union all select 2, null order by 1")

    assert answer.columns == ["one", "text"]
    assert answer.rows == [[1, "ğüş"], [2, None]]
    assert (answer.row_count, answer.truncated) == (2, False)
    assert answer.records()[1] == {"one": 2, "text": None}


async def test_execute_is_committed(server, table):
    """What was executed is seen by the server's own client at once, with odd characters as they were."""
    text = 'it\'s 100% "ğüş" \\ ; -- ? $1 :a %s'
    async with use(server) as guard:
        done = await execute(guard, f"insert into {table} (id, name, paid) values (?, ?, ?)", [1, text, 12.5])
        again = await query(guard, f"select name, paid from {table} where name = ?", [text])

    assert done.row_count == 1
    assert again.rows == [[text, "12.50"]]
    assert (
        ask[server.name](server, f"select count(*) from {table} where char_length(name) = {len(text)}").strip() == "1"
    )


async def test_named_parameters(server, table):
    """A map of parameters is bound by name, one name as often as it stands."""
    async with use(server) as guard:
        await execute(guard, f"insert into {table} (id, name) values (:id, :name)", {"id": 7, "name": "seven"})
        answer = await query(guard, f"select id from {table} where name = :name and :name <> 'x'", {"name": "seven"})

    assert answer.rows == [[7]]


@pytest.mark.parametrize(("name", "sql"), [("postgres", "select $2::int - $1::int"), ("mariadb", "select %s - %s")])
async def test_native_placeholders(name, sql):
    """The product's own placeholders work as well."""
    server = service(name)
    async with use(server) as guard:
        answer = await query(guard, sql, [3, 5])

    assert answer.rows == [[2 if name == "postgres" else -2]]


async def test_row_count_is_that_of_matched_rows(server, table):
    """An update counts the rows it matched, changed or not, on both products."""
    async with use(server) as guard:
        await execute(guard, f"insert into {table} (id, name) values (1, 'a'), (2, 'a')")
        assert (await execute(guard, f"update {table} set name = 'a'")).row_count == 2
        assert (await execute(guard, f"delete from {table} where id = 9")).row_count == 0
        assert (await execute(guard, f"select * from {table}")).row_count == 2


async def test_last_insert_id(mariadb):
    """MySQL tells the number of a new row; PostgreSQL returns it as a row."""
    name = f"t_{secrets.token_hex(6)}"
    async with use(mariadb) as guard:
        await execute(guard, f"create table {name} (id int auto_increment primary key, x int)")
        done = await execute(guard, f"insert into {name} (x) values (5)")
        await execute(guard, f"drop table {name}")

    assert (done.row_count, done.last_insert_id) == (1, 1)


async def test_returning(postgres):
    """`insert ... returning` answers through query, and is committed."""
    name = f"t_{secrets.token_hex(6)}"
    async with use(postgres) as guard:
        await execute(guard, f"create table {name} (id serial, x int)")
        answer = await query(guard, f"insert into {name} (x) values (5), (6) returning id", max_rows=1)
        assert (answer.rows, answer.truncated) == ([[1]], True)
        assert psql(postgres, f"select count(*) from {name}").strip() == "2"
        await execute(guard, f"drop table {name}")


async def test_more_rows_than_wanted_are_cut(server):
    """Rows beyond maxRows are cut, and the answer says so; the connection is good afterwards."""
    source = "generate_series(1, 5000)" if server.name == "postgres" else "seq_1_to_5000"
    async with use(server) as guard:
        for _ in range(3):
            answer = await query(guard, f"select * from {source}", maxRows=10)
            assert (answer.row_count, answer.truncated) == (10, True)
        assert (await query(guard, f"select * from {source}", maxRows=5000)).truncated is False
        assert (await query(guard, f"select * from {source}")).row_count == 1000
        with pytest.raises(InvalidConfig):
            await query(guard, "select 1", maxRows=10001)


async def test_a_large_answer_is_cut(server):
    """An answer holds about 16 MiB at most, however few rows there are."""
    source = "generate_series(1, 100)" if server.name == "postgres" else "seq_1_to_100"
    async with use(server) as guard:
        answer = await query(guard, f"select repeat('x', 1000000) from {source}")

    assert answer.truncated
    assert answer.row_count < 100


@pytest.mark.parametrize(
    ("name", "sql", "expected"),
    [
        ("postgres", "select 1.50::numeric, date '2024-02-29', timestamptz '2024-02-29 10:00+00', '\\x00ff'::bytea,"
         " interval '1 day 2 hours', '{\"a\": [1]}'::jsonb, array[1,2], 'NaN'::float8, inet '10.0.0.1', true",
         ["1.50", "2024-02-29", "2024-02-29T10:00:00+00:00", "AP8=", "P1DT2H0M0S", {"a": [1]}, [1, 2], "nan", "10.0.0.1", True]),
        ("mariadb", "select 1.50, date '2024-02-29', timestamp '2024-02-29 10:00:00', x'00ff', time '10:30:00', 1e0",
         ["1.50", "2024-02-29", "2024-02-29T10:00:00", "AP8=", "10:30:00", 1.0]),
    ],
)  # fmt: skip
async def test_values_survive_json(name, sql, expected):
    """Every value has a form that JSON knows."""
    async with use(service(name)) as guard:
        answer = await query(guard, sql)

    assert type(answer).model_validate_json(answer.model_dump_json(by_alias=True)).rows == [expected]


async def test_json_parameters_reach_strict_types(postgres):
    """Text and numbers of JSON become what PostgreSQL's types ask for."""
    async with use(postgres) as guard:
        answer = await query(
            guard,
            "select ?::date, ?::timestamptz, ?::numeric, ?::bytea, ?::jsonb, ?::int[], ?::uuid",
            [
                "2024-02-29",
                "2024-02-29T10:00:00+03:00",
                "1.50",
                "AP8=",
                {"a": 1},
                [1, 2],
                "00000000-0000-0000-0000-000000000001",
            ],
        )

    assert answer.rows == [
        [
            "2024-02-29",
            "2024-02-29T07:00:00+00:00",
            "1.50",
            "AP8=",
            {"a": 1},
            [1, 2],
            "00000000-0000-0000-0000-000000000001",
        ]
    ]


async def test_parts_instead_of_an_address(server):
    """host, port and databaseName do as well as jdbcUrl."""
    body = {
        "type": "database", "name": "db", "dbType": "POSTGRES" if server.name == "postgres" else "MYSQL",
        "host": server["host"], "port": server["port"], "databaseName": server["database"],
        "username": server["user"], "password": server["password"],
    }  # fmt: skip
    async with connected(body) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_login_in_the_address(server):
    """With useCredentials off, the login of jdbcUrl is used."""
    body = body_of(server, query=f"{FULL[server.name]}&user={server['user']}&password={server['password']}")
    body |= {"useCredentials": False, "username": None, "password": None}
    async with connected(body, ca_file=server.ca) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_parameters_of_the_address_take_effect(postgres):
    """currentSchema, ApplicationName and readOnly reach the session."""
    async with use(postgres, query="currentSchema=pg_catalog&ApplicationName=shop&readOnly=true") as guard:
        answer = await query(
            guard,
            "select current_setting('search_path'), current_setting('application_name'), current_setting('transaction_read_only')",
        )

    assert answer.rows == [["pg_catalog", "shop", "on"]]


async def test_second_host_is_tried(server):
    """Where the first of several hosts refuses, the next one serves."""
    body = body_of(server)
    body["jdbcUrl"] = body["jdbcUrl"].replace("://", f"://127.0.0.1:{closed_port()},")
    async with connected(body, ca_file=server.ca) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]
        assert (await guard.probe()).ok


async def test_turkish_names_and_passwords(server):
    """Users and passwords beyond ASCII work."""
    with user_of(server, f"kullanıcı_{secrets.token_hex(3)}") as (name, _):
        password = "şifre-ğüıİö-" + secrets.token_hex(4)
        change = (
            f"alter role \"{name}\" password '{password}'"
            if server.name == "postgres"
            else f"alter user '{name}'@'%' identified by '{password}'"
        )
        ask[server.name](server, change, admin=True)
        async with use(server, username=name, password=password) as guard:
            assert (await query(guard, "select 1")).rows == [[1]]


async def test_native_lends_the_drivers_connection(server):
    """native() is the pool, whose acquire() lends the client library's own connection; a transaction left open is undone."""
    async with use(server) as guard:
        pool = await guard.native()
        async with pool.acquire() as connection:
            if server.name == "postgres":
                assert await connection.fetchval("select 1") == 1
                await connection.execute("set search_path to nowhere")
            else:
                cursor = await connection.cursor()
                await cursor.execute("select 1")
                assert await cursor.fetchone() == (1,)
                await connection.begin()
        if server.name == "postgres":
            assert (await query(guard, "show search_path")).rows != [["nowhere"]]


async def test_open_transaction_does_not_reach_the_next_user(server, table):
    """A BEGIN by one operation is undone before the next: operations stand each on their own."""
    async with use(server, maxPoolSize=1) as guard:
        await execute(guard, "begin")
        await execute(guard, f"insert into {table} (id) values (1)")

    assert ask[server.name](server, f"select count(*) from {table}").strip() == "1"


async def test_changed_table_under_a_prepared_statement(postgres):
    """A table that changes its columns under a prepared statement is no error for the next query."""
    name = f"t_{secrets.token_hex(6)}"
    async with use(postgres, maxPoolSize=1) as guard:
        await execute(guard, f"create table {name} (a int)")
        await query(guard, f"select * from {name}")
        psql(postgres, f"alter table {name} add column b text")
        answer = await query(guard, f"select * from {name}")
        await execute(guard, f"drop table {name}")

    assert answer.columns == ["a", "b"]


@pytest.mark.parametrize(("limit", "kept"), [(3, 3), (0, 0)])
async def test_statements_are_kept_up_to_the_limit(postgres, limit, kept):
    """maxStatements prepared statements are kept on a connection, and no more."""
    async with use(postgres, maxPoolSize=1, maxStatements=limit) as guard:
        for number in range(10):
            await query(guard, f"select {number}, ?::int", [1])
        pool = await guard.native()
        async with pool.lend() as session:
            count = await session.connection.fetchval("select count(*) from pg_prepared_statements where name <> ''")

    assert count <= kept + 1


# --- the operation's own mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sql", "says"),
    [
        ("postgres", "selekt 'g3heim'", "42601"),
        ("postgres", "select 1 where 'g3heim", "42601"),
        ("postgres", "select 1; select 'g3heim'", "42601"),
        ("postgres", "select * from no_such_table", "no_such_table"),
        ("postgres", "select 'g3heim'::int", "22P02"),
        ("postgres", "vacuum", "execute"),
        ("mariadb", "selekt 'g3heim'", "1064"),
        ("mariadb", "select 1; select 'g3heim'", "1064"),
        ("mariadb", "select * from no_such_table", "no_such_table"),
        ("mariadb", "select g3heim_not from (select 1) t", "1054"),
        ("mariadb", "load data local infile '/etc/passwd' into table no_such_table", "file"),
    ],
)
async def test_wrong_statement_is_misconfigured(name, sql, says):
    """A statement that the server refuses says why, without the data in it, and the connection is good afterwards."""
    async with use(service(name)) as guard:
        with pytest.raises(Misconfigured) as caught:
            await query(guard, sql)
        assert (await query(guard, "select 1")).rows == [[1]]

    text = caught.value.message + (caught.value.hint or "")
    assert says in text or name == "mariadb" and "load" in sql
    assert "g3heim'" not in text
    assert caught.value.hint


async def test_broken_rule_shows_no_data(server, table):
    """A duplicate key is refused without the key's value."""
    async with use(server) as guard:
        await execute(guard, f"insert into {table} (id) values (4711)")
        with pytest.raises(Misconfigured) as caught:
            await execute(guard, f"insert into {table} (id, name) values (?, ?)", [4711, "g3heim"])

    assert "4711" not in caught.value.message
    assert "g3heim" not in caught.value.message
    assert "uplicate" in caught.value.message


async def test_parameter_of_another_type(postgres):
    """A parameter that does not fit is named by its number, without its value."""
    async with use(postgres) as guard:
        for sql, value in (("select ?::int", "g3heim"), ("select ?::date", "g3heim"), ("select ?::bytea", "g3heim!")):
            with pytest.raises(Misconfigured, match="parameter 1") as caught:
                await query(guard, sql, [value])
            assert "g3heim" not in caught.value.message


async def test_lone_surrogate_is_refused(server):
    """A text that is no Unicode text is refused, not guessed at."""
    async with use(server) as guard:
        with pytest.raises(Misconfigured):
            await query(guard, "select ?", ["\udc27"])
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_missing_right_is_named(postgres):
    """A table that the login may not read is the author's matter, not a refused login."""
    with user_of(postgres) as (name, password):
        async with use(postgres, username=name, password=password) as guard:
            with pytest.raises(Misconfigured, match="permission denied"):
                await query(guard, "select * from pg_authid")
        assert guard.health != "auth_failed"


# --- bad weather -------------------------------------------------------------------------------------------------


async def test_wrong_password_is_rejected(server):
    """A wrong password is Rejected, and is not in the message."""
    async with use(server, password="wr0ng-passw0rd") as guard:
        with pytest.raises(Rejected) as caught:
            await query(guard, "select 1")
        report = await guard.probe()

    assert "wr0ng" not in caught.value.message + str(caught.value.hint)
    assert caught.value.hint
    assert (report.failure.name, report.failure.code) == ("login", "rejected")
    assert "wr0ng" not in str(report)


async def test_unknown_database_is_misconfigured(server):
    """A database that does not exist is the author's matter."""
    async with use(server, database="no_such_database") as guard:
        with pytest.raises((Misconfigured, Rejected)) as caught:
            await query(guard, "select 1")

    assert "databaseName" in caught.value.hint or "database" in caught.value.hint


async def test_closed_port_is_unreachable_quickly(server):
    """A closed port is Unreachable within a second, naming the address."""
    port = closed_port()
    body = aimed(body_of(server), "127.0.0.1", port)
    async with connected(body, ca_file=server.ca) as guard:
        started = time.monotonic()
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} refused"):
            await guard.use(*FIRST_USE)
        report = await guard.probe()

    assert time.monotonic() - started < 1
    assert report.failure.name == "connect"


@pytest.mark.parametrize("connects", [True, False])
@pytest.mark.parametrize("name", KINDS)
async def test_black_hole_ends_by_the_deadline(name, connects):
    """A server that says nothing is Unreachable after connectTimeout."""
    server = service(name)
    limit = "connectTimeout=1" if name == "postgres" else "connectTimeout=1000"
    with black_hole(connects=connects) as hole:
        async with use(server, host=hole.host, port=hole.port, query=limit) as guard:
            started = time.monotonic()
            with pytest.raises(Unreachable, match="did not answer in time"):
                await query(guard, "select 1")
            report = await guard.probe(timeout_s=0.5)

    assert time.monotonic() - started < 3
    assert not report.ok


@pytest.mark.parametrize("name", KINDS)
async def test_unknown_host(name):
    """A host name that nobody knows is Unreachable, at the step resolve."""
    async with use(service(name), host="no-such-host.invalid") as guard:
        with pytest.raises(Unreachable, match="does not resolve"):
            await query(guard, "select 1")
        report = await guard.probe()

    assert report.failure.name == "resolve"


async def test_wrong_name_in_the_certificate(server):
    """A certificate for another name is Misconfigured and says so; the step is tls."""
    async with use(server, host=server["wrong_name_host"]) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await query(guard, "select 1")
        report = await guard.probe()

    assert (report.failure.name, report.failure.code) == ("tls", "misconfigured")


async def test_name_need_not_match_where_switched_off(server):
    """verifyHostname=false accepts another name of a trusted certificate."""
    async with use(server, host=server["wrong_name_host"], verifyHostname=False) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_untrusted_issuer(server):
    """A certificate of an unknown issuer is Misconfigured."""
    async with connected(body_of(server)) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await query(guard, "select 1")


class _Stores:
    def __init__(self, **stores):
        self.stores = stores

    def store(self, name):
        if name not in self.stores:
            raise MaterialMissing(f"the keystore '{name}' does not exist in this project")
        return self.stores[name]


async def test_truststore_and_client_certificate(server):
    """A truststore alone verifies fully, and a keystore's certificate is presented."""
    stores = _Stores(
        ca=Store(trusted=Path(server.ca).read_text()),
        client=Store(
            chain=Path(server.certificates["client"]).read_text(),
            key=Path(server.certificates["client_key"]).read_text(),
        ),
    )
    body = body_of(server, query="", trustStoreName="ca", keyStoreName="client")
    async with connected(body, materials=stores) as guard:
        if server.name == "postgres":
            sql = "select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()"
            assert (await query(guard, sql)).rows == [[True, "/CN=mooring-client"]] or (await query(guard, sql)).rows[
                0
            ][0] is True
        else:
            assert (await query(guard, "show status like 'Ssl_cipher'")).rows[0][1] != ""
    body = body_of(server, query="", host=server["wrong_name_host"], trustStoreName="ca")
    async with connected(body, materials=stores) as guard:
        with pytest.raises(Misconfigured, match="certificate"):
            await query(guard, "select 1")


async def test_missing_store_fails_at_open(server):
    """A store that the connection uses and that is not there fails when it is opened."""
    with pytest.raises(MaterialMissing):
        async with connected(body_of(server, trustStoreName="nowhere")):
            pass


async def test_default_is_tls_where_the_server_has_it(server):
    """Without a word about TLS it is used where the server has it, as the JDBC drivers do."""
    async with use(server, query="") as guard:
        if server.name == "postgres":
            assert (await query(guard, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")).rows == [[True]]
        else:
            assert (await query(guard, "show status like 'Ssl_cipher'")).rows[0][1] != ""


@pytest.mark.parametrize(("name", "off"), [("postgres", "sslmode=disable"), ("mariadb", "useSSL=false")])
async def test_tls_can_be_switched_off(name, off):
    """TLS is off where the address says so, and the probe skips the step."""
    server = service(name)
    async with use(server, query=off) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "passed"), ("tls", "skipped"), ("login", "passed"), ("round trip", "passed"),
    ]  # fmt: skip


async def test_probe_passes(server):
    """A probe of a good connection passes every step, and needs no start."""
    async with use(server) as guard:
        report = await guard.probe()
        assert not guard.started

    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "tls", "login", "round trip")
    ]


@contextlib.asynccontextmanager
async def answering(first):
    """A server that runs *first* for each client; its port, and everything it was sent."""
    heard = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await first(reader, writer, heard)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], heard
    finally:
        listener.close()


async def _postgres_without_tls(reader, writer, heard):
    await reader.readexactly(8)
    writer.write(b"N")
    heard.append(await reader.read(1000))


def _greeting(plugin, flags):
    body = (
        b"\x0a8.0.0\0"
        + struct.pack("<I", 1)
        + b"12345678\0"
        + struct.pack("<HBHHB", flags & 0xFFFF, 45, 2, flags >> 16, 21)
    )
    body += b"\0" * 10 + b"123456789012\0" + plugin + b"\0"
    return len(body).to_bytes(3, "little") + b"\0" + body


_MYSQL_FLAGS = 0x0001 | 0x0200 | 0x8000 | 0x00080000


def _mysql_without_tls(plugin, switch=None):
    async def serve(reader, writer, heard):
        writer.write(_greeting(plugin, _MYSQL_FLAGS))
        heard.append(await reader.read(1000))
        if switch:
            body = b"\xfe" + switch + b"\0" + b"12345678901234567890\0"
            writer.write(len(body).to_bytes(3, "little") + b"\x02" + body)
            heard.append(await reader.read(1000))

    return serve


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_postgres_without_tls_gets_nothing(postgres, mode):
    """Where TLS is asked for, a PostgreSQL without it hears neither name nor password."""
    async with (
        answering(_postgres_without_tls) as (port, heard),
        use(postgres, port=port, query=f"sslmode={mode}") as guard,
    ):
        with pytest.raises(Misconfigured, match="speaks no TLS"):
            await query(guard, "select 1")
        report = await guard.probe()

    assert b"".join(heard) == b""
    assert report.failure.name == "tls"


@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
async def test_mysql_without_tls_gets_nothing(mariadb, mode):
    """Where TLS is asked for, a MySQL without it hears neither name nor password: the client library would have told it."""
    server = _mysql_without_tls(b"mysql_native_password")
    async with answering(server) as (port, heard), use(mariadb, port=port, query=f"sslMode={mode}") as guard:
        with pytest.raises(Misconfigured, match="speaks no TLS"):
            await query(guard, "select 1")
        report = await guard.probe()

    assert b"".join(heard) == b""
    assert report.failure.name == "tls"


@pytest.mark.parametrize(
    ("plugin", "switch"),
    [(b"mysql_clear_password", None), (b"mysql_native_password", b"mysql_clear_password"), (b"mysql_native_password", b"mysql_old_password"),
     (b"sha256_password", None)],
)  # fmt: skip
async def test_mysql_never_gets_the_password_in_the_clear(mariadb, plugin, switch):
    """A server, or somebody on the way, that asks for the password itself does not get it."""
    async with (
        answering(_mysql_without_tls(plugin, switch)) as (port, heard),
        use(mariadb, port=port, query="") as guard,
    ):
        with pytest.raises((Misconfigured, Unreachable)):
            await query(guard, "select 1")

    assert mariadb["password"].encode() not in b"".join(heard)


async def test_garbage(server):
    """A server that speaks something else is an error of ours with a hint, whatever it says."""

    async def serve(reader, writer, heard):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
        await writer.drain()

    async with answering(serve) as (port, _), use(server, port=port, query="") as guard:
        with pytest.raises((Misconfigured, Unreachable)) as caught:
            await query(guard, "select 1")

    assert caught.value.hint


URLS = {
    "ORACLE": "jdbc:oracle:thin:@h:1521:X", "SQL_SERVER": "jdbc:sqlserver://h", "DB2": "jdbc:db2://h:1/d",
    "APACHE_HIVE": "jdbc:hive2://h/d", "APACHE_IMPALA": "jdbc:impala://h/d", "MONGODB": "mongodb://h/d",
    "TRINO": "jdbc:trino://h/c?SSL=true", "POSTGRES": "jdbc:postgresql://h/d", "MYSQL": "jdbc:mysql://h/d",
    "SYBASE": "jdbc:sybase:Tds:h:1/d",
}  # fmt: skip


LIBRARIES = {
    "ORACLE": "oracledb", "SQL_SERVER": "pytds", "DB2": "ibm_db_dbi", "APACHE_HIVE": "impala", "APACHE_IMPALA": "impala",
    "MONGODB": "pymongo", "TRINO": "httpx2", "POSTGRES": "asyncpg", "MYSQL": "aiomysql", "SYBASE": "pyodbc",
}  # fmt: skip


@pytest.mark.parametrize("name", URLS)
async def test_driver_that_is_not_installed_names_its_extra(name, monkeypatch):
    """A product whose client library is missing says which extra brings it, when it is opened."""
    kind = kinds.KINDS[name]
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    monkeypatch.delitem(sys.modules, f"mooring.types.database.{kind.module}", raising=False)
    body = {"type": "database", "name": "d", "jdbcUrl": URLS[name], "username": "u", "password": "p4ssword"}
    with pytest.raises(DriverMissing) as caught:
        async with connected(body):
            pass

    assert name in caught.value.message
    assert f"mooring[{kind.extra}]" in caught.value.hint


def _with_its_own_extra(name):
    """The drivers of these two are in no ordinary installation."""
    if name in ("DB2", "SYBASE"):
        pytest.importorskip({"DB2": "ibm_db_dbi", "SYBASE": "pyodbc"}[name])


@pytest.mark.parametrize("name", [name for name in URLS if name != "SYBASE"])
async def test_opening_costs_nothing(name):
    """An opened connection of any product has no thread, socket or task, and closes twice."""
    _with_its_own_extra(name)
    body = {"type": "database", "name": "d", "jdbcUrl": URLS[name], "username": "u", "password": "p4ssword"}
    before = threading.active_count(), len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    async with connected(body) as guard:
        after = threading.active_count(), len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        await guard.close()

    assert after == before


@pytest.mark.parametrize("name", [name for name in URLS if name != "MONGODB"])
async def test_command_is_for_mongodb(name):
    """A command for a database that takes SQL is refused before anything is opened."""
    _with_its_own_extra(name)
    body = {"type": "database", "name": "d", "jdbcUrl": URLS[name], "username": "u", "password": "p4ssword"}
    async with connected(body) as guard:
        with pytest.raises(Misconfigured, match="takes sql"):
            await guard.use("query", {"command": {"ping": 1}})


async def test_address_of_another_product_cannot_be_opened(postgres):
    """A dbType that contradicts jdbcUrl is Misconfigured at open."""
    with pytest.raises(Misconfigured, match="dbType"):
        async with connected(body_of(postgres, dbType="MYSQL")):
            pass


async def test_unresolved_variable_cannot_be_opened():
    """A variable that nobody resolved is Misconfigured at open."""
    body = {
        "type": "database",
        "name": "d",
        "jdbcUrl": "jdbc:postgresql://${h}/d",
        "username": "u",
        "password": "p4ssword",
    }
    with pytest.raises(Misconfigured, match="variable"):
        async with connected(body):
            pass


async def test_environment_of_the_worker_has_no_say(postgres, monkeypatch):
    """What the process's environment says about PostgreSQL is not used."""
    for name, value in {
        "PGHOST": "evil.invalid", "PGPORT": "1", "PGUSER": "evil", "PGPASSWORD": "evil", "PGDATABASE": "evil",
        "PGSSLMODE": "disable", "PGSSLROOTCERT": "/nowhere", "PGTARGETSESSIONATTRS": "standby", "PGSERVICEFILE": "/nowhere",
        "PGSSLNEGOTIATION": "direct", "PGSSLKEY": "/nowhere", "PGSSLCERT": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    body = body_of(postgres)
    async with connected(body, ca_file=postgres.ca) as guard:
        answer = await query(
            guard, "select current_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid()"
        )

    assert answer.rows == [["mooring", "mooring", True]]


# --- the pool against real servers -------------------------------------------------------------------------------


async def test_one_user_after_another_has_the_same_session(server):
    """Tested or not, a good session is used again and again."""
    who = "select pg_backend_pid()" if server.name == "postgres" else "select connection_id()"
    async with use(server, testConnectionOnCheckin=True) as guard:
        seen = {(await query(guard, who)).rows[0][0] for _ in range(20)}

    assert len(seen) == 1


async def test_never_more_sessions_than_the_maximum(server):
    """Under load the server never counts more sessions than maxPoolSize."""
    nap = "select pg_sleep(0.02)" if server.name == "postgres" else "select sleep(0.02)"
    with user_of(server) as (name, password):
        async with use(
            server, username=name, password=password, maxPoolSize=4, incrementCount=3, initialPoolSize=2
        ) as guard:
            work = asyncio.gather(*(query(guard, nap) for _ in range(200)))
            seen = []
            while not work.done():
                seen.append(await asyncio.to_thread(sessions_of, server, name))
            await work
        await settled(lambda: sessions_of(server, name) == 0)

    assert max(seen) == 4


async def test_pool_heals_when_its_sessions_are_killed(server):
    """Sessions that are killed under load cost the statements that ran on them; afterwards everything works again."""
    with user_of(server) as (name, password):
        async with use(
            server, username=name, password=password, maxPoolSize=4, testConnectionOnCheckout=False
        ) as guard:
            results, ending = [], asyncio.Event()

            async def work():
                while not ending.is_set():
                    try:
                        results.append((await query(guard, "select 1")).rows)
                    except Unreachable as exc:
                        results.append(exc)

            workers = [asyncio.create_task(work()) for _ in range(8)]
            for _ in range(12):
                await asyncio.to_thread(kill, server, name)
                await asyncio.sleep(0.05)
            ending.set()
            await asyncio.gather(*workers)
            assert any(rows == [[1]] for rows in results)
            for _ in range(20):
                assert (await query(guard, "select 1")).rows == [[1]]
            pool = await guard.native()
            assert pool.size <= 4


@pytest.mark.parametrize("tested", [True, False])
async def test_killed_while_idle_is_never_noticed(server, tested):
    """Sessions that were killed while idle are replaced before they are lent; no operation fails."""
    with user_of(server) as (name, password):
        async with use(server, username=name, password=password, testConnectionOnCheckout=tested) as guard:
            for _ in range(5):
                await query(guard, "select 1")
                kill(server, name)
                await asyncio.sleep(0.05)
            assert guard.counts.errors == 0


async def test_statement_that_was_cut_is_not_repeated(server, table):
    """A statement whose session is killed while it runs is reported, and not run a second time."""
    pause = "pg_sleep(5)::text" if server.name == "postgres" else "sleep(5)"
    with user_of(server) as (name, password):
        if server.name == "postgres":
            psql(server, f"grant all on {table} to public")
        async with use(server, username=name, password=password) as guard:
            running = asyncio.create_task(execute(guard, f"insert into {table} (id, name) values (1, {pause})"))
            await asyncio.sleep(0.3)
            kill(server, name)
            started = time.monotonic()
            with pytest.raises(Unreachable) as caught:
                await running
            # A second run would have taken its five seconds.
            assert time.monotonic() - started < 3
            assert await asyncio.to_thread(sessions_of, server, name) <= 1

    assert "not known" in caught.value.hint
    assert ask[server.name](server, f"select count(*) from {table}").strip() in ("0", "1")


async def test_cancelled_statement_ends_on_the_server(server):
    """A statement whose caller gave up is ended on the server too, and its place in the pool is free again."""
    nap = "select pg_sleep(30)" if server.name == "postgres" else "select sleep(30)"
    with user_of(server) as (name, password):
        async with use(server, username=name, password=password, maxPoolSize=1) as guard:
            with pytest.raises(Unreachable, match="no answer within"):
                await guard.use("query", {"sql": nap}, timeout_s=0.3)
            assert (await query(guard, "select 1")).rows == [[1]]
            await settled(lambda: sessions_of(server, name) == 1)


@pytest.mark.parametrize(("name", "limit"), [("postgres", "socketTimeout=1"), ("mariadb", "socketTimeout=500")])
async def test_socket_timeout(name, limit):
    """socketTimeout of jdbcUrl bounds a statement."""
    server = service(name)
    async with use(server, query=limit) as guard:
        with pytest.raises(Unreachable, match="socketTimeout"):
            await query(guard, "select pg_sleep(20)" if name == "postgres" else "select sleep(20)")
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_waiting_for_a_connection_ends(server):
    """Who waits longer than connectionTimeout is told that all connections are in use."""
    nap = "select pg_sleep(1)" if server.name == "postgres" else "select sleep(1)"
    async with use(server, maxPoolSize=1, connectionTimeout=200) as guard:
        running = asyncio.create_task(query(guard, nap))
        await asyncio.sleep(0.1)
        with pytest.raises(Busy, match="in use for 200 ms"):
            await query(guard, "select 1")
        await running


async def test_full_server_is_unreachable(server):
    """A server that has no connection left for the login is Unreachable, with a hint at the pool's size."""
    with user_of(server) as (name, password):
        limit = (
            f"alter role {name} connection limit 1"
            if server.name == "postgres"
            else f"alter user '{name}'@'%' with max_user_connections 1"
        )
        ask[server.name](server, limit, admin=True)
        async with use(server, username=name, password=password, testConnectionOnCheckout=False) as guard:
            await query(guard, "select 1")  # the only connection that there may be is open now
            pool = await guard.native()
            async with pool.acquire():
                with pytest.raises(Unreachable, match="no connection left") as caught:
                    await query(guard, "select 1")

    assert "maxPoolSize" in caught.value.hint


async def test_changed_password_while_two_connectors_run(server):
    """After a change of the password the old connector serves on what it has, and is Rejected anew; the new one works."""
    with user_of(server) as (name, old):
        async with use(server, username=name, password=old) as first:
            await query(first, "select 1")
            new = f"new-{secrets.token_hex(8)}"
            change = (
                f"alter role {name} password '{new}'"
                if server.name == "postgres"
                else f"alter user '{name}'@'%' identified by '{new}'"
            )
            ask[server.name](server, change, admin=True)
            async with use(server, username=name, password=new) as second:
                assert (await query(first, "select 1")).rows == [[1]]
                assert (await query(second, "select 1")).rows == [[1]]
                kill(server, name)
                await asyncio.sleep(0.05)
                with pytest.raises(Rejected) as caught:
                    await query(first, "select 1")
                assert (await query(second, "select 1")).rows == [[1]]

    assert old not in caught.value.message


async def test_operations_leak_nothing(server):
    """200 operations and a close leave no session at the server and no task here."""
    before = len(asyncio.all_tasks())
    with user_of(server) as (name, password):
        async with use(server, username=name, password=password) as guard:
            await asyncio.gather(*(query(guard, "select 1") for _ in range(200)))
            assert await guard.rest()
            await settled(lambda: sessions_of(server, name) == 0)
            assert len(asyncio.all_tasks()) == before
            assert (await query(guard, "select 1")).rows == [[1]]
        await settled(lambda: sessions_of(server, name) == 0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_opening_needs_no_server():
    """Opening does no network I/O."""
    body = {
        "type": "database",
        "name": "d",
        "jdbcUrl": f"jdbc:postgresql://127.0.0.1:{closed_port()}/d",
        "username": "u",
        "password": "p4ssword",
    }
    async with connected(body) as guard:
        assert not guard.started


async def test_program_of_the_server_agrees_about_passwords(server):
    """The fixture is honest: the server's own program is refused with a wrong password as well."""
    with pytest.raises(ProgramFailed):
        ask[server.name](server, "select 1", password="wrong")


# One round trip, where little comes


async def test_a_statement_with_a_small_answer_is_fetched_at_once_the_next_time(postgres):
    """The same rows, columns and types, whichever way they came."""
    async with use(postgres) as guard:
        request = {"sql": "select n, '{\"a\": 1}'::jsonb as j from generate_series(1, ?) n", "parameters": [3]}
        answers = [(await guard.use("query", request)).model_dump() for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["rows"] == [[1, {"a": 1}], [2, {"a": 1}], [3, {"a": 1}]]


async def test_a_statement_whose_answer_grew_is_cut_all_the_same(postgres):
    """Its rows are bounded as before, and it says that there were more."""
    async with use(postgres) as guard:
        for count in (3, 5000, 5000):
            request = {"sql": "select generate_series(1, ?)", "parameters": [count], "maxRows": 10}
            answer = (await guard.use("query", request)).model_dump()

    assert (len(answer["rows"]), answer["truncated"]) == (10, True)
