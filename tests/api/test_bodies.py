"""Every documented body of every type, through the door: accepted, read back, put back; refused ones name the field."""

import copy
import json

import pytest

from mooring.plugin.card import ConnectionType
from mooring.plugin.registry import Registry
from mooring.plugin.secrets import PLACEHOLDER
from tests.api.answers import done, listed, one, problems, refusal
from tests.support.plane import CONNECTIONS, client_of, connection_path, same_json

TYPES = list(Registry())
CANARY = "canary-9f3c1e77"
every_type = pytest.mark.parametrize("card", TYPES, ids=lambda card: card.name)

STRINGS = "org.apache.kafka.common.serialization.StringSerializer"

# What is stored in another spelling than it was sent in, as documented; and keys that only answers have.
RESPELT = {
    ("graylog", "INFO(6)"): "INFO", ("graylog", "EMERGENCY(0)"): "EMERGENCY",
    ("ldap", 0): 30000, ("ldap", -1): 30000,
    ("logback", "/var/log/orders"): "/var/log/orders/", ("logback", "/orders"): "orders",
}  # fmt: skip
ANSWERS_ONLY = {"status", "clusterName", "valueByType"}

# Secrets that stand inside longer texts, lists and maps; each CANARY is one.
HIDDEN = {
    "database": [{"jdbcUrl": f"jdbc:postgresql://db.example.com:5432/orders?user=app&password={CANARY}"}],
    "email": [],
    "kafka": [
        {
            "bootstrapServers": "kafka.example.com:9093",
            "propertiesMap": {
                "bootstrap.servers": {"value": "kafka.example.com:9093", "valueType": "STRING"},
                "security.protocol": {"value": "SASL_SSL", "valueType": "STRING"},
                "key.serializer": {"value": STRINGS, "valueType": "STRING"},
                "value.serializer": {"value": STRINGS, "valueType": "STRING"},
                "sasl.mechanism": {"value": "PLAIN", "valueType": "STRING"},
                "sasl.jaas.config": {
                    "value": "org.apache.kafka.common.security.plain.PlainLoginModule required "
                    f'username="app" password="{CANARY}";',
                    "valueType": "STRING",
                },
            },
        },
    ],
    "webhook": [
        {"headerList": [{"name": "Authorization", "value": f"Bearer {CANARY}"}, {"name": "X-Api-Key", "value": CANARY}]},
        {"fullUrl": f"https://app:{CANARY}@hooks.example.com/in"},
        {"fullUrl": f"https://hooks.example.com/in?access_token={CANARY}&page=1"},
    ],
}  # fmt: skip


def _bodies(card: ConnectionType) -> dict:
    return json.loads((card.folder / "tests" / "bodies.json").read_text("utf-8"))


def _named(body: dict, name: str) -> dict:
    return {**body, "name": name}


def _same(card: ConnectionType, sent, got) -> bool:
    """Whether *got* is what reading back *sent* must give: the same, an equal spelling, or a hidden secret."""
    if sent is None or got is None or got == PLACEHOLDER:
        return True
    if isinstance(sent, dict) and isinstance(got, dict):
        return all(
            key in got and _same(card, value, got[key]) for key, value in sent.items() if key not in ANSWERS_ONLY
        )
    if isinstance(sent, list) and isinstance(got, list):
        return len(sent) == len(got) and all(_same(card, *pair) for pair in zip(sent, got, strict=True))
    if isinstance(got, str) and PLACEHOLDER in got:
        start, _, end = got.partition(PLACEHOLDER)
        return sent.startswith(start) and (PLACEHOLDER in end or sent.endswith(end))
    return str(RESPELT.get((card.name, sent), sent) if sent is not False else sent).lower() == str(got).lower()


@every_type
async def test_accepted_bodies_read_back(http, card):
    """Every documented body is stored, and reads back with the same names and values and with null secrets."""
    aliases = {alias: name for name, field in card.schema["properties"].items() for alias in field.get("x-aliases", ())}
    wrong = []
    for number, body in enumerate(_bodies(card)["accepted"]):
        name = f"c{number}"
        response = await http.post(connection_path(name), json=_named(body, name))
        if response.status_code != 200:
            wrong.append((number, body, response.text))
            continue
        found = one(await http.get(connection_path(name)))
        for key, value in body.items():
            key = aliases.get(key, key)
            if key in ("name", "type", "_class", "id", "projectId", "projectName"):
                continue
            if key not in found or not _same(card, value, found[key]):
                wrong.append((number, key, value, found.get(key, "(absent)")))
            if key in card.summary()["secretFields"] and found[key] is not None:
                wrong.append((number, key, "is shown"))
    assert wrong == []


@every_type
async def test_what_get_prints_can_be_put_back(http, card):
    """Putting back what GET printed changes nothing: same document, same generation, every secret kept."""
    wrong = []
    for number, body in enumerate(_bodies(card)["accepted"]):
        name = f"c{number}"
        done(await http.post(connection_path(name), json=_named(body, name)))
        before = one(await http.get(connection_path(name)))
        response = await http.put(connection_path(name), json=before)
        after = one(await http.get(connection_path(name)))
        if response.status_code != 200 or not same_json(before, after):
            wrong.append((number, response.text, before, after))
    assert wrong == []


@every_type
async def test_refused_bodies_name_the_field(http, card):
    """Every broken body is 400 in the documented shape and names the field; nothing is stored."""
    wrong = []
    for number, case in enumerate(_bodies(card)["refused"]):
        body = {"type": card.name, **case["body"], "name": "a"}
        response = await http.post(connection_path("a"), json=body)
        # NUL is refused for the whole text, before there are fields.
        named = [case["path"]] if "\\u0000" in json.dumps(body) else problems(response)
        if response.status_code != 400 or case["path"] not in named:
            wrong.append((number, body, case["path"], response.status_code, response.text))
    assert wrong == []
    assert listed(await http.get(CONNECTIONS)) == []


@every_type
async def test_example_is_accepted_as_it_stands(http, card):
    """The example of a type is accepted, and the list of that type has it."""
    done(await http.post(connection_path(card.example["name"]), json=card.example))

    assert [item["type"] for item in listed(await http.get(CONNECTIONS, params={"type": card.name}))] == [card.name]


def _with_canaries(card: ConnectionType) -> list[dict]:
    """The example with a canary in every secret field, and once for each place where a secret can hide."""
    body = copy.deepcopy(card.example)
    for name in card.summary()["secretFields"]:
        # Certificates and key files are text too: nobody looks inside before they are used.
        body[name] = f"{CANARY}-{name}"
    return [body, *({**copy.deepcopy(card.example), **more} for more in HIDDEN.get(card.name, ()))]


@every_type
async def test_secrets_are_in_no_answer(http, card):
    """A secret that was sent is in no answer to anything, wherever in the body it stood."""
    said = []
    for number, body in enumerate(_with_canaries(card)):
        name = f"c{number}"
        path = connection_path(name)
        created = await http.post(path, json=_named(body, name))
        done(created)
        said += [
            created,
            await http.post(path, json=_named(body, name)),
            await http.get(path),
            await http.put(path, json={**body, "name": name, "description": "another"}),
            await http.put(path, json={**body, "name": name, "description": 7, "nonsense": CANARY}),
            await http.get(f"{path}deployments/"),
        ]
    said += [
        await http.get(CONNECTIONS),
        await http.get(CONNECTIONS, params={"limit": 5}),
        await http.get("/apiops/audit/"),
    ]

    assert [response.request.url.path for response in said if CANARY in response.text] == []


@every_type
async def test_secrets_are_revealed_with_the_grant_and_audited(http, plane, token_with, card):
    """A token with secrets:reveal reads every secret on the single GET, not on the list; each time is audited."""
    reveal = await token_with("connections:view", "secrets:reveal", "linux-script:use")
    for number, body in enumerate(_with_canaries(card)):
        name = f"c{number}"
        done(await http.post(connection_path(name), json=_named(body, name)))
        async with client_of(plane, reveal) as client:
            shown = await client.get(connection_path(name))
            in_list = await client.get(CONNECTIONS)

        newest = listed(await http.get("/apiops/audit/"))[0]
        places = json.dumps(body).count(CANARY)
        assert shown.text.count(CANARY) == places
        assert CANARY not in in_list.text
        assert (newest["action"], newest["name"]) == ("reveal", name)
        assert len(newest["changed"]) >= places
        assert CANARY not in json.dumps(newest)


@every_type
async def test_what_reveal_prints_can_be_put_back(http, plane, token_with, card):
    """Putting back what a revealing GET printed changes nothing either."""
    token = await token_with("connections:view", "connections:manage", "secrets:reveal", "linux-script:use")
    for number, body in enumerate(_with_canaries(card)):
        name = f"c{number}"
        done(await http.post(connection_path(name), json=_named(body, name)))
        async with client_of(plane, token) as client:
            before = one(await client.get(connection_path(name)))
            done(await client.put(connection_path(name), json=before))
            after = one(await client.get(connection_path(name)))

        assert same_json(before, after)


@every_type
async def test_no_refusal_repeats_what_was_sent(http, card):
    """Whatever stands in whatever field, a refusal names the field and never says the value."""
    said = []
    for name in (*card.schema["properties"], "description", "enabled", "deployToWorker"):
        for value in (
            f"\t{CANARY}\n", {CANARY: CANARY}, [CANARY], [{"name": f"\t{CANARY}", "value": [CANARY]}], {"k": {"value": [CANARY]}},
            f"${{NAME}} {CANARY}\x01", f"http://{CANARY}:x y@[/", f"jdbc:{CANARY}://", [[CANARY]], f"{CANARY}=",
        ):  # fmt: skip
            body = {**card.example, "name": "a", name: value}
            said.append((name, value, await http.post(connection_path("a"), json=body)))
            await http.delete(connection_path("a"))

    keys = {CANARY}
    repeated = [
        (name, response.text)
        for name, value, response in said
        if CANARY in response.text and not (isinstance(value, dict) and keys & value.keys())
    ]
    assert repeated == []
    assert {response.status_code for _, _, response in said} <= {200, 400}
    for _, _, response in said:
        if response.status_code == 400:
            refusal(response)
