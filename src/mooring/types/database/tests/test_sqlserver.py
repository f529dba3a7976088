"""SQL Server against an imitation: greeting, TLS, login, simple statements; and what refusals mean."""

from __future__ import annotations

import asyncio
import ssl
import threading

import pytest
from tests.support.services import black_hole, service_state

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database import tds
from mooring.types.database.tests.fakes import FAILED, FakeSqlServer, error, integers, loginack
from mooring.types.database.tests.support import execute, query, settled

PASSWORD = "s3cret-passw0rd"


@pytest.fixture(scope="module")
def certificates():
    found = service_state().get("certificates")
    if not found:
        pytest.skip("no certificates: make services")
    return found


@pytest.fixture
def shown(certificates):
    """A TLS context of a server with a good certificate."""
    return context_of(certificates, "server")


def context_of(certificates, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates[name], certificates[f"{name}_key"])
    return context


def body_of(port, switches="", **fields):
    return {
        "type": "database", "name": "sales", "jdbcUrl": f"jdbc:sqlserver://localhost:{port};databaseName=app{switches}",
        "username": "sa", "password": PASSWORD, **fields,
    }  # fmt: skip


def use(fake, switches="", **fields):
    return connected(body_of(fake.port, switches, **fields), ca_file=service_state().get("ca"))


async def test_everything_is_encrypted(shown):
    """By default all after the greeting is encrypted, and the server's certificate is checked."""
    async with FakeSqlServer(shown) as fake, use(fake) as guard:
        assert (await query(guard, "select 1")).rows == [[1]]
        report = await guard.probe()

    assert fake.heard[0] == (tds.PRELOGIN, False)
    assert (tds.LOGIN7, True) in fake.heard
    assert all(encrypted for kind, encrypted in fake.heard if kind != tds.PRELOGIN)
    assert PASSWORD.encode("utf-16-le") not in fake.raw
    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "tls", "login", "round trip")
    ]


async def test_strict_is_tls_from_the_first_byte(shown):
    """encrypt=strict greets inside TLS."""
    shown.set_alpn_protocols(["tds/8.0"])
    async with FakeSqlServer(shown, tds.NOT_SUPPORTED, strict=True) as fake, use(fake, ";encrypt=strict") as guard:
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_login_alone_is_encrypted(shown):
    """encrypt=false encrypts the login, and nothing after it, where the server wants no more."""
    async with FakeSqlServer(shown, tds.OFF) as fake, use(fake, ";encrypt=false") as guard:
        assert (await query(guard, "select 1")).rows == [[1]]

    assert (tds.LOGIN7, True) in fake.heard
    assert fake.heard[-1][1] is False


async def test_server_without_tls_gets_no_login():
    """A server that does not encrypt hears neither name nor password, unless encrypt=false."""
    async with FakeSqlServer(None, tds.NOT_SUPPORTED) as fake:
        async with use(fake) as guard:
            with pytest.raises(Misconfigured, match="speaks no TLS"):
                await query(guard, "select 1")
            report = await guard.probe()
        assert all(kind == tds.PRELOGIN for kind, _ in fake.heard)
        assert report.failure.name == "tls"
        async with use(fake, ";encrypt=false") as guard:
            assert (await query(guard, "select 1")).rows == [[1]]
            skipped = await guard.probe()
        assert (skipped.steps[2].name, skipped.steps[2].state) == ("tls", "skipped")


@pytest.mark.parametrize("name", ["wrong_name", "unknown_server", "expired"])
async def test_certificate_that_is_not_accepted(certificates, name):
    """Another name, an unknown issuer and an old certificate are Misconfigured, at the step tls, before the login."""
    async with FakeSqlServer(context_of(certificates, name)) as fake, use(fake) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await query(guard, "select 1")
        report = await guard.probe()

    assert report.failure.name == "tls"
    assert tds.LOGIN7 not in [kind for kind, _ in fake.heard]


async def test_certificate_is_trusted_where_that_is_asked_for(certificates):
    """trustServerCertificate=true takes any; hostNameInCertificate says which name to expect."""
    async with FakeSqlServer(context_of(certificates, "unknown_server")) as fake:
        async with use(fake, ";trustServerCertificate=true") as guard:
            assert (await query(guard, "select 1")).rows == [[1]]
    async with FakeSqlServer(context_of(certificates, "wrong_name")) as fake:
        async with use(fake, ";hostNameInCertificate=wrong.name.invalid") as guard:
            assert (await query(guard, "select 1")).rows == [[1]]


async def test_values_travel_beside_the_statement(shown):
    """Values are sent as parameters, and percent signs stay what they are."""
    async with FakeSqlServer(shown) as fake, use(fake) as guard:
        await query(guard, "select ?, [a?b], '%', 100 % 7 /* ? /* ? */ */", ["x' or 1=1"])
        await query(guard, "select :a + :a", {"a": 1})

    first, second = [text for text in fake.statements if "@P1" in text]
    assert "select @P1, [a?b], '%', 100 % 7 /* ? /* ? */ */" in first
    assert "select @P1 + @P2" in second


async def test_rows_are_limited_and_the_rest_called_off(shown):
    """More rows than asked for are cut off, and the session is used again."""
    answers = {"many": integers(list(range(5000)))}
    async with FakeSqlServer(shown, answers=answers) as fake, use(fake, maxPoolSize=1) as guard:
        answer = await query(guard, "select many", max_rows=7)
        assert (answer.rows, answer.truncated) == ([[n] for n in range(7)], True)
        assert (await query(guard, "select 1")).rows == [[1]]

    assert fake.connections == 1


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (208, Misconfigured, "Invalid object"), (102, Misconfigured, "refused the statement"),
        (2627, Misconfigured, "duplicate key"), (547, Misconfigured, "constraint"), (229, Misconfigured, "does not let"),
        (1205, Unreachable, "others held"), (245, Misconfigured, "refused the statement"),
    ],
)  # fmt: skip
async def test_refused_statement(shown, code, kind, says):
    """What a number means; data in the message is not shown."""
    text = "Invalid object name 'x'." if code == 208 else "Conversion failed: 'g3heim'"
    async with FakeSqlServer(shown, answers={"bad": error(code, text) + FAILED}) as fake, use(fake) as guard:
        with pytest.raises(kind, match=says) as caught:
            await execute(guard, "bad")
        assert (await query(guard, "select 1")).rows == [[1]]

    assert "g3heim" not in caught.value.message
    assert str(code) in caught.value.message


@pytest.mark.parametrize(
    ("code", "kind"), [(18456, Rejected), (18488, Rejected), (4060, Misconfigured), (17809, Unreachable)]
)
async def test_refused_login(shown, code, kind):
    """A refused login tells whose move it is, at the step login."""
    async with (
        FakeSqlServer(shown, login=error(code, f"Login failed for '{PASSWORD}'", 14) + FAILED) as fake,
        use(fake) as guard,
    ):
        with pytest.raises(kind) as caught:
            await query(guard, "select 1")
        report = await guard.probe()

    assert PASSWORD not in caught.value.message
    assert report.failure.name == "login"
    assert fake.connections <= 4


async def test_cut_connections_heal(shown):
    """After the server cut all connections the next statement has a new one."""
    async with FakeSqlServer(shown) as fake, use(fake) as guard:
        await query(guard, "select 1")
        fake.cut()
        await asyncio.sleep(0.05)
        assert (await query(guard, "select 1")).rows == [[1]]


async def test_hung_statement_holds_nobody_else(shown):
    """A statement that never ends: its caller leaves at the deadline, others go on, and its thread ends."""
    async with FakeSqlServer(shown, answers={"hang": None}) as fake, use(fake, maxPoolSize=2) as guard:
        hung = asyncio.create_task(guard.use("query", {"sql": "hang"}, 0.5))
        for _ in range(5):
            assert (await query(guard, "select 1")).rows == [[1]]
        with pytest.raises(Unreachable, match="no answer within"):
            await hung
        await asyncio.gather(*(query(guard, "select 1") for _ in range(10)))
        assert lines() <= 2
    await settled(lambda: lines() == 0)


def lines():
    return sum(thread.name == "mooring-database" for thread in threading.enumerate())


async def test_time_limits_of_the_address(shown):
    """queryTimeout and loginTimeout of the address end what takes longer."""
    async with FakeSqlServer(shown, answers={"hang": None}) as fake, use(fake, ";queryTimeout=1") as guard:
        with pytest.raises(Unreachable, match="within the time that jdbcUrl allows"):
            await query(guard, "hang")
    with black_hole() as hole:
        async with connected(body_of(hole.port, ";loginTimeout=1")) as guard:
            with pytest.raises(Unreachable, match="did not answer in time"):
                await query(guard, "select 1")


async def test_a_thousand_statements(shown):
    """A thousand statements use as many threads as the pool has places, and leave none."""
    async with FakeSqlServer(shown) as fake, use(fake, maxPoolSize=4) as guard:
        await asyncio.gather(*(query(guard, "select 1") for _ in range(1000)))
        assert fake.connections <= 4
        assert await guard.rest()
        await settled(lambda: lines() == 0)


async def test_instance_without_browser():
    """A named instance without a port asks SQL Server Browser; where that is silent, the hint says what to do."""
    body = body_of(1, **{})
    body["jdbcUrl"] = "jdbc:sqlserver://127.0.0.1\\SALES;databaseName=app;loginTimeout=2"
    async with connected(body) as guard:
        with pytest.raises(Unreachable) as caught:
            await query(guard, "select 1")
    assert "port" in caught.value.hint or "address" in caught.value.hint


def test_login_acknowledgement_is_what_the_library_reads():
    """The imitation's acknowledgement has the length that it says."""
    ack = loginack()
    assert len(ack) == 3 + int.from_bytes(ack[1:3], "little")
