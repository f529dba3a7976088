"""The API description (OpenAPI 3.1), read off the registry and the route table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from pydantic import BaseModel

from mooring.plugin.card import ConnectionType
from mooring.plugin.registry import Registry
from mooring.plugin.secrets import NamedEntries
from mooring.wire.body import RESPONSE_KEYS, CommonFields

_REF = "#/components/schemas/"
_NAME_PATTERN = r"^[^\s/\\?#%\x00-\x1f\x7f-\x9f]([^/\\?#%\x00-\x1f\x7f-\x9f]*[^\s/\\?#%\x00-\x1f\x7f-\x9f])?$"
_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _NAME_PATTERN}
_ID_SCHEMA = {"type": "string", "pattern": "^[0-9A-Za-z_-]{1,64}$"}


_PATH: dict[str, dict[str, Any]] = {
    "project": {"schema": {**_NAME_SCHEMA}, "description": "The project's name, exactly as it is spelt."},
    "name": {"schema": {**_NAME_SCHEMA}, "description": "The name; case does not matter."},
    "deployment": {"schema": {**_ID_SCHEMA}, "description": "The deploymentId of an answer."},
    "token": {"schema": {**_ID_SCHEMA}, "description": "The token's public id."},
    "worker": {"schema": {**_ID_SCHEMA}, "description": "The worker's id."},
    "user": {"schema": {**_NAME_SCHEMA}, "description": "The user's name; case does not matter."},
    "word": {
        "schema": {
            "type": "string",
            "minLength": 1,
            "pattern": r"^[^/\\\x00-\x1f\x7f]+$",
            "not": {"enum": [".", ".."]},
        },
        "description": "What is said back.",
    },
}

_DAY = "(0[1-9]|[12][0-9]|3[01])"
_INSTANT = (
    f"^([0-9]{{1,13}}|20[0-9]{{2}}-((0[13578]|1[02])-{_DAY}|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][01][0-9]:[0-5][0-9])?)?)$"
)
_QUERY: dict[str, dict[str, Any]] = {
    "waitSeconds": {
        "schema": {"type": "number", "minimum": 0, "maximum": 30},
        "description": "How long to wait for workers; 10 by default.",
    },
    "page": {"schema": {"type": "integer", "minimum": 1, "maximum": 1000000}, "description": "Page number, from 1."},
    "size": {"schema": {"type": "integer", "minimum": 1, "maximum": 1000}, "description": "Connections on a page."},
    "sort": {
        "schema": {"type": "string", "pattern": "^(name|type|createdAt|updatedAt)(,(asc|desc))?$"},
        "description": "Order, such as name,desc.",
    },
    "cursor": {"schema": {"type": "string"}, "description": "The nextCursor of the answer before."},
    "projectName": {"schema": {"type": "string"}, "description": "Of this project only."},
    "actor": {"schema": {"type": "string"}, "description": "Done by this actor."},
    "action": {"schema": {"type": "string"}, "description": "What was done, such as create, update, delete, reveal."},
    "noun": {"schema": {"type": "string"}, "description": "What it was done to, such as connection or token."},
    "nounId": {"schema": {"type": "string"}, "description": "The id of what it was done to."},
    "name": {"schema": {"type": "string"}, "description": "The name of what it was done to."},
    "requestId": {"schema": {"type": "string"}, "description": "Done by this request: the X-Request-Id of its answer."},
    "from": {
        "schema": {"type": "string", "pattern": _INSTANT},
        "description": "At this instant or later: ISO 8601, UTC where it names no zone, or milliseconds since 1970.",
    },
    "to": {"schema": {"type": "string", "pattern": _INSTANT}, "description": "Before this instant."},
    "before": {
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999},
        "description": "Only entries with smaller numbers: the nextBefore of the answer before.",
    },
    "limit": {"schema": {"type": "integer", "minimum": 1, "maximum": 1000}, "description": "How many, at most."},
    "environmentName": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": "Only workers of this environment.",
    },
    "within": {
        "schema": {"type": "string", "pattern": "^([0-9]{1,3}[hd]|[0-9]{1,2}w)$"},
        "description": "Hours, days or weeks, such as 12h, 30d or 8w; 30d by default.",
    },
    "worker": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": "The name or id of the worker that shall do it.",
    },
}
_ERRORS = {
    400: "Something in the request is wrong; `error_description` says what.",
    401: "No token, or one that is unknown, expired or revoked.",
    403: "The token lacks a grant.",
    404: "There is no such thing, or it is invisible to the token.",
    405: "The path exists, the method does not.",
    409: "The present state forbids it.",
    412: "If-Match named a generation that is no longer the newest.",
    413: "The body is too large.",
    429: "Too many requests, or too many failed authentications; Retry-After and `retry_after` say when to come back.",
    503: "The control plane cannot do it now; Retry-After says when to come back.",
}


_FORMS = {"KeystoreBody": "KeystoreForm", "CertificateBody": "CertificateForm"}
"""Bodies that may also be sent as a form."""


class Card(Protocol):
    """What of a route stands in the description; see `mooring.api.routes.RouteCard`."""

    method: str
    path: str
    summary: str
    tag: str
    answers: str
    body: type[BaseModel] | str | None
    public: bool
    hidden: bool
    query: tuple[str, ...]
    errors: tuple[int, ...]


def describe(registry: Registry, routes: Iterable[Any], version: str) -> dict[str, Any]:
    """The whole description."""
    schemas = _shared_schemas()
    for card in registry:
        _add_type(schemas, card)
    schemas["Connection"] = {
        "oneOf": [{"$ref": f"{_REF}{_body_name(card)}"} for card in registry],
        "discriminator": {
            "propertyName": "type",
            "mapping": {card.name: f"{_REF}{_body_name(card)}" for card in registry},
        },
    }
    paths: dict[str, Any] = {}
    for route in routes:
        if not route.hidden:
            path = (
                route.path
                if route.path.endswith(("}", "token", "healthcheck", "z"))
                and not any(
                    noun in route.path for noun in ("connections", "keystores", "certificates", "environmentVariables")
                )
                else f"{route.path}/"
            )
            paths.setdefault(path, {})[route.method.lower()] = _operation(
                route, schemas, [card.name for card in registry]
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mooring",
            "version": version,
            "description": "A control plane for connections. Paths are served with and without the trailing slash.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A personal API access token."}
            },
        },
        "security": [{"token": []}],
    }


def _operation(route: Any, schemas: dict[str, Any], types: list[str]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_path_parameters(route.path, types), *(_query(name, types) for name in route.query)],
        "responses": {"200": _answer(route.answers)},
    }
    if route.answers in ("mutation", "material"):
        operation["parameters"] += _mutation_headers(route.method)
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body, schemas)
    if route.public:
        operation["security"] = []
    errors = {
        *route.errors,
        *(() if route.public else (401, 403, 429)),
        *((413, 503) if route.body or route.answers in ("mutation", "material") else ()),
    }
    if route.answers == "token":
        errors |= {401, 429}
    for status in sorted(errors | {400}):
        shape = "Status" if route.answers == "status" and status == 503 else "Error"
        operation["responses"][str(status)] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": {"$ref": _REF + shape}}},
        }
    return operation


def _request_body(body: type[BaseModel] | str, schemas: dict[str, Any]) -> dict[str, Any]:
    if body in ("connection", "draft"):
        return {
            "required": body == "connection",
            "content": {"application/json": {"schema": {"$ref": f"{_REF}Connection"}}},
            "description": "Left out, the stored settings are tested. As on PUT, a secret that is left out stays as it is."
            if body == "draft"
            else "On PUT, a required key that is left out stays as it is; a secret that is left out or null"
            " stays too, and an empty one is cleared.",
        }
    if body == "form":
        return {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": {"$ref": f"{_REF}Credentials"}}},
        }
    if body == "keystore form":
        form = {"multipart/form-data": {"schema": {"$ref": f"{_REF}KeystoreForm"}}}
        return {"required": True, "content": form}
    assert isinstance(body, type)
    _add_model(schemas, body)
    content = {"application/json": {"schema": {"$ref": _REF + body.__name__}}}
    if body.__name__ in _FORMS:
        content["multipart/form-data"] = {"schema": {"$ref": _REF + _FORMS[body.__name__]}}
    return {"required": True, "content": content}


def _path_parameters(path: str, types: list[str]) -> list[dict[str, Any]]:
    known = {**_PATH, "type": {"schema": {"enum": types}, "description": "A connection type; case does not matter."}}
    return [{"name": name, "in": "path", "required": True, **known[name]} for name in re.findall(r"{(\w+)}", path)]


def _query(name: str, types: list[str]) -> dict[str, Any]:
    known = {**_QUERY, "type": {"schema": {"enum": types}, "description": "Only connections of this type."}}
    return {"name": name, "in": "query", "required": False, **known[name]}


def _mutation_headers(method: str) -> list[dict[str, Any]]:
    headers = [
        {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
         "description": "A repeated request with the same key has one effect and the same answer, for 24 hours."},
    ]  # fmt: skip
    if method != "POST":
        headers.append(
            {"name": "If-Match", "in": "header", "required": False, "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
             "description": "The ETag of a GET: refuse with 412 where the connection has changed since."}
        )  # fmt: skip
    return headers


def _answer(shape: str) -> dict[str, Any]:
    if shape == "text":
        return {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    if shape == "lines":
        return {"description": "Done.", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
    if shape == "zip":
        return {
            "description": "Done.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    names = {
        "done": "Done", "mutation": "Mutation", "connections": "ConnectionList", "objects": "ObjectList", "token": "AccessToken",
        "status_list": "StatusList", "status": "Status", "created": "Created", "test": "Test",
        "material": "MaterialMutation", "keystores": "KeystoreList", "certificates": "CertificateList",
        "variables": "VariableList",
    }  # fmt: skip
    return {"description": "Done.", "content": {"application/json": {"schema": {"$ref": _REF + names[shape]}}}}


def _add_type(schemas: dict[str, Any], card: ConnectionType) -> None:
    schema = _moved(card.schema, schemas)
    common = _moved(CommonFields.model_json_schema(by_alias=True), schemas)["properties"]
    required = schema.get("required", [])
    for site in card.config.SECRET_SITES:
        if isinstance(site, NamedEntries):
            entry = schemas[schema["properties"][site.field]["items"]["$ref"].removeprefix(_REF)]["properties"]
            entry[site.value_key] = _or_null(entry[site.value_key])
    schemas[_body_name(card)] = {
        "type": "object",
        "title": card.title,
        "description": card.config.__doc__ or card.title,
        "additionalProperties": False,
        "properties": {
            "type": {"const": card.name, "description": "The type of connection."},
            "name": {**_NAME_SCHEMA, "description": "The name, as in the path; case does not matter."},
            **{
                # A secret is null on read, and null keeps it on PUT.
                key: _or_null(value) if key not in required or value.get("x-secret") else value
                for key, value in {**common, **schema["properties"]}.items()
            },
            **{key: {"description": "As a GET prints it; ignored in requests."} for key in sorted(RESPONSE_KEYS)},
        },
        "required": ["type", "name", *required],
        "examples": [card.example],
    }  # fmt: skip


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema*, or null, which is the same as leaving the key out."""
    branches = schema.get("anyOf")
    if branches is not None:
        return schema if {"type": "null"} in branches else {**schema, "anyOf": [*branches, {"type": "null"}]}
    if isinstance(schema.get("type"), str) and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _add_model(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schemas[model.__name__] = _moved(model.model_json_schema(by_alias=True), schemas)


def _moved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """*schema* with its local definitions moved to the shared ones."""
    schema = _repointed(schema)
    for name, definition in schema.pop("$defs", {}).items():
        schemas[name] = definition
    return schema


def _repointed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item.replace("#/$defs/", _REF) if key == "$ref" and isinstance(item, str) else _repointed(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_repointed(item) for item in value]
    return value


def _body_name(card: ConnectionType) -> str:
    return card.config.__name__.removesuffix("Config") + "Connection"


def _shared_schemas() -> dict[str, Any]:
    problem = {
        "type": "object",
        "properties": {"path": {"type": "string"}, "code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["path", "code", "message"],
    }
    environment_result = {
        "type": "object",
        "properties": {
            "environmentName": {"type": "string"}, "success": {"type": "boolean"}, "state": {"$ref": f"{_REF}DeploymentState"},
            "revision": {"type": ["integer", "null"]}, "message": {"type": "string"},
            "workers": {"type": "object", "additionalProperties": {"type": "integer"}},
            "failures": {"type": "array", "items": {"type": "object"}}, "furtherFailures": {"type": "integer"},
        },
        "required": ["environmentName", "success", "state", "message"],
    }  # fmt: skip
    deployment_result = {
        "type": "object",
        "properties": {
            "success": {"type": "boolean"}, "state": {"$ref": f"{_REF}DeploymentState"}, "deploymentId": {"type": "string"},
            "generation": {"type": "integer"}, "message": {"type": "string"},
            "deploymentResults": {"type": "array", "items": {"$ref": f"{_REF}EnvironmentResult"}},
            "warnings": {"type": "array", "items": {"$ref": f"{_REF}Problem"}},
        },
        "required": ["success"],
    }  # fmt: skip
    text, moment = {"type": "string"}, {"type": "string", "format": "date-time"}
    common = {
        "type": text, "name": text, "description": {"type": ["string", "null"]}, "deployToWorker": {"type": "boolean"},
        "enabled": {"type": "boolean"}, "projectName": text, "id": text, "generation": {"type": "integer", "minimum": 1},
        "createdAt": moment, "updatedAt": moment, "warnings": {"type": "array", "items": {"$ref": f"{_REF}Problem"}},
        "secretFields": {"type": "object", "additionalProperties": {"$ref": f"{_REF}SecretState"}},
        "uses": {"type": "array", "items": {"$ref": f"{_REF}Use"}},
    }  # fmt: skip
    stored = {
        "type": "object",
        "description": "A connection as it is stored: what every one has, and beside it the fields of its type; secrets are null.",
        "properties": common,
        "required": sorted(set(common) - {"uses"}),
    }
    step = {
        "type": "object",
        "properties": {
            "step": text, "state": {"enum": ["passed", "failed", "skipped", "unknown"]}, "tookMs": {"type": "number"},
            "code": _or_null(text), "message": _or_null(text), "remedy": _or_null(text),
        },
        "required": ["step", "state", "tookMs"],
    }  # fmt: skip
    test_result = {
        "type": "object",
        "description": "Whether it works, from which worker that was seen, and step by step how far it came.",
        "properties": {
            "success": {"type": "boolean"}, "message": text, "environmentName": _or_null(text), "workerName": _or_null(text),
            "tookMs": _or_null({"type": "number"}), "reason": _or_null(text), "steps": {"type": "array", "items": {"$ref": f"{_REF}Step"}},
        },
        "required": ["success", "message", "steps"],
    }  # fmt: skip
    listed = {"success": {"type": "boolean"}, "resultCount": {"type": "integer", "minimum": 0}}
    return {
        "Error": {
            "type": "object",
            "properties": {
                "error": {"type": "string"}, "error_description": {"type": "string"},
                "errors": {"type": "array", "items": {"$ref": f"{_REF}Problem"}},
                "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds; with 429 only."},
            },
            "required": ["error", "error_description"],
            "additionalProperties": False,
        },
        "Problem": problem,
        "SecretState": {
            "type": "object",
            "description": "Whether a secret is set, since when, and four digits that change when it does.",
            "properties": {"set": {"type": "boolean"}, "updatedAt": moment, "fingerprint": text},
            "required": ["set"],
        },
        "DeploymentState": {"enum": ["SUCCEEDED", "PARTIAL", "FAILED", "PENDING", "NO_WORKERS", "DEADLINE_EXCEEDED"]},
        "EnvironmentResult": environment_result,
        "DeploymentResult": deployment_result,
        "Mutation": {
            "type": "object",
            "properties": {"success": {"const": True}, "deploymentResult": {"$ref": f"{_REF}DeploymentResult"}},
            "required": ["success"],
        },
        "Step": step,
        "TestResult": test_result,
        "Test": {
            "type": "object",
            "properties": {"success": {"const": True}, "deploymentResult": {"$ref": f"{_REF}TestResult"}},
            "required": ["success", "deploymentResult"],
        },
        "StoredConnection": stored,
        "ConnectionList": {
            "type": "object",
            "properties": {**listed, "resultList": {"type": "array", "items": {"$ref": f"{_REF}StoredConnection"}}, "nextCursor": {"type": ["string", "null"]}},
            "required": ["success", "resultList", "resultCount"],
        },
        **_material_schemas(listed, text, moment),
        "ObjectList": {
            "type": "object",
            "properties": {**listed, "resultList": {"type": "array", "items": {"type": "object"}}},
            "required": ["success", "resultList", "resultCount"],
        },
        "StatusList": {
            "type": "object",
            "properties": {"status": {"const": "SUCCESS"}, "resultList": {"type": "array", "items": {"type": "object"}}, "resultCount": {"type": "integer"}},
            "required": ["status", "resultList", "resultCount"],
        },
        "Done": {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]},
        "Created": {"type": "object", "properties": {"success": {"const": True}, "token": {"type": "string"}}, "required": ["success", "token"]},
        "Status": {"type": "object", "properties": {"status": {"type": "string"}, "reason": {"type": "string"}}, "required": ["status"]},
        "Credentials": {
            "type": "object",
            "properties": {"grant_type": {"const": "client_credentials"}, "client_id": {"type": "string"}, "client_secret": {"type": "string"}},
            "required": ["grant_type", "client_id", "client_secret"],
        },
        "AccessToken": {
            "type": "object",
            "properties": {"access_token": {"type": "string"}, "token_type": {"const": "Bearer"}, "expires_in": {"type": "integer"}},
            "required": ["access_token", "token_type", "expires_in"],
        },
    }  # fmt: skip


def _material_schemas(listed: dict[str, Any], text: dict[str, Any], moment: dict[str, Any]) -> dict[str, Any]:
    """Keystores and certificates."""
    maybe, names = _or_null(text), {"type": "array", "items": text}
    certificate = {
        "subjectDn": text, "issuerDn": text, "serialNumber": text, "subjectAlternativeNames": names, "algorithm": text,
        "sha1Thumbprint": text, "sha256Thumbprint": text,
    }  # fmt: skip
    entry = {
        "type": "object",
        "description": "One entry of a keystore: its certificate, and for a key those that issued it.",
        "properties": {
            "alias": text, "kind": {"enum": ["key", "certificate"]}, "used": {"type": "boolean"}, **certificate,
            "notBefore": moment, "notAfter": moment,
            "chain": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["alias", "kind", "used"],
    }  # fmt: skip
    in_environment = {
        "type": "object",
        "properties": {
            "environmentName": text, "type": text, "keyStoreType": text, "alias": maybe, "file": {"type": "null"},
            "password": {"type": "null"}, "expiresAt": _or_null(moment), "entryCount": {"type": "integer"},
            "entries": {"type": "array", "items": {"$ref": f"{_REF}KeystoreEntry"}},
        },
        "required": ["environmentName", "type"],
    }  # fmt: skip
    about = {
        "name": text, "description": maybe, "projectId": text, "projectName": text, "id": text,
        "generation": {"type": "integer", "minimum": 1}, "createdAt": moment, "updatedAt": moment,
    }  # fmt: skip
    certified = {
        "type": "object",
        "properties": {
            "environmentName": text, "startDate": moment, "endDate": moment, "base64EncodedContent": maybe, "alias": maybe,
            **certificate,
        },
        "required": ["environmentName", "startDate", "endDate", "subjectDn"],
    }  # fmt: skip

    def list_of(name: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                **listed, "resultList": {"type": "array", "items": {"$ref": _REF + name}}, "nextCursor": maybe,
            },
            "required": ["success", "resultList", "resultCount"],
        }  # fmt: skip

    result = {
        "type": "object",
        "description": "What came of the change for the connections that use it, in each environment.",
        "properties": {
            "success": {"type": "boolean"}, "message": text, "state": {"$ref": f"{_REF}DeploymentState"},
            "generation": {"type": "integer"}, "warnings": {"type": "array", "items": {"$ref": f"{_REF}Problem"}},
            "environmentResults": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "environmentName": text, "success": {"type": "boolean"}, "message": text,
                        "state": {"$ref": f"{_REF}DeploymentState"},
                        "failures": {"type": "array", "items": {"type": "object"}}, "furtherFailures": {"type": "integer"},
                    },
                    "required": ["environmentName", "success", "message"],
                },
            },
        },
        "required": ["success", "message", "environmentResults"],
    }  # fmt: skip
    binary = {"type": "string", "format": "binary"}
    return {
        "Use": {
            "type": "object",
            "description": "A keystore, certificate or variable that a connection uses, and the field that names it.",
            "properties": {"field": text, "kind": {"enum": ["keystore", "certificate", "variable"]}, "name": text},
            "required": ["field", "kind", "name"],
        },
        "Variable": {
            "type": "object",
            "properties": {
                **about, "global": {"type": "boolean"}, "globalValue": maybe, "globalVisible": {"type": "boolean"},
                "environmentValueList": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "environmentName": text, "value": maybe, "visible": {"type": "boolean"},
                            "set": {"type": "boolean", "description": "Whether there is a value, shown or not."},
                        },
                        "required": ["environmentName", "value", "visible"],
                    },
                },
            },
            "required": ["name", "projectName", "global", "globalValue", "globalVisible", "environmentValueList"],
        },
        "VariableList": list_of("Variable"),
        "KeystoreEntry": entry,
        "KeystoreInEnvironment": in_environment,
        "Keystore": {
            "type": "object",
            "properties": {
                **about, "keyStoreEnvironmentList": {"type": "array", "items": {"$ref": f"{_REF}KeystoreInEnvironment"}},
            },
            "required": ["name", "keyStoreEnvironmentList"],
        },
        "KeystoreList": list_of("Keystore"),
        "KeystoreForm": {
            "type": "object",
            "properties": {
                "keystoreName": text, "keystoreDescription": text, "keystoreFile": binary, "password": text,
                "keyStoreType": {"enum": ["JKS", "PKCS12", "PEM"]}, "alias": text, "environmentList": text, "override": text,
            },
        },
        "CertificateInEnvironment": certified,
        "Certificate": {
            "type": "object",
            "properties": {
                **about, "certificateEnvironmentList": {"type": "array", "items": {"$ref": f"{_REF}CertificateInEnvironment"}},
            },
            "required": ["name", "certificateEnvironmentList"],
        },
        "CertificateList": list_of("Certificate"),
        "CertificateForm": {
            "type": "object",
            "properties": {
                "certificateName": text, "alias": text, "certificateDescription": text, "environmentList": text,
                "pemEncodedFile": binary,
            },
        },
        "MaterialResult": result,
        "MaterialMutation": {
            "type": "object",
            "properties": {"success": {"const": True}, "deploymentResult": {"$ref": f"{_REF}MaterialResult"}},
            "required": ["success", "deploymentResult"],
        },
    }  # fmt: skip
