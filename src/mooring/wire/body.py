"""A connection's body as clients send it: common fields, and the typed fields of one type."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import StringConstraints, ValidationError

from mooring.errors import BadRequest, InvalidConfig, Problem
from mooring.kit.record import record
from mooring.kit.strict_json import JsonRefused, Repeated, read_json
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import Part
from mooring.plugin.fields import Flag, field
from mooring.plugin.problems import problems_of
from mooring.plugin.registry import Registry

MAX_DESCRIPTION = 1000
_TYPE = frozenset({"type"})
_MODES = {"READ": "READ", "READ_WRITE": "READ_WRITE"}

RESPONSE_KEYS: frozenset[str] = frozenset(
    {
        "id",
        "projectId",
        "projectName",
        "generation",
        "createdAt",
        "updatedAt",
        "secretFields",
        "warnings",
        "uses",
        "_class",
    }
)
"""Keys of our own answers, and of older clients, that requests may carry: ignored."""

COMMON_KEYS: frozenset[str] = frozenset({"type", "name", "description", "deployToWorker", "enabled"})
"""What every connection has, whatever its type."""


def typed_fields(document: dict[str, Any]) -> dict[str, Any]:
    """The typed fields in the document of a stored connection, with their holes."""
    return {key: value for key, value in document.items() if key not in COMMON_KEYS and key not in RESPONSE_KEYS}


class CommonFields(Part):
    """What every connection has, whatever its type."""

    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION)] | None = field(
        None, description="Free text, at most 1,000 characters.", example="Order database of the shop"
    )
    deploy_to_worker: Flag = field(
        True, description="Whether workers get it; false keeps it on the control plane only."
    )
    enabled: Flag = field(True, description="Whether it may be used; workers close the client of a disabled one.")


@record
class ConnectionBody:
    """
    A body taken apart, before its typed fields are validated.

    `problems` are those of the common fields; they are reported together with those of the typed ones.
    """

    type_name: str | None
    name: str | None
    description: str | None
    deploy: bool
    enabled: bool
    fields: dict[str, Any]
    problems: list[Problem]


def read_connection_body(raw: bytes) -> ConnectionBody:
    """The body in *raw*. Raises `BadRequest` where it is no JSON object that we take."""
    try:
        values = read_json(raw, repeatable=_TYPE)
    except JsonRefused as exc:
        raise BadRequest(f"Request body is not valid JSON: {exc}") from None
    if not isinstance(values, dict):
        raise BadRequest("Request body is not valid JSON: it is not an object")
    type_name, mode = _discriminator(values)
    if mode is not None and values.get("elasticsearchType") is None:
        values["elasticsearchType"] = mode
    name = values.pop("name", None)
    problems: list[Problem] = []
    if name is not None and not isinstance(name, str):
        problems.append(Problem("/name", "invalid", "name is not valid: must be text"))
        name = None
    common = _common(values, problems)
    for key in RESPONSE_KEYS:
        values.pop(key, None)
    return ConnectionBody(
        type_name, name or None, common.description, common.deploy_to_worker, common.enabled, values, problems
    )


def _discriminator(values: dict[str, Any]) -> tuple[str | None, str | None]:
    """
    The type, and the access mode that older elasticsearch bodies write as a second `type`.

    Where only the mode survived (most readers keep the last of two equal keys), the type is elasticsearch.
    """
    given = values.pop("type", None)
    if given is None:
        given = values.get("_class")
    found: str | None = None
    mode: str | None = None
    for one in given if isinstance(given, Repeated) else (given,):
        if one is None:
            continue
        if not isinstance(one, str):
            raise InvalidConfig([Problem("/type", "invalid", "type is not valid: must be text")])
        if one.upper() in _MODES:
            mode = _MODES[one.upper()]
        elif found is not None and found.lower() != one.lower():
            raise InvalidConfig(
                [Problem("/type", "invalid", "type is not valid: it stands twice, with different types")]
            )
        else:
            found = one
    if isinstance(given, Repeated) and (mode is None or (found or "").lower() != "elasticsearch"):
        raise BadRequest("Request body is not valid JSON: the key 'type' stands more than once")
    if found is None and mode is not None:
        found = "elasticsearch"
    return found, mode


class _Common(NamedTuple):
    description: str | None = None
    deploy_to_worker: bool = True
    enabled: bool = True


def _common(values: dict[str, Any], problems: list[Problem]) -> _Common:
    description, deploy, enabled = (values.pop(key, None) for key in ("description", "deployToWorker", "enabled"))
    if type(deploy) is type(enabled) is bool and (
        description is None or (type(description) is str and len(description) <= MAX_DESCRIPTION)
    ):
        return _Common(description, deploy, enabled)
    return _coerced({"description": description, "deployToWorker": deploy, "enabled": enabled}, problems)


def _coerced(taken: dict[str, Any], problems: list[Problem]) -> _Common:
    """The common fields where they are not of their plain types, or absent."""
    try:
        common = CommonFields.model_validate(taken)
    except ValidationError as exc:
        problems += problems_of(exc)
        return _Common()
    return _Common(common.description, common.deploy_to_worker, common.enabled)


def card_of(registry: Registry, type_name: str | None) -> ConnectionType:
    """The type that a body names. Raises `UnknownType`, or `InvalidConfig` where it names none."""
    if not type_name:
        raise InvalidConfig([Problem("/type", "required", "type value can not be empty!")])
    return registry.get(type_name)
