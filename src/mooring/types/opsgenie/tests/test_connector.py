"""Alerts are raised and closed, against a stand-in for Opsgenie that says so."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.services import closed_port, service_state

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.types.opsgenie.tests.fake import FakeOpsGenie, Said, fake_opsgenie
from mooring.types.opsgenie.tests.target import body_of

SOMETHING = {"message": "The order database does not answer"}


@pytest.fixture
def fake():
    with fake_opsgenie() as running:
        yield running


def use(fake: FakeOpsGenie, operation: str = "send", request: Any = SOMETHING, /, **fields: Any) -> Any:
    """The answer to one operation over a connection of its own."""

    async def once():
        async with connected(body_of(fake, **fields)) as guard:
            return await guard.use(operation, request)

    return asyncio.run(once())


def failed(fake: FakeOpsGenie, said: Said) -> ConnectorError:
    """How it ends when the API says that."""
    fake.instead = said
    with pytest.raises(ConnectorError) as raised:
        use(fake)
    return raised.value


def probed(body: dict[str, Any]) -> list[tuple[str, str]]:
    async def once():
        async with connected(body) as guard:
            return (await guard.probe(5)).steps

    return [(step.name, step.state) for step in asyncio.run(once())]


def test_an_alert_carries_what_the_connection_says(fake):
    """Every field of the connection is in the alert, as the API names it."""
    use(
        fake,
        responders=[{"type": "team", "name": "on-call"}, {"type": "user", "username": "ada@example.com"},
                    {"type": "schedule", "id": "4711"}],
        visibleTo=[{"type": "user", "id": "7"}],
        tags=["orders"], priority="P2", alias="orders-db-down", entity="orders-db", source="shop",
        actions=["Restart"], details={"environment": "production"}, user="mooring", note="Look at the log.",
    )  # fmt: skip

    assert fake.seen[-1].body == {
        "message": "The order database does not answer",
        "alias": "orders-db-down",
        "responders": [
            {"type": "team", "name": "on-call"},
            {"type": "user", "username": "ada@example.com"},
            {"type": "schedule", "id": "4711"},
        ],
        "visibleTo": [{"type": "user", "id": "7"}],
        "actions": ["Restart"],
        "tags": ["orders"],
        "details": {"environment": "production"},
        "entity": "orders-db",
        "source": "shop",
        "priority": "P2",
        "user": "mooring",
        "note": "Look at the log.",
    }


def test_a_request_says_more_than_the_connection(fake):
    """Priority, alias, entity, note and user are those of the request; tags and details come together."""
    request = {
        "message": "Down", "description": "For an hour", "priority": "P1", "alias": "other", "tags": ["db", "orders"],
        "details": {"order": "4711", "environment": "test"}, "entity": "db-2", "note": "Now", "user": "ada",
    }  # fmt: skip
    use(fake, "send", request, tags=["orders"], details={"environment": "production", "zone": "a"}, alias="mine")

    body = fake.seen[-1].body
    assert {name: body[name] for name in ("description", "priority", "alias", "entity", "note", "user")} == {
        "description": "For an hour", "priority": "P1", "alias": "other", "entity": "db-2", "note": "Now",
        "user": "ada",
    }  # fmt: skip
    assert body["tags"] == ["orders", "db"]
    assert body["details"] == {"environment": "test", "zone": "a", "order": "4711"}


def test_the_answer_has_the_id_of_the_request(fake):
    """Opsgenie works later; the id is what its status can be asked for by."""
    answer = use(fake, alias="orders-db-down")

    assert fake.requests[answer.request_id] == {"action": "Create", "alias": "orders-db-down", "isSuccess": True}
    assert (answer.alias, answer.result) == ("orders-db-down", "Request will be processed")


def test_the_key_is_in_the_header_alone(fake):
    """The key goes as the API wants it, and stands in no address and no body."""
    use(fake)

    seen = fake.seen[-1]
    assert seen.headers["authorization"] == f"GenieKey {fake.key}"
    assert fake.key not in seen.path and fake.key not in str(seen.body)


def test_an_alert_is_closed_by_the_alias_of_the_connection(fake):
    """Nothing need be said to close what the connection raises."""
    use(fake, alias="orders/db ä")

    answer = use(fake, "close", {"note": "It works again"}, alias="orders/db ä", source="shop", user="mooring")

    assert fake.alerts["orders/db ä"]["status"] == "closed"
    assert fake.seen[-1].path == "/v2/alerts/orders%2Fdb%20%C3%A4/close?identifierType=alias"
    assert fake.seen[-1].body == {"source": "shop", "user": "mooring", "note": "It works again"}
    assert answer.alias == "orders/db ä"


@pytest.mark.parametrize("kind", ["id", "tiny"])
def test_an_alert_is_closed_by_another_name(fake, kind):
    """By its id, or by the short number that people see."""
    use(fake, "close", {"identifier": "4711", "identifierType": kind})

    assert fake.seen[-1].path == f"/v2/alerts/4711/close?identifierType={kind}"


def test_closing_needs_a_name(fake):
    """Without an alias in the connection the request has to name the alert."""
    with pytest.raises(Misconfigured, match="no alert is named"):
        use(fake, "close", {})


def test_an_identifier_cannot_walk_the_path(fake):
    """Neither dots nor a slash nor a question mark lead to another address."""
    with pytest.raises(InvalidConfig):
        use(fake, "close", {"identifier": ".."})
    use(fake, "close", {"identifier": "../x?y=z#"})

    assert fake.seen[-1].path == "/v2/alerts/..%2Fx%3Fy%3Dz%23/close?identifierType=alias"


@pytest.mark.parametrize("field", [{"message": "x" * 131}, {"message": ""}, {"message": "x", "tags": ["t" * 51]}])
def test_what_opsgenie_would_cut_is_refused(fake, field):
    """The lengths are those of the API."""
    with pytest.raises(InvalidConfig):
        use(fake, "send", field)


def test_tags_and_details_are_counted_with_those_of_the_connection(fake):
    """Opsgenie would drop what is too much without a word."""
    with pytest.raises(Misconfigured, match="21 tags"):
        use(fake, "send", {"message": "x", "tags": ["new"]}, tags=[str(number) for number in range(20)])
    with pytest.raises(Misconfigured, match="8000 characters"):
        use(fake, "send", {"message": "x", "details": {"b": "y" * 5000}}, details={"a": "x" * 5000})


def test_a_wrong_key_is_rejected(fake):
    """401: somebody must look at the key."""
    with pytest.raises(Rejected, match=r"does not know the key: Could not authenticate") as raised:
        use(fake, apiKey="another-key")

    assert "another-key" not in str(raised.value) and "api.eu.opsgenie.com" in raised.value.hint


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "words"),
    [
        (403, {"message": "Not allowed"}, {}, Rejected, "does not allow the key the alert: Not allowed"),
        (422, {"message": "Key format is not valid!"}, {}, Rejected, "does not take the key"),
        (422, {"message": "Not processable.", "errors": {"message": "Too long."}}, {}, Misconfigured,
         "refused the alert (422): Not processable. message: Too long."),
        (429, {"message": "You are making too many requests!"}, {"Retry-After": "30"}, Unreachable,
         "takes no more requests now: You are making too many requests!"),
        (500, {"message": "Oops"}, {}, Unreachable, "answered the alert with 500: Oops"),
        (503, b"<html>", {}, Unreachable, "answered the alert with 503"),
        (302, b"", {"Location": "http://127.0.0.1:1/"}, Misconfigured, "redirects are not followed"),
        (404, b"<html>", {}, Misconfigured, "not as Opsgenie's alert API does"),
        (200, b"<html>", {}, Misconfigured, "not as Opsgenie's alert API does"),
        (202, {"result": 1}, {}, Misconfigured, "not as Opsgenie's alert API does"),
        (202, b"[" * 200_000, {}, Misconfigured, "not as Opsgenie's alert API does"),
        (202, b"x" * 300_000, {}, Misconfigured, "not as Opsgenie's alert API does"),
        (202, b"x", {"Content-Encoding": "gzip"}, Misconfigured, "not as Opsgenie's alert API does"),
    ],
)  # fmt: skip
def test_an_answer_says_whose_move_it_is(fake, status, body, headers, kind, words):
    """Each status is the error of whoever can do something about it, with Opsgenie's own words."""
    error = failed(fake, Said(status, body, headers))

    assert type(error) is kind and words in error.message and error.hint


def test_how_long_to_wait_is_said(fake):
    """What Retry-After says, and nothing else that stands there."""
    assert failed(fake, Said(429, {}, {"Retry-After": "30"})).hint == "Retry after 30 s."
    assert failed(fake, Said(429, {}, {"Retry-After": "<script>"})).hint == "Retry in a minute."


def test_the_timeout_is_that_of_the_connection(fake):
    """A slow answer ends after `timeout`, and says that the alert may have been raised."""
    fake.instead = Said(202, {"requestId": "1"}, delay_s=2)

    with pytest.raises(Unreachable, match="may or may not have acted") as raised:
        use(fake, timeout=200)

    assert "timeout" in raised.value.hint


def test_a_closed_port_is_unreachable(fake):
    """Nobody listens: check the port."""
    fake.port = closed_port()

    with pytest.raises(Unreachable, match="refused the connection"):
        use(fake)


def test_no_secret_is_in_an_error(fake):
    """A server that says the key back does not get it into an error."""
    error = failed(fake, Said(500, {"message": f"GenieKey {fake.key} is odd"}))

    assert fake.key not in error.message


def test_a_probe_asks_for_the_key_and_raises_nothing(fake):
    """It reads the list of alerts."""
    assert probed(body_of(fake)) == [
        ("resolve", "passed"), ("connect", "passed"), ("tls", "skipped"), ("key", "passed")
    ]  # fmt: skip
    assert [seen.path for seen in fake.seen] == ["/v2/alerts?limit=1"]


def test_a_key_that_may_only_write_is_unknown_to_a_probe(fake):
    """403 on reading says nothing about writing."""
    fake.may_read = False

    assert probed(body_of(fake))[-1] == ("key", "unknown")


def test_a_probe_says_that_the_key_is_wrong(fake):
    """The step is `key`."""
    assert probed(body_of(fake, apiKey="other"))[-1] == ("key", "failed")


@pytest.mark.parametrize("field", ["trustStoreName", "verifyHostname"])
def test_tls_fields_have_their_effect(field):
    """A certificate of an unknown issuer, or for another name, is taken only when the connection says so."""
    from tests.support.targets import Target

    from mooring.plugin.materials import Store

    certificates = service_state().get("certificates")
    if not certificates:
        pytest.skip("there are no certificates: make services")
    name = {"trustStoreName": "unknown_server", "verifyHostname": "wrong_name"}[field]
    trusted = certificates["unknown_ca"] if field == "trustStoreName" else certificates["ca"]
    store = Store(trusted=Path(trusted).read_text())
    value: Any = "store" if field == "trustStoreName" else False

    async def once(fake, **fields):
        materials = Target({}, "", {}, lambda answer: None, "", stores={"store": store})
        body = body_of(fake, "https", **fields)
        async with connected(body, ca_file=certificates["ca"], materials=materials) as guard:
            return await guard.use("send", SOMETHING)

    with fake_opsgenie((certificates[name], certificates[f"{name}_key"])) as fake:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            asyncio.run(once(fake))
        assert asyncio.run(once(fake, **{field: value})).request_id


def test_a_thousand_alerts_leave_nothing_behind(fake):
    """Connections are shared, and given back."""

    async def many():
        async with connected(body_of(fake)) as guard:
            await guard.use("send", SOMETHING)
            before = held()
            places = asyncio.Semaphore(32)

            async def one():
                async with places:
                    return await guard.use("send", SOMETHING)

            answers = await asyncio.gather(*(one() for _ in range(1000)))
            after = held()
            await guard.rest()
            again = await guard.use("send", SOMETHING)
        gc.collect()
        return answers, before, after, again, held()

    answers, before, after, again, end = asyncio.run(many())

    assert len({answer.request_id for answer in answers}) == 1000 and again.request_id
    assert after["tasks"] == before["tasks"] and end["tasks"] == before["tasks"]
    assert len(fake.clients) <= 22


def test_stop_is_safe_twice_and_use_begins_anew(fake):
    """After `stop` the next operation makes a new pool."""

    async def again():
        async with connected(body_of(fake)) as guard:
            await guard.use("send", SOMETHING)
            await guard.connector.stop()
            await guard.connector.stop()
            await guard.connector.start()
            return await guard.use("send", SOMETHING)

    assert asyncio.run(again()).request_id


def held() -> dict[str, int]:
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
    }
