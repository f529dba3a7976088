"""A connection's body, taken apart: the type in all its shapes, common fields, keys that are ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mooring.errors import BadRequest, InvalidConfig, UnknownType
from mooring.plugin.registry import Registry
from mooring.wire.bodies import EnvironmentBody, ProjectBody, TokenBody, read
from mooring.wire.body import RESPONSE_KEYS, ConnectionBody, card_of, read_connection_body, typed_fields
from tests.support.plane import connection_path, email

REGISTRY = Registry()


def body_of(raw: str | dict[str, Any]) -> ConnectionBody:
    return read_connection_body((raw if isinstance(raw, str) else json.dumps(raw)).encode())


def problems(raw: str | dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with *raw* as (path, code)."""
    with pytest.raises(InvalidConfig) as raised:
        body_of(raw)
    return [(problem.path, problem.code) for problem in raised.value.problems]


# the type


@pytest.mark.parametrize(
    "raw",
    [
        '{"type":"elasticsearch","name":"a","type":"READ_WRITE"}',
        '{"type":"READ_WRITE","name":"a","type":"elasticsearch"}',
        '{"type":"elasticsearch","type":"read_write"}',
        '{"type":"ElasticSearch","type":"READ_WRITE"}',
        '{"type":"READ_WRITE"}',
        '{"type":"elasticsearch","elasticsearchType":"READ_WRITE"}',
        '{"type":"elasticsearch","type":"READ","elasticsearchType":"READ_WRITE"}',
        '{"type":"elasticsearch","type":"elasticsearch","type":"READ_WRITE"}',
        '{"type":null,"type":"elasticsearch","type":"READ_WRITE"}',
    ],
)
def test_the_doubled_type_of_elasticsearch_is_understood(raw: str) -> None:
    """The discriminator and the access mode, in either order, or the mode alone; the longer key wins over both."""
    body = body_of(raw)

    assert card_of(REGISTRY, body.type_name).name == "elasticsearch"
    assert body.fields == {"elasticsearchType": "READ_WRITE"}


@pytest.mark.parametrize(
    "raw",
    [
        '{"type":"email","type":"email"}', '{"type":"email","type":"READ"}', '{"type":"elasticsearch","type":"elasticsearch"}',
        '{"type":null,"type":null}', '{"type":"READ","type":"READ_WRITE"}', '{"type":null,"type":"email"}',
    ],
)  # fmt: skip
def test_no_other_type_may_be_doubled(raw: str) -> None:
    """It is what every other duplicate key is: no JSON that we take."""
    with pytest.raises(BadRequest, match="stands more than once"):
        body_of(raw)


def test_two_types_contradict_each_other() -> None:
    """Neither is guessed."""
    assert problems('{"type":"email","type":"kafka"}') == [("/type", "invalid")]


@pytest.mark.parametrize("given", ["1", "true", "[]", "{}", '["email"]'])
def test_a_type_is_text(given: str) -> None:
    """Nothing else names a type."""
    assert problems(f'{{"type":{given}}}') == [("/type", "invalid")]


@pytest.mark.parametrize("raw", ["{}", '{"type":null}', '{"type":""}', '{"_class":null}'])
def test_a_missing_type_is_required(raw: str) -> None:
    """The problem is at `type`."""
    with pytest.raises(InvalidConfig) as raised:
        card_of(REGISTRY, body_of(raw).type_name)

    assert [(p.path, p.code) for p in raised.value.problems] == [("/type", "required")]


def test_an_unknown_type_lists_the_known_ones() -> None:
    """All of them, in their spelling on the wire."""
    with pytest.raises(UnknownType) as raised:
        card_of(REGISTRY, "telepathy")

    assert "(telepathy)" in raised.value.message
    assert all(card.name in raised.value.message for card in REGISTRY)


def test_an_odd_type_is_not_quoted() -> None:
    """Anything may have been pasted there."""
    with pytest.raises(UnknownType) as raised:
        card_of(REGISTRY, "p@ss word!")

    assert "p@ss" not in raised.value.message


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("EMAIL", "email"), ("activemq", "activeMq"), ("rabbitmq", "rabbitMq"), ("RABBITMQ", "rabbitMq"), ("opsgenie", "ops-genie"),
        ("opsGenie", "ops-genie"), ("linuxscript", "linux-script"), ("linuxScript", "linux-script"), ("Linux-Script", "linux-script"),
    ],
)  # fmt: skip
def test_types_have_documented_aliases(spelling: str, name: str) -> None:
    """In any case."""
    assert card_of(REGISTRY, body_of({"type": spelling}).type_name).name == name


def test_class_names_the_type_where_type_is_missing() -> None:
    """The key of older clients."""
    assert body_of({"_class": "email", "host": "h"}).type_name == "email"


def test_type_wins_over_class() -> None:
    """Which is ignored then, and never a field."""
    body = body_of({"type": "email", "_class": "com.example.Kafka"})

    assert (body.type_name, body.fields) == ("email", {})


# the rest


def test_common_fields_have_defaults() -> None:
    """Absent and null alike: deployed, enabled, without a description."""
    for raw in ({"type": "email"}, {"type": "email", "description": None, "deployToWorker": None, "enabled": None}):
        body = body_of(raw)
        assert (body.description, body.deploy, body.enabled, body.problems) == (None, True, True, [])


def test_common_fields_are_taken_out() -> None:
    """What is left are the typed ones."""
    body = body_of(
        {"type": "email", "name": "n", "description": "d", "deployToWorker": False, "enabled": "false", "host": "h"}
    )

    assert (body.name, body.description, body.deploy, body.enabled) == ("n", "d", False, False)
    assert body.fields == {"host": "h"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enabled", "yes"), ("enabled", 1), ("enabled", []), ("deployToWorker", "TRUE"), ("deployToWorker", {}),
        ("description", ["x"]), ("description", "x" * 1001),
    ],
)  # fmt: skip
def test_problems_of_common_fields_are_kept(key: str, value: Any) -> None:
    """They are not raised at once: those of the typed fields come with them."""
    assert [problem.path for problem in body_of({"type": "email", key: value}).problems] == [f"/{key}"]


def test_a_description_of_a_thousand_characters_is_taken() -> None:
    """The limit itself is fine, and lines may break."""
    assert body_of({"type": "email", "description": "x\n" * 500}).problems == []


async def test_common_and_typed_problems_come_together(http: Any) -> None:
    """One answer names what is wrong with `enabled`, `description`, `host` and `port`."""
    sent = email("mail", enabled="perhaps", description="x" * 1001, port=0, host="a b")

    answer = await http.post(connection_path("mail"), json=sent)

    assert answer.status_code == 400
    assert {problem["path"] for problem in answer.json()["errors"]} == {"/enabled", "/description", "/port", "/host"}


def test_a_name_is_text() -> None:
    """Another value is a problem beside the others; an empty one is none."""
    assert [problem.path for problem in body_of({"type": "email", "name": ["n"]}).problems] == ["/name"]
    assert body_of({"type": "email", "name": ""}).name is None


@pytest.mark.parametrize("key", sorted(RESPONSE_KEYS))
def test_keys_of_our_answers_are_ignored(key: str) -> None:
    """Whatever they hold: what was read can be put back."""
    for value in ("text", 1, {"a": [None]}, None):
        assert body_of({"type": "email", "host": "h", key: value}).fields == {"host": "h"}


async def test_what_get_answers_can_be_put_back(http: Any) -> None:
    """As it is, and it changes nothing."""
    await http.post(connection_path("mail") + "?waitSeconds=0", json=email("mail"))
    read_back = (await http.get(connection_path("mail"))).json()["resultList"][0]

    answer = await http.put(connection_path("mail") + "?waitSeconds=0", json=read_back)

    assert answer.status_code == 200
    assert (await http.get(connection_path("mail"))).json()["resultList"][0] == read_back


def test_typed_fields_are_what_is_left_of_a_document() -> None:
    """Common fields and keys of our own answers are not among them."""
    document = {
        "type": "email",
        "name": "n",
        "enabled": True,
        "host": "h",
        "id": "x",
        "secretFields": {},
        "password": None,
    }

    assert typed_fields(document) == {"host": "h", "password": None}


@pytest.mark.parametrize("raw", ["", "nonsense", "[]", '"text"', "null", "1", '[{"type":"email"}]'])
def test_a_body_is_an_object(raw: str) -> None:
    """Everything else is no body."""
    with pytest.raises(BadRequest, match="not valid JSON"):
        body_of(raw)


# other bodies


def test_all_problems_of_a_small_body_come_at_once() -> None:
    """Unknown keys, wrong kinds and missing ones, by their names on the wire."""
    with pytest.raises(InvalidConfig) as raised:
        read(TokenBody, {"grants": "all", "expiresInSeconds": 0, "expiresInSecond": 5})

    assert {(p.path, p.code) for p in raised.value.problems} == {
        ("/name", "required"), ("/grants", "invalid"), ("/expiresInSeconds", "invalid"), ("/expiresInSecond", "unknown_field"),
    }  # fmt: skip


@pytest.mark.parametrize("key", ["access_url", "accessURL"])
def test_keys_go_by_their_wire_names_only(key: str) -> None:
    """With a hint at the right one."""
    with pytest.raises(InvalidConfig, match="accessUrl"):
        read(EnvironmentBody, {key: "https://example.com"})


def test_small_bodies_refuse_control_characters() -> None:
    """They end up in lists and logs."""
    with pytest.raises(InvalidConfig, match="control characters"):
        read(ProjectBody, {"description": "a\nb"})
