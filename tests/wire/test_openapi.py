"""The API description: sound OpenAPI 3.1, whole, and true of our own models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from mooring.api.routes import ROUTES
from mooring.errors import InvalidConfig
from mooring.plugin.config import read_config
from mooring.plugin.registry import Registry
from mooring.wire.body import COMMON_KEYS, RESPONSE_KEYS, read_connection_body
from mooring.wire.openapi import describe

REGISTRY = Registry()
DESCRIPTION = describe(REGISTRY, ROUTES, "1.2.3")
SCHEMAS = DESCRIPTION["components"]["schemas"]
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
]
TYPES = [pytest.param(card, id=card.name) for card in REGISTRY]


def walk(value: Any, where: str = "#") -> Iterator[tuple[str, Any]]:
    """Every value in *value*, with its pointer."""
    yield where, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from walk(item, f"{where}/{key}")


def at(pointer: str) -> Any:
    value: Any = DESCRIPTION
    for part in pointer.removeprefix("#/").split("/"):
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def body_schema(name: str) -> str:
    """The schema of bodies of the type *name*."""
    return SCHEMAS["Connection"]["discriminator"]["mapping"][name]


def validator(pointer: str) -> Any:
    """Says whether a value fits the schema at *pointer*, with everything it refers to."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": pointer,
        "components": {"schemas": SCHEMAS},
    }
    return jsonschema_rs.validator_for(schema)


def test_it_says_what_it_is() -> None:
    """OpenAPI 3.1, a title, the version of the program."""
    assert DESCRIPTION["openapi"].startswith("3.1.") and DESCRIPTION["info"]["version"] == "1.2.3"
    assert DESCRIPTION["info"]["title"]


def test_it_is_json() -> None:
    """Without values that JSON has not."""
    assert json.loads(json.dumps(DESCRIPTION, allow_nan=False)) == DESCRIPTION


def test_every_reference_leads_somewhere() -> None:
    """Into the description itself."""
    references = [
        (where, value["$ref"]) for where, value in walk(DESCRIPTION) if isinstance(value, dict) and "$ref" in value
    ]

    assert references
    for where, reference in references:
        assert isinstance(at(reference), dict), where


def test_no_schema_is_left_in_a_corner() -> None:
    """Every shared schema is used, and none keeps definitions of its own."""
    used = {
        value["$ref"]
        for _, value in walk(DESCRIPTION)
        if isinstance(value, dict) and isinstance(value.get("$ref"), str)
    }
    used |= set(SCHEMAS["Connection"]["discriminator"]["mapping"].values())

    assert {f"#/components/schemas/{name}" for name in SCHEMAS} - used == set()
    assert [where for where, value in walk(DESCRIPTION) if isinstance(value, dict) and "$defs" in value] == []


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_a_json_schema(name: str) -> None:
    """Of the draft that OpenAPI 3.1 uses, with patterns that every reader understands."""
    assert jsonschema_rs.meta.is_valid({"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[name]})
    validator(f"#/components/schemas/{name}")


@pytest.mark.parametrize(("where", "operation"), OPERATIONS, ids=[where for where, _ in OPERATIONS])
def test_every_operation_is_whole(where: str, operation: dict[str, Any]) -> None:
    """A summary, one parameter per placeholder, a success and the errors, all with content."""
    placeholders = set(re.findall(r"{(\w+)}", where))
    parameters = [(found["in"], found["name"]) for found in operation["parameters"]]

    assert operation["summary"] and operation["tags"]
    assert {name for kind, name in parameters if kind == "path"} == placeholders
    assert len(set(parameters)) == len(parameters)
    assert all(found["required"] for found in operation["parameters"] if found["in"] == "path")
    assert {"200", "400"} <= operation["responses"].keys()
    for answer in operation["responses"].values():
        assert answer["description"] and answer["content"]


def test_operation_ids_are_unique() -> None:
    """Generated clients make names of them."""
    ids = [operation["operationId"] for _, operation in OPERATIONS]

    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"\w+", one) for one in ids)


def test_every_route_is_described() -> None:
    """Save those that are hidden on purpose."""
    described = {(where.split()[0], where.split()[1].rstrip("/")) for where, _ in OPERATIONS}

    assert {(route.method, route.path.rstrip("/")) for route in ROUTES if not route.hidden} == described


def test_what_is_not_public_names_its_refusals() -> None:
    """401 and 403, and the token is asked for."""
    assert DESCRIPTION["security"] == [{"token": []}]
    for where, operation in OPERATIONS:
        if operation.get("security") != []:
            assert {"401", "403"} <= operation["responses"].keys(), where


def test_errors_have_one_shape() -> None:
    """Every error answer refers to the same schema, save the status of readiness."""
    shapes = {
        content["schema"]["$ref"]
        for _, operation in OPERATIONS
        for status, answer in operation["responses"].items()
        if status >= "400"
        for content in answer["content"].values()
    }

    assert shapes <= {"#/components/schemas/Error", "#/components/schemas/Status"}


def test_a_body_is_one_of_all_types() -> None:
    """Told apart by `type`."""
    mapping = SCHEMAS["Connection"]["discriminator"]["mapping"]

    assert SCHEMAS["Connection"]["discriminator"]["propertyName"] == "type"
    assert set(mapping) == {card.name for card in REGISTRY} and len(mapping) == 15
    assert [one["$ref"] for one in SCHEMAS["Connection"]["oneOf"]] == list(mapping.values())


@pytest.mark.parametrize("card", TYPES)
def test_a_type_s_schema_has_every_field(card: Any) -> None:
    """Those of the type, the common ones and those of our own answers; and refuses others."""
    schema = at(body_schema(card.name))

    assert set(schema["properties"]) - RESPONSE_KEYS == COMMON_KEYS | set(card.schema["properties"])
    assert schema["properties"]["type"]["const"] == card.name
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("card", TYPES)
def test_every_field_explains_itself(card: Any) -> None:
    """With a title or a description, whichever a form shows."""
    for name, field in at(body_schema(card.name))["properties"].items():
        assert field.get("description"), name


@pytest.mark.parametrize("card", TYPES)
def test_a_type_s_example_is_accepted(card: Any) -> None:
    """By the schema and by our own model."""
    (example,) = at(body_schema(card.name))["examples"]

    assert validator(body_schema(card.name)).is_valid(example)
    assert validator("#/components/schemas/Connection").is_valid(example)
    body = read_connection_body(json.dumps(example).encode())
    read_config(card.config, body.fields)
    assert body.problems == []


@pytest.mark.parametrize("card", TYPES)
def test_every_field_s_example_is_accepted(card: Any) -> None:
    """Each by the part of the schema it stands in, and by our own model in the place of the example's value."""
    example = {key: value for key, value in card.example.items() if key not in COMMON_KEYS and key not in RESPONSE_KEYS}
    refused = []
    for name, field in at(body_schema(card.name))["properties"].items():
        for value in field.get("examples", ()):
            if not validator(f"{body_schema(card.name)}/properties/{name}").is_valid(value):
                refused.append((name, "schema"))
            if name not in COMMON_KEYS and _problems_at(card, {**example, name: value}, name):
                refused.append((name, "model"))

    assert refused == []


@pytest.mark.parametrize("card", TYPES)
def test_every_default_is_accepted(card: Any) -> None:
    """By the schema that states it, null aside, which means absent."""
    refused = [
        name
        for name, field in at(body_schema(card.name))["properties"].items()
        if field.get("default") is not None
        and not validator(f"{body_schema(card.name)}/properties/{name}").is_valid(field["default"])
    ]

    assert refused == []


@pytest.mark.parametrize("card", TYPES)
def test_secrets_are_marked(card: Any) -> None:
    """As write-only, so that generated documentation shows them so."""
    properties = at(body_schema(card.name))["properties"]

    assert sorted(card.summary()["secretFields"]) == sorted(
        name for name, field in properties.items() if field.get("x-secret")
    )
    assert all(field["writeOnly"] for field in properties.values() if field.get("x-secret"))


def test_the_schema_refuses_an_unknown_key() -> None:
    """As the API does."""
    assert not validator("#/components/schemas/Connection").is_valid(
        {"type": "email", "name": "a", "host": "h", "hots": 1}
    )


def _problems_at(card: Any, values: dict[str, Any], name: str) -> list[str]:
    try:
        read_config(card.config, values)
    except InvalidConfig as exc:
        # An example may clash with another field of the type's example; it must be right by itself.
        return [
            problem.message
            for problem in exc.problems
            if problem.path.split("/")[1] == name and problem.code == "invalid"
        ]
    return []
