"""Documents are written and found: on real nodes of Elasticsearch 7, 8 and 9 and OpenSearch, and a stand-in."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.search import ask, count, document
from tests.support.services import closed_port, service, service_state
from tests.support.targets import Target
from tools.services.servers.elasticsearch_7 import SERVER as ELASTICSEARCH_7

from mooring.errors import Busy, ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.elasticsearch import lifecycle
from mooring.types.elasticsearch.model import ElasticsearchIndexLifecyclePolicy
from mooring.types.elasticsearch.tests.fake import FakeNode, Said, cuttable, fake_node
from mooring.types.elasticsearch.tests.target import (
    WORD,
    aimed,
    anybody,
    body_of,
    encrypted,
    stores,
    take_away,
    with_client_certificate,
    with_pem,
    with_pkcs12,
    with_stores,
)

NODES = ["elasticsearch_7", "elasticsearch", "elasticsearch_9", "opensearch"]
DOCUMENT = {"order": 4711, "note": "größer"}


@pytest.fixture(params=NODES)
def node(request):
    """Each of the real nodes."""
    return service(request.param)


@pytest.fixture(autouse=True)
def tidy():
    """What a test has written is taken away after it."""
    yield
    take_away()


@pytest.fixture
def fake():
    with fake_node() as running:
        yield running


def body_at(*fakes: FakeNode, **fields: Any) -> dict[str, Any]:
    """A connection to those nodes, which are no real ones."""
    hosts = [{"scheme": "http", "host": "127.0.0.1", "port": fake.port} for fake in fakes]
    return {"type": "elasticsearch", "elasticHostList": hosts, "indexName": "orders", **fields}


def opened(body: dict[str, Any], materials: Any = None) -> Any:
    return connected(body, ca_file=service_state().get("ca"), materials=materials)


def use(body: dict[str, Any], operation: str = "index", request: Any = None, materials: Any = None) -> Any:
    """The answer to one operation over a connection of its own."""

    async def once():
        async with opened(body, materials) as guard:
            return await guard.use(operation, request if request is not None else {"document": DOCUMENT})

    return asyncio.run(once())


def probed(body: dict[str, Any]) -> list[tuple[str, str]]:
    async def once():
        async with opened(body) as guard:
            return (await guard.probe(5)).steps

    return [(step.name, step.state) for step in asyncio.run(once())]


def found(node: Any, body: dict[str, Any], request: Any) -> Any:
    """What a search finds once everything written can be found."""
    ask(node, "POST", f"/{body['indexName']}/_refresh")
    return use(body, "search", request)


# The operations, on real nodes


def test_a_document_is_there(node):
    """It is read back with the node's own API."""
    body = body_of(node)

    answer = use(body, "index", {"document": DOCUMENT, "id": "a b/ä"})

    assert document(node, body["indexName"], "a%20b%2F%C3%A4") == DOCUMENT
    assert (answer.id, answer.index, answer.result, answer.version) == ("a b/ä", body["indexName"], "created", 1)


def test_the_server_makes_an_id(node):
    """An id that is not given is in the answer."""
    body = body_of(node)

    answer = use(body)

    assert document(node, body["indexName"], answer.id) == DOCUMENT


def test_a_second_writing_is_an_update_or_a_conflict(node):
    """With `create` a document that is there stays as it is."""
    body, request = body_of(node), {"document": DOCUMENT, "id": "1"}
    use(body, "index", request)

    assert use(body, "index", request).result == "updated"
    with pytest.raises(Misconfigured, match="document already exists"):
        use(body, "index", {"document": {"other": 1}, "id": "1", "create": True})
    assert document(node, body["indexName"], "1") == DOCUMENT


def test_a_document_that_does_not_fit_is_refused(node):
    """The server's own reason is in the error."""
    body = body_of(node)
    use(body, "index", {"document": {"number": 1}})

    with pytest.raises(Misconfigured, match=r"failed to parse field \[number\]"):
        use(body, "index", {"document": {"number": "many"}})


def test_bulk_tells_of_each_document(node):
    """Those that fail do not keep the others from being written."""
    body = body_of(node)
    items = [
        {"document": {"n": 1}, "id": "1"}, {"document": {"n": "x"}, "id": "2"}, {"document": {"n": 3}},
        {"action": "create", "document": {"n": 1}, "id": "1"}, {"action": "update", "document": {"m": 9}, "id": "1"},
        {"action": "delete", "id": "1"}, {"action": "delete", "id": "unknown"},
        {"document": {"n": 5}, "id": "5", "index": body["indexName"] + "-other"},
    ]  # fmt: skip

    answer = use(body, "bulk", {"documents": items})

    assert [item.result for item in answer.items] == [
        "created", None, "created", None, "updated", "deleted", "not_found", "created"
    ]  # fmt: skip
    assert [item.action for item in answer.items][3:6] == ["create", "update", "delete"]
    assert "failed to parse field [n]" in answer.items[1].error and "already exists" in answer.items[3].error
    assert (answer.written, answer.failed, answer.items[6].status) == (5, 3, 404)
    assert count(node, body["indexName"]) == 1
    assert document(node, body["indexName"] + "-other", "5") == {"n": 5}


def test_search_finds(node):
    """Query, page, order, fields and aggregations have their effect."""
    body = body_of(node)
    use(body, "bulk", {"documents": [{"document": {"n": n, "m": n * n}, "id": str(n)} for n in range(10)]})

    page = found(node, body, {"query": {"range": {"n": {"gte": 3}}}, "size": 2, "offset": 1, "sort": [{"n": "asc"}],
                              "fields": ["m"], "aggregations": {"all": {"sum": {"field": "n"}}}})  # fmt: skip
    following = use(body, "search", {"sort": [{"n": "asc"}], "after": page.hits[-1].sort, "size": 1})

    assert [(hit.id, hit.document, hit.score) for hit in page.hits] == [("4", {"m": 16}, None), ("5", {"m": 25}, None)]
    assert (page.total, page.exact, page.timed_out, page.failed_shards) == (7, True, False, 0)
    assert page.aggregations == {"all": {"value": 42.0}}
    assert following.hits[0].document == {"n": 6, "m": 36}


def test_an_index_that_is_not_there_is_told(node):
    """So is a query that makes no sense."""
    body = body_of(node)

    with pytest.raises(Misconfigured, match=r"does not know the index: no such index"):
        use(body, "search", {})
    use(body)
    with pytest.raises(Misconfigured, match=r"refused the search \(400\): unknown query \[nonsense\]"):
        use(body, "search", {"query": {"nonsense": {}}})


def test_a_wrong_password_is_rejected(node):
    """And so is a user who does not exist."""
    for wrong in ({"elasticPassword": "not-the-one"}, {"elasticUsername": "nobody"}):
        with pytest.raises(Rejected, match="does not let the user .* in"):
            use({**body_of(node), **wrong})


@pytest.mark.parametrize("name", ["elasticsearch", "elasticsearch_9", "opensearch"])
def test_a_user_without_the_right_is_rejected(name):
    """Whoever may only read can search, and cannot write."""
    node = service(name)
    body = body_of(node)
    use(body)
    reader = {**body, "elasticUsername": node["reader"], "elasticPassword": node["reader_password"]}

    assert found(node, reader, {}).total == 1
    with pytest.raises(Rejected, match="does not allow the document"):
        use(reader)


@pytest.mark.parametrize("name", ["elasticsearch", "opensearch"])
def test_who_does_not_log_in_is_told_to(name):
    """401 without a login asks for one."""
    with pytest.raises(Rejected, match="wants a login"):
        use(anybody(service(name)))


def test_nobody_need_log_in_where_anybody_may():
    """A cluster without a login."""
    node = service("elasticsearch_7")
    body = anybody(node)

    assert document(node, body["indexName"], use(body).id) == DOCUMENT


def test_the_template_is_created(node):
    """With `administrate` new indices have the shards, replicas and refresh interval of the connection."""
    body = body_of(node, administrate=True, indexTemplateCreated=True, indexTemplateNumberOfShards=2,
                   indexTemplateNumberOfReplicas=1, indexTemplateRefreshInterval="7s")  # fmt: skip
    body["indexTemplateName"] = body["indexName"]

    use(body)

    made = ask(node, "GET", f"/{body['indexName']}/_settings").body[body["indexName"]]["settings"]["index"]
    assert (made["number_of_shards"], made["number_of_replicas"], made["refresh_interval"]) == ("2", "1", "7s")
    kept = ask(node, "GET", f"/_index_template/{body['indexName']}").body["index_templates"][0]["index_template"]
    assert kept["index_patterns"] == [body["indexName"], f"{body['indexName']}-*"]


@pytest.mark.parametrize("change", [{"administrate": False}, {"indexTemplateCreated": False}])
def test_no_template_is_created_unasked(change):
    """Both `administrate` and `indexTemplateCreated` have to say so."""
    node = service("opensearch")
    body = body_of(node, administrate=True, indexTemplateCreated=True)
    body |= {"indexTemplateName": body["indexName"], **change}

    use(body)

    assert ask(node, "GET", f"/_index_template/{body['indexName']}").status == 404


def test_reading_alone_forbids_writing(node):
    """With READ nothing is written or created, and a search works."""
    body = body_of(node)
    use(body)
    reading = {**body, "elasticsearchType": "READ", "administrate": True, "indexTemplateCreated": True,
               "indexTemplateName": body["indexName"]}  # fmt: skip

    for operation, request in (("index", None), ("bulk", {"documents": [{"document": {}}]})):
        with pytest.raises(Misconfigured, match="may only read"):
            use(reading, operation, request)
    assert found(node, reading, {}).total == 1
    assert ask(node, "GET", f"/_index_template/{body['indexName']}").status == 404


@pytest.mark.parametrize("made", [with_pem, with_pkcs12, with_client_certificate, with_stores])
@pytest.mark.parametrize("name", ["elasticsearch", "elasticsearch_9", "opensearch"])
def test_the_kinds_of_tls(name, made):
    """CA in PEM, CA in PKCS12, a client certificate as the login, named stores: without what the worker trusts."""
    node = service(name)
    body = made(node)

    async def once():
        materials = Target({}, "", {}, lambda answer: None, "", stores=stores(node))
        async with connected(body, materials=materials) as guard:
            return await guard.use("index", {"document": DOCUMENT})

    assert document(node, body["indexName"], asyncio.run(once()).id) == DOCUMENT


def test_encryption_covers_every_node():
    """`encryptCommunication` speaks TLS also where the scheme says http."""
    node = service("elasticsearch")
    body = with_pem(node)
    body["elasticHostList"][0]["scheme"] = "http"

    assert use(body).result == "created"


@pytest.mark.parametrize(
    ("name", "version", "works"),
    [
        ("elasticsearch_7", "ES_7", True), ("elasticsearch", "ES_7", True), ("elasticsearch", "ES_8", True),
        ("elasticsearch_9", "ES_8", True), ("elasticsearch_9", "ES_9", True), ("elasticsearch", "ES_9", False),
        ("opensearch", "ES_8", False),
    ],
)  # fmt: skip
def test_the_version_that_is_asked_for(name, version, works):
    """A server that does not speak it says so, and the error names the field."""
    body = body_of(service(name), elasticsearchMajorVersion=version)

    if works:
        assert use(body).result == "created"
    else:
        with pytest.raises(Misconfigured, match="does not speak the version") as raised:
            use(body)
        assert "elasticsearchMajorVersion" in raised.value.hint


def test_a_probe_goes_all_the_way(node):
    """Every step that there is passes."""
    tls = "passed" if node["scheme"] == "https" else "skipped"

    assert probed(body_of(node)) == [
        ("resolve", "passed"), ("connect", "passed"), ("tls", tls), ("login", "passed"), ("cluster", "passed")
    ]  # fmt: skip


def test_a_probe_says_that_the_login_is_wrong(node):
    """The step is `login`."""
    assert probed({**body_of(node), "elasticPassword": "other"})[-1] == ("login", "failed")


def test_a_thousand_documents_at_once_leave_nothing_behind(node):
    """Written by 32 at a time; no task, thread or connection stays."""
    body = body_of(node)

    async def many():
        async with opened(body) as guard:
            await guard.use("index", {"document": {"n": -1}})
            before = held()
            places = asyncio.Semaphore(32)

            async def one(n):
                async with places:
                    return await guard.use("index", {"document": {"n": n}, "id": str(n)})

            answers = await asyncio.gather(*(one(n) for n in range(1000)))
            after = held()
            await guard.rest()
            rested = held()
        gc.collect()
        return answers, before, after, rested

    answers, before, after, rested = asyncio.run(many())

    assert {answer.result for answer in answers} == {"created"} and count(node, body["indexName"]) == 1001
    assert after["tasks"] == before["tasks"] and after["threads"] <= before["threads"] + 1
    assert rested["sockets"] < before["sockets"] and after["sockets"] <= before["sockets"] + 20


def test_what_is_under_way_when_it_ends_is_written(node):
    """`close` waits for documents that were taken."""
    body = body_of(node)

    async def leave():
        async with opened(body) as guard:
            await guard.use("index", {"document": {"n": -1}})
            writing = [asyncio.create_task(guard.use("index", {"document": {"n": n}})) for n in range(200)]
            await asyncio.sleep(0)
            await guard.close(grace_s=10)
            return await asyncio.gather(*writing)

    assert len(asyncio.run(leave())) == 200 and count(node, body["indexName"]) == 201


def test_connections_that_were_cut_are_made_again(node):
    """The same connector goes on after all its connections were ended from the other side."""
    body = body_of(node)

    async def cut():
        with cuttable(node["host"], node["port"]) as way:
            async with opened(aimed(body, "localhost", way.port)) as guard:
                await guard.use("index", {"document": DOCUMENT, "id": "1"})
                way.cut()
                await asyncio.sleep(0.05)
                await guard.use("index", {"document": DOCUMENT, "id": "2"})
                return way.accepted

    assert asyncio.run(cut()) == 2 and document(node, body["indexName"], "2") == DOCUMENT


def test_it_starts_again_after_it_stopped(node):
    """`stop` is safe twice; the next `start` makes new connections."""

    async def again():
        async with opened(body_of(node)) as guard:
            await guard.use("index", {"document": DOCUMENT})
            await guard.connector.stop()
            await guard.connector.stop()
            await guard.connector.start()
            return await guard.use("index", {"document": DOCUMENT})

    assert asyncio.run(again()).result == "created"


def test_keep_alive_is_set_on_the_socket():
    """`socketKeepAlive` reaches the socket, and is off without it."""
    node = service("elasticsearch_7")

    async def option(**fields):
        async with opened(body_of(node, **fields)) as guard:
            http = await guard.native()
            async with http.stream("GET", "/") as response:
                sock = response.extensions["network_stream"].get_extra_info("socket")
                return sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    assert asyncio.run(option(socketKeepAlive=True)) == 1 and asyncio.run(option()) == 0


# Several nodes


def test_a_dead_node_is_passed_over_and_left_alone():
    """The other node takes what is written, and the dead one is not asked again for a while."""
    node = service("elasticsearch_7")
    body = body_of(node)
    alive = body["elasticHostList"][0]
    body["elasticHostList"] = [{**alive, "port": closed_port()}, alive, {**alive, "port": closed_port()}]

    async def write():
        async with opened(body) as guard:
            answers = [await guard.use("index", {"document": {"n": n}}) for n in range(6)]
            resting = [at.rests_until > time.monotonic() for at in guard.connector._cluster.nodes]
            return answers, resting

    answers, resting = asyncio.run(write())
    assert {answer.result for answer in answers} == {"created"} and resting == [True, False, True]
    assert probed(body)[-1] == ("cluster", "passed")


def test_nodes_are_asked_in_turn():
    """Every node gets its share."""
    with fake_node() as one, fake_node() as two:

        async def write():
            async with opened(body_at(one, two)) as guard:
                for _ in range(6):
                    await guard.use("index", {"document": DOCUMENT})

        asyncio.run(write())
        assert len(one.bulks()) == len(two.bulks()) == 3


def test_what_may_have_been_written_is_not_written_twice():
    """A node that hangs up may have written it: nobody else is asked. A search is asked again."""
    with fake_node() as one, fake_node() as two:
        for each in (one, two):
            each.instead = {"/_bulk": Said(0, b"", hang_up=True)}
        with pytest.raises(Unreachable, match="may or may not have acted"):
            use(body_at(one, two))
        assert len(one.bulks()) + len(two.bulks()) == 1

        one.instead = {"*": Said(0, b"", hang_up=True)}
        two.instead = {"*": Said(503, {"error": "no master"})}
        with pytest.raises(Unreachable):
            use(body_at(one, two), "search", {})
        assert len([seen for each in (one, two) for seen in each.seen if "_search" in seen.path]) == 2


def test_the_bounds_of_connections_hold():
    """`maxConnectionPerHost` bounds each node, `maxConnectionTotal` all of them."""

    async def rush(body):
        async with opened(body) as guard:
            await asyncio.gather(*(guard.use("search", {}) for _ in range(12)))

    with fake_node() as one, fake_node() as two:
        one.delay_s = two.delay_s = 0.05
        asyncio.run(rush(body_at(one, maxConnectionPerHost=2)))
        assert one.most == 2
        one.most = 0
        asyncio.run(rush(body_at(one, two, maxConnectionPerHost=3, maxConnectionTotal=3)))
        assert one.most + two.most <= 4 and max(one.most, two.most) >= 2


# What waits to be written


def test_documents_that_come_together_go_together(fake):
    """Those that come while a request is under way share the next one; a request has at most `bulkMaxBatchSize`."""
    fake.delay_s = 0.05

    async def write():
        async with opened(body_at(fake, bulkMaxBatchSize=40, bulkFlushIntervalMs=10_000)) as guard:
            await guard.use("index", {"document": {}})
            await asyncio.gather(*(guard.use("index", {"document": {"n": n}}) for n in range(100)))

    asyncio.run(write())
    assert sorted(seen.documents for seen in fake.bulks()) == [1, 20, 40, 40]


def test_bulk_is_cut_into_requests(fake):
    """A long list goes in several requests, in order."""
    documents = [{"document": {"n": n}, "id": str(n)} for n in range(25)]

    answer = use(body_at(fake, bulkMaxBatchSize=10), "bulk", {"documents": documents})

    assert [seen.documents for seen in fake.bulks()] == [10, 10, 5]
    assert [item.id for item in answer.items] == [str(n) for n in range(25)]


def test_nothing_waits_longer_than_the_interval(fake):
    """After `bulkFlushIntervalMs` a second request begins, although the first has not ended."""
    fake.delay_s = 0.6

    async def write():
        async with opened(body_at(fake, bulkFlushIntervalMs=100)) as guard:
            first = asyncio.create_task(guard.use("index", {"document": {"n": 1}}))
            await asyncio.sleep(0.05)
            await asyncio.gather(first, guard.use("index", {"document": {"n": 2}}))

    asyncio.run(write())
    one, two = fake.bulks()
    assert 0.05 < two.at - one.at < 0.5


def test_too_many_that_wait_are_busy(fake):
    """More than `bulkBufferCapacity` are refused at once, and nothing of them is written."""
    fake.delay_s = 0.2

    async def write():
        async with opened(body_at(fake, bulkBufferCapacity=3)) as guard:
            return await asyncio.gather(
                *(guard.use("index", {"document": {"n": n}}) for n in range(5)), return_exceptions=True
            )

    results = asyncio.run(write())
    assert [type(result) for result in results[3:]] == [Busy, Busy] and "bulkBufferCapacity" in results[3].hint
    assert sum(seen.documents for seen in fake.bulks()) == 3


def test_who_no_longer_waits_is_not_written_for(fake):
    """A document whose caller gave up before it was sent is left out."""
    fake.delay_s = 0.2

    async def write():
        async with opened(body_at(fake, bulkFlushIntervalMs=10_000)) as guard:
            first = asyncio.create_task(guard.use("index", {"document": {"n": 1}}))
            await asyncio.sleep(0.05)
            with pytest.raises(Unreachable):
                await guard.use("index", {"document": {"n": 2}}, 0.05)
            await first

    asyncio.run(write())
    assert sum(seen.documents for seen in fake.bulks()) == 1


def test_what_was_sent_of_a_list_is_told(fake):
    """When the second request of a bulk fails, the error says how many were sent before."""
    documents = [{"document": {"n": n}} for n in range(4)]
    real = fake.answer

    def once(method, path, headers, body):
        if len(fake.bulks()) == 1:
            fake.instead = {"/_bulk": Said(503, {"error": {"type": "cluster_block_exception", "reason": "no master"}})}
        return real(method, path, headers, body)

    fake.answer = once
    with pytest.raises(Unreachable, match="503: no master; the 2 documents before were sent"):
        use(body_at(fake, bulkMaxBatchSize=2), "bulk", {"documents": documents})


def test_the_timeout_is_at_least_a_second(fake):
    """`connectionTimeoutInMs` below 1000 means 5000."""
    fake.delay_s = 1.3

    assert use(body_at(fake, connectionTimeoutInMs=500), "search", {}).total == 0
    with pytest.raises(Unreachable, match="did not answer in time") as raised:
        use(body_at(fake, connectionTimeoutInMs=1000), "search", {})
    assert "connectionTimeoutInMs" in raised.value.hint


# Lifecycle policies, which the real nodes of Maven Central lack

EVERY_PHASE = {
    "policyName": "orders-policy", "enableHotPhase": True, "maxAgeOfRollover": 1, "maxIndexSizeOfRollover": 50,
    "maxDocCountOfRollover": 1000, "enableWarmPhase": True, "numberOfReplicasForWarm": 1, "maxNumShardsForShrink": 1,
    "maxNumSegmentsForForceMerge": 2, "enableColdPhase": True, "minAgeOfCold": 30, "numberOfReplicasForCold": 0,
    "enableDeletePhase": True, "minAgeOfDelete": 90,
}  # fmt: skip
FURNISHED = {
    "administrate": True, "indexLifecyclePolicyCreated": True, "indexLifecyclePolicy": EVERY_PHASE,
    "indexTemplateCreated": True, "indexTemplateName": "orders-template",
}  # fmt: skip


@pytest.mark.parametrize("version", ["7", "8", "9"])
def test_fake_elasticsearch_gets_policy_template_and_first_index(version):
    """Once, before the first document, in this order."""
    with fake_node(version) as fake:

        async def write():
            async with opened(body_at(fake, **FURNISHED)) as guard:
                await asyncio.gather(*(guard.use("index", {"document": DOCUMENT}) for _ in range(5)))
                await guard.rest()
                await guard.use("index", {"document": DOCUMENT})

        asyncio.run(write())
        before = list(itertools.takewhile(lambda path: path != "POST /_bulk", fake.paths()))

    assert before == [
        "GET /", "PUT /_ilm/policy/orders-policy", "PUT /_index_template/orders-template", "HEAD /orders",
        "PUT /orders-000001",
    ]  # fmt: skip
    assert fake.paths().count("PUT /_ilm/policy/orders-policy") == 1
    assert fake.kept["/_ilm/policy/orders-policy"]["policy"]["phases"] == {
        "hot": {"min_age": "0ms", "actions": {"rollover": {"max_age": "1d", "max_size": "50gb", "max_docs": 1000}}},
        "warm": {
            "min_age": "0ms",
            "actions": {
                "allocate": {"number_of_replicas": 1},
                "shrink": {"number_of_shards": 1},
                "forcemerge": {"max_num_segments": 2},
            },
        },
        "cold": {"min_age": "30d", "actions": {"allocate": {"number_of_replicas": 0}}},
        "delete": {"min_age": "90d", "actions": {"delete": {}}},
    }
    settings = fake.kept["/_index_template/orders-template"]["template"]["settings"]
    assert settings["index.lifecycle.name"] == "orders-policy"
    assert settings["index.lifecycle.rollover_alias"] == "orders"
    assert fake.kept["/orders-000001"] == {"aliases": {"orders": {"is_write_index": True}}}


def test_fake_opensearch_gets_its_own_kind_of_policy():
    """Index state management: states and transitions; a policy that is there is changed."""
    with fake_node("opensearch") as fake:
        use(body_at(fake, **FURNISHED))
        use(body_at(fake, **FURNISHED))

    kept = fake.kept["/_plugins/_ism/policies/orders-policy"]
    policy = kept["body"]["policy"]
    assert kept["number"] == 8
    assert [state["name"] for state in policy["states"]] == ["hot", "warm", "cold", "delete"]
    assert policy["states"][0]["actions"] == [
        {"rollover": {"min_index_age": "1d", "min_size": "50gb", "min_doc_count": 1000}}
    ]
    assert policy["states"][1] == {
        "name": "warm",
        "actions": [
            {"replica_count": {"number_of_replicas": 1}},
            {"shrink": {"num_new_shards": 1}},
            {"force_merge": {"max_num_segments": 2}},
        ],
        "transitions": [{"state_name": "cold", "conditions": {"min_index_age": "30d"}}],
    }
    assert policy["states"][2]["transitions"] == [{"state_name": "delete", "conditions": {"min_index_age": "90d"}}]
    assert policy["ism_template"] == [{"index_patterns": ["orders", "orders-*"], "priority": 200}]
    settings = fake.kept["/_index_template/orders-template"]["template"]["settings"]
    assert settings["plugins.index_state_management.rollover_alias"] == "orders"
    assert not any(name.startswith("index.lifecycle") for name in settings)


def test_elasticsearch_itself_reads_the_policies():
    """The parser and the rules of Elasticsearch 7.17 take every combination of phases."""
    if shutil.which("javac") is None or not ELASTICSEARCH_7.home().exists():
        pytest.skip("Java's compiler, or Elasticsearch 7, is not there")
    flags = ["enableHotPhase", "enableWarmPhase", "enableColdPhase", "enableDeletePhase"]
    chosen = [
        {**EVERY_PHASE, **dict(zip(flags, states, strict=True))}
        for states in itertools.product([True, False], repeat=4)
        if any(states)
    ]
    bare = {"enableHotPhase": True, "enableWarmPhase": True, "enableColdPhase": True, "enableDeletePhase": True}
    policies = [
        lifecycle.elasticsearch_policy(ElasticsearchIndexLifecyclePolicy.model_validate(policy))
        for policy in [*chosen, {**bare, "minAgeOfDelete": 0}]
    ]
    home = ELASTICSEARCH_7.home()
    command = [
        "java",
        "-cp",
        f"{home}/lib/*:{home}/modules/x-pack-core/*",
        str(Path(__file__).with_name("ReadPolicy.java")),
    ]

    text = "\n".join(map(json.dumps, policies))
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr[:500]
    read = [set(line.split()) for line in done.stdout.splitlines()]
    assert read == [set(policy["policy"]["phases"]) for policy in policies]


def test_a_server_without_lifecycle_management_says_so():
    """The real node of Elasticsearch 8 has none: its answer is in the error, and nothing is written."""
    node = service("elasticsearch")
    body = body_of(node, **FURNISHED)

    with pytest.raises(Misconfigured, match=r"refused the lifecycle policy \(400\): no handler found"):
        use(body)
    assert ask(node, "GET", f"/{body['indexName']}").status == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indexName": None}, "for which index"),
        ({"indexLifecyclePolicy": {**EVERY_PHASE, "minAgeOfDelete": None}}, "does not say when"),
    ],
)
def test_what_cannot_be_created_is_told_when_it_opens(fake, change, words):
    """A policy that deletes at an unsaid age would delete at once."""
    with pytest.raises(Misconfigured, match=words):
        use(body_at(fake, **{**FURNISHED, **change}))
    assert not fake.seen


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("orders", ["orders", "orders-*"]), ("orders-*", ["orders-*"]), ("<orders-{now/d}>", ["orders-*"]),
        ("<orders-{now/d{yyyy.MM.dd|+12:00}}-x>", ["orders-*-x"]),
    ],
)  # fmt: skip
def test_which_indices_a_template_is_for(name, patterns):
    """Date math becomes a wildcard."""
    assert lifecycle.patterns(name) == patterns


# TLS material


def test_a_certificate_for_another_name_is_taken_when_asked():
    """`disableHostnameVerification` has its effect; without it the error names the certificate."""
    certificates = service_state().get("certificates")
    if not certificates:
        pytest.skip("there are no certificates: make services")
    with fake_node(certificate=(certificates["wrong_name"], certificates["wrong_name_key"])) as fake:
        body = aimed(body_at(fake), "localhost", fake.port)
        body["elasticHostList"][0]["scheme"] = "https"
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            use(body)
        assert use({**body, "disableHostnameVerification": True}).result == "created"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (encrypted("CA_IN_PEM_FILE", caInPemFile="<file>"), "caInPemFile is not base64"),
        (encrypted("CA_IN_PEM_FILE", caInPemFile="bm90aGluZw=="), "caInPemFile cannot be opened"),
        (
            encrypted("CA_CERTIFICATE_IN_PKCS_12", caCertInPkcs12File="bm90aGluZw=="),
            "caCertInPkcs12File cannot be opened",
        ),
    ],
)
def test_a_file_that_is_none_is_told_by_name(fake, fields, words):
    """Before anything is sent."""
    with pytest.raises(Misconfigured, match=words):
        use(body_at(fake, **fields))


def test_a_wrong_password_of_a_file_is_told():
    """So that it is looked for in the right place."""
    node = service("elasticsearch")

    with pytest.raises(Misconfigured, match="caKeystoreFile cannot be opened") as raised:
        use({**with_client_certificate(node), "caKeystoreFilePass": "other"})
    assert WORD not in str(raised.value)


# What else may come back


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (Said(429, {"error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}), Unreachable,
         "overloaded and did not take the documents: queue is full"),
        (Said(503, b"<html>"), Unreachable, "answered the documents with 503"),
        (Said(413, b""), Misconfigured, "too long for the server"),
        (Said(403, {"error": {"type": "cluster_block_exception", "reason": "index is read-only"}}), Misconfigured,
         "refused the documents (403): index is read-only"),
        (Said(302, b"", {"Location": "http://127.0.0.1:1/"}), Misconfigured, "redirects are not followed"),
        (Said(200, b"<html>hello"), Misconfigured, "not as an Elasticsearch or OpenSearch node does"),
        (Said(200, b"[" * 100_000), Misconfigured, "not as an Elasticsearch or OpenSearch node does"),
        (Said(200, {"items": []}), Misconfigured, "not as an Elasticsearch or OpenSearch node does"),
        (Said(200, {"items": [{"index": 1}]}), Misconfigured, "not as an Elasticsearch or OpenSearch node does"),
        (Said(200, {"items": [{"a": {"status": 1}, "b": {}}]}), Misconfigured, "not as an Elasticsearch"),
        (Said(200, b'{"items": NaN}'), Misconfigured, "not as an Elasticsearch or OpenSearch node does"),
        (Said(200, b"x" * (11 * 1024 * 1024)), Misconfigured, "more than 10 MiB"),
        (Said(200, b"x", {"Content-Encoding": "gzip"}), Misconfigured, "or is compressed"),
        (Said(0, b"", hang_up=True), Unreachable, "closed the connection without an answer"),
    ],
)  # fmt: skip
def test_an_answer_says_whose_move_it_is(fake, said, kind, words):
    """Whatever comes back is an error of ours with the next step, and never a driver's."""
    fake.instead = {"/_bulk": said}

    for operation, request in (("index", None), ("bulk", {"documents": [{"document": {}}]})):
        with pytest.raises(ConnectorError) as raised:
            use(body_at(fake), operation, request)
        assert type(raised.value) is kind and words in raised.value.message and raised.value.hint


@pytest.mark.parametrize("said", [{}, {"hits": 1}, {"hits": {"hits": [1]}}, {"hits": {"hits": [{"_id": 1}]}}, []])
def test_a_strange_answer_to_a_search_is_told(fake, said):
    """It is not taken for an answer."""
    fake.instead = {"/orders/_search": Said(200, said)}

    with pytest.raises(Misconfigured, match="not as an Elasticsearch"):
        use(body_at(fake), "search", {})


def test_older_totals_and_half_characters_are_read(fake):
    """A mere number as the total; text that is no text."""
    fake.instead = {"/orders/_search": Said(200, b'{"hits":{"total":3,"hits":[{"_id":"1","_index":"i","_score":1.5,'
                                                 b'"_source":{"a":"\\ud800x","b":"\\ud83d\\ude00"}}]}}')}  # fmt: skip

    answer = use(body_at(fake), "search", {})

    assert (answer.total, answer.exact) == (3, True)
    assert answer.hits[0].document == {"a": "?x", "b": "\U0001f600"}
    assert json.loads(answer.model_dump_json())


def test_no_secret_is_in_an_error(fake):
    """A server that says the login back does not get it into an error."""
    login = "d3JpdGVyOm5vdC1hLXdvcmQ="
    fake.instead = {"*": Said(500, {"error": f"{login} not-a-word"})}

    with pytest.raises(Unreachable) as raised:
        use(body_at(fake, authenticate=True, elasticUsername="writer", elasticPassword="not-a-word"))

    assert fake.seen[-1].headers["authorization"] == f"Basic {login}"
    assert login not in raised.value.message and "not-a-word" not in raised.value.message


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("search", {"index": "_cluster"}), ("search", {"index": ".."}), ("search", {"index": "a/b"}),
        ("search", {"index": "a?b"}), ("index", {"document": {"x": float("nan")}}), ("index", {"document": "text"}),
        ("index", {"document": {"x": "\ud800"}}), ("bulk", {"documents": []}),
        ("bulk", {"documents": [{"action": "delete"}]}), ("bulk", {"documents": [{"id": "1"}]}),
        ("bulk", {"documents": [{"action": "delete", "id": "1", "document": {}}]}), ("search", {"size": 10_001}),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(fake, operation, request_):
    """Before anything is sent."""
    with pytest.raises(InvalidConfig):
        use(body_at(fake), operation, request_)
    assert not fake.seen


def test_an_index_has_to_be_named(fake):
    """In the request or in the connection."""
    with pytest.raises(Misconfigured, match="no index is named"):
        use(body_at(fake, indexName=None))


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"health": "red"}, ("cluster", "failed")),
        (
            {"instead": {"/_cluster/health": Said(403, {"error": {"type": "security_exception"}})}},
            ("cluster", "unknown"),
        ),
        ({"instead": {"/": Said(200, {"hello": "world"})}}, ("cluster", "failed")),
        ({"instead": {"/": Said(200, b"<html>")}}, ("cluster", "failed")),
    ],
)
def test_a_probe_looks_at_the_cluster(fake, change, step):
    """A red one cannot work; whose health may not be seen is unknown; something else is none."""
    for name, value in change.items():
        setattr(fake, name, value)

    assert probed(body_at(fake))[-1] == step


def test_an_opened_connection_costs_nothing():
    """No client, socket or thread before the first use."""

    async def cost():
        before = held()
        async with opened(
            {"type": "elasticsearch", "elasticHostList": [{"host": "127.0.0.1"}], "indexName": "x"}
        ) as guard:
            return before, held(), guard.connector._cluster

    before, after, cluster = asyncio.run(cost())
    assert after == before and cluster is None


def held() -> dict[str, int]:
    files = Path("/proc/self/fd")
    sockets = 0
    for entry in os.listdir(files):
        with suppress(OSError):
            sockets += os.readlink(files / entry).startswith("socket:")
    return {"tasks": len(asyncio.all_tasks()), "threads": threading.active_count(), "sockets": sockets}
