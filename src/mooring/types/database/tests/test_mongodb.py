"""MongoDB's protocol in use: a real FerretDB."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import threading

import pytest
from tests.support.databases import mongo
from tests.support.services import service

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.database.tests.support import Cut


@pytest.fixture
def ferretdb():
    return service("ferretdb")


@pytest.fixture
def collection(ferretdb):
    """A collection of this test alone."""
    name = f"c_{secrets.token_hex(5)}"
    yield name
    with mongo(ferretdb) as database:
        database.drop_collection(name)


def body_of(server, **fields):
    port, switches = fields.pop("port", server["port"]), fields.pop("query", "")
    return {
        "type": "database", "name": "documents", "username": server["user"], "password": server["password"],
        "jdbcUrl": f"mongodb://localhost:{port}/mooring?authMechanism=SCRAM-SHA-256{switches}", **fields,
    }  # fmt: skip


def use(server, **fields):
    return connected(body_of(server, **fields), ca_file=server.ca)


async def query(guard, command, **more):
    return await guard.use("query", {"command": command, **more})


async def execute(guard, command):
    return await guard.use("execute", {"command": command})


async def test_documents_come_and_go(ferretdb, collection):
    """What was inserted is there for MongoDB's own client, and comes back as JSON."""
    document = {"_id": {"$oid": "64b7f0a0a0a0a0a0a0a0a0a0"}, "name": "ğüş", "at": {"$date": "2026-01-31T10:30:00Z"},
                "raw": {"$binary": {"base64": "AP8=", "subType": "00"}}, "n": 1, "list": [1, None], "sub": {"a": 1.5}}  # fmt: skip
    async with use(ferretdb) as guard:
        done = await execute(guard, {"insert": collection, "documents": [document]})
        answer = await query(guard, {"find": collection, "filter": {"name": "ğüş"}})
    with mongo(ferretdb) as database:
        stored = database[collection].find_one()

    assert done.row_count == 1
    assert stored["name"] == "ğüş"
    assert str(stored["_id"]) == "64b7f0a0a0a0a0a0a0a0a0a0"
    assert stored["at"].year == 2026
    assert answer.columns == ["document"]
    assert answer.documents() == [
        {"_id": "64b7f0a0a0a0a0a0a0a0a0a0", "name": "ğüş", "at": "2026-01-31T10:30:00+00:00", "raw": "AP8=", "n": 1,
         "list": [1, None], "sub": {"a": 1.5}},
    ]  # fmt: skip


async def test_cursors_are_followed_and_cut(ferretdb, collection):
    """A long result is fetched to its end, and cut where fewer are wanted."""
    async with use(ferretdb) as guard:
        await execute(guard, {"insert": collection, "documents": [{"_id": n} for n in range(500)]})
        whole = await query(guard, {"find": collection, "batchSize": 50, "sort": {"_id": 1}})
        part = await query(guard, {"aggregate": collection, "pipeline": [{"$sort": {"_id": 1}}]}, max_rows=7)

    assert [document["_id"] for document in whole.documents()] == list(range(500))
    assert (part.row_count, part.truncated) == (7, True)


async def test_reply_without_cursor_is_one_document(ferretdb, collection):
    """A command that answers no cursor answers its reply."""
    async with use(ferretdb) as guard:
        await execute(guard, {"insert": collection, "documents": [{}, {}]})
        assert (await query(guard, {"count": collection})).documents() == [{"n": 2}]


async def test_execute_counts(ferretdb, collection):
    """update and delete answer how many documents they touched."""
    async with use(ferretdb) as guard:
        await execute(guard, {"insert": collection, "documents": [{"a": n} for n in range(3)]})
        updated = await execute(
            guard, {"update": collection, "updates": [{"q": {"a": {"$gt": 0}}, "u": {"$set": {"b": 1}}, "multi": True}]}
        )
        deleted = await execute(guard, {"delete": collection, "deletes": [{"q": {}, "limit": 0}]})

    assert (updated.row_count, deleted.row_count) == (2, 3)


async def test_duplicate_key_names_the_document_and_no_value(ferretdb, collection):
    """A document that is refused is named by its number; what was written before it is told."""
    async with use(ferretdb) as guard:
        with pytest.raises(Misconfigured, match="document 2 .* duplicate key") as caught:
            await execute(guard, {"insert": collection, "documents": [{"_id": "g3heim"}, {"_id": "g3heim"}]})

    assert "g3heim" not in caught.value.message
    assert "1 before it" in caught.value.hint


@pytest.mark.parametrize(
    "request_",
    [{"sql": "select 1"}, {}, {"command": {}}, {"command": {"$eval": 1}}, {"command": {"ping": 1}, "parameters": [1]},
     {"command": {"find": "x", "filter": {"_id": {"$oid": "no"}}}}, {"command": {"ping": 1}, "sql": "select 1"}],
)  # fmt: skip
async def test_what_is_no_command_is_refused(ferretdb, request_):
    """sql, nothing, a name with a dollar, and broken extended JSON are refused before anything is sent."""
    async with use(ferretdb) as guard:
        with pytest.raises(Misconfigured):
            await guard.use("query", request_)


async def test_unknown_command(ferretdb):
    """A command that the server does not know is Misconfigured, by its code's name."""
    async with use(ferretdb) as guard:
        with pytest.raises(Misconfigured, match="CommandNotFound"):
            await query(guard, {"nosuch": 1})


@pytest.mark.parametrize("field", ["username", "password"])
async def test_wrong_login(ferretdb, field):
    """A wrong name or password is Rejected, at the step login (the predecessor's test succeeded)."""
    async with use(ferretdb, **{field: "wr0ng"}) as guard:
        with pytest.raises(Rejected) as caught:
            await query(guard, {"ping": 1})
        report = await guard.probe()

    assert "wr0ng" not in caught.value.message
    assert (report.failure.name, report.failure.code) == ("login", "rejected")


async def test_tls(ferretdb):
    """tls=true verifies; an issuer that is not trusted is Misconfigured, at the step tls."""
    async with use(ferretdb, port=ferretdb["tls_port"], query="&tls=true") as guard:
        assert (await query(guard, {"ping": 1})).row_count == 1
        report = await guard.probe()
    async with connected(body_of(ferretdb, port=ferretdb["tls_port"], query="&tls=true")) as guard:
        with pytest.raises(Misconfigured, match="certificate"):
            await query(guard, {"ping": 1})
        stopped = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "tls", "login", "round trip")
    ]
    assert stopped.failure.name == "tls"


async def test_never_more_than_the_pool_and_heals(ferretdb):
    """Commands use at most maxPoolSize connections (beside what greets and watches the server); cut ones are replaced."""
    async with Cut("127.0.0.1", ferretdb["port"]) as way, use(ferretdb, port=way.port, maxPoolSize=3) as guard:
        await asyncio.gather(*(query(guard, {"ping": 1}) for _ in range(100)))
        most = way.most
        way.cut()
        healed = 0
        async with asyncio.timeout(10):
            while healed < 20:
                try:
                    await query(guard, {"ping": 1})
                    healed += 1
                except Unreachable:
                    await asyncio.sleep(0.05)

    assert most <= 3 + 3


def ours():
    """Threads that are not the event loop's own, which looks up names in some."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def test_a_thousand_commands_leave_nothing(ferretdb):
    """A thousand commands, and what they used is given back at the end: sockets, threads, tasks."""
    async with use(ferretdb) as guard:
        await query(guard, {"ping": 1})
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), ours(), len(asyncio.all_tasks())
    async with use(ferretdb, maxPoolSize=5) as guard:
        await asyncio.gather(*(query(guard, {"ping": 1}) for _ in range(1000)))
        assert await guard.rest()
        async with asyncio.timeout(5):
            while len(os.listdir("/proc/self/fd")) > before[0]:
                await asyncio.sleep(0.02)
        assert (await query(guard, {"ping": 1})).row_count == 1
    await asyncio.sleep(0.05)

    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert ours() <= before[1]
    assert len(asyncio.all_tasks()) <= before[2]


async def test_old_client_is_replaced(ferretdb):
    """A client older than maxConnectionAge gives way to a new one."""
    async with use(ferretdb, maxConnectionAge=100) as guard:
        await query(guard, {"ping": 1})
        pool = await guard.native()
        async with pool.acquire() as first:
            pass
        await asyncio.sleep(0.25)
        await query(guard, {"ping": 1})
        async with pool.acquire() as second:
            pass

    assert first is not second


async def test_missing_srv_record():
    """mongodb+srv without such a record is Unreachable and says what to do."""
    body = {"type": "database", "name": "d", "jdbcUrl": "mongodb+srv://no-such-host.invalid/x", "useCredentials": False}
    async with connected(body) as guard:
        with pytest.raises(Unreachable) as caught:
            await query(guard, {"ping": 1})
    assert caught.value.hint
