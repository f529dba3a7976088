"""Every route, on one page. Deny by default: a route needs a token unless it says `public`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mooring.api import connections, data_keys, materials, platform, variables
from mooring.wire.bodies import EnrolmentBody, EnvironmentBody, EnvironmentChange, ProjectBody, TokenBody
from mooring.wire.frames import Enrolment
from mooring.wire.materials import CertificateBody, KeystoreBody
from mooring.wire.variables import VariableBody

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class RouteCard:
    """
    One method on one path, and what the API description says of it.

    `body` is the model of the request, or "connection" for the union of all types. `answers` names the shape of
    the 200: see `mooring.wire.openapi`. `query` are parameters: name to description. `max_body` is in bytes, where it
    is more than the usual.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: str = "done"
    body: type[BaseModel] | str | None = None
    public: bool = False
    hidden: bool = False
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    max_body: int | None = None


_PROJECT = "/apiops/projects/{project}"
_CONNECTIONS = f"{_PROJECT}/connections"
_CONNECTION = f"{_CONNECTIONS}/{{name}}"
_KEYSTORES = f"{_PROJECT}/keystores"
_CERTIFICATES = f"{_PROJECT}/certificates"
_VARIABLES = f"{_PROJECT}/environmentVariables"
_MUTATION = ("waitSeconds",)
_PAGING = ("page", "size", "sort", "cursor", "limit")
_UPLOAD = 4 * 1024 * 1024
"""Files of 512 KiB in base64, for several environments at once."""


ROUTES: tuple[RouteCard, ...] = (
    RouteCard("GET", _CONNECTION, connections.get, "Get a connection", "Connections", "connections", errors=(400, 404)),
    RouteCard("POST", _CONNECTION, connections.create, "Create a connection", "Connections", "mutation", "connection", query=_MUTATION, errors=(400, 404, 409)),
    RouteCard("PUT", _CONNECTION, connections.update, "Update or rename a connection", "Connections", "mutation", "connection", query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("DELETE", _CONNECTION, connections.delete, "Delete a connection", "Connections", "mutation", query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("GET", _CONNECTIONS, connections.find, "List connections", "Connections", "connections", query=("type", "page", "size", "sort", "cursor", "limit"), errors=(400, 404)),
    RouteCard("POST", f"{_CONNECTION}/test", connections.test, "Test a connection, stored or as the body says, from a worker", "Connections", "test", "draft", query=("environmentName", "worker"), errors=(400, 404)),
    RouteCard("GET", f"{_CONNECTION}/deployments", connections.deployments, "Deployments of a connection", "Connections", "objects", query=("limit",), errors=(400, 404)),
    RouteCard("GET", f"{_CONNECTION}/deployments/{{deployment}}", connections.deployment, "One deployment", "Connections", "objects", errors=(404,)),
    RouteCard("GET", _KEYSTORES, materials.find_keystores, "List keystores and truststores", "Keystores", "keystores", query=_PAGING, errors=(400, 404)),
    RouteCard("POST", _KEYSTORES, materials.create_keystore, "Create a keystore or truststore", "Keystores", "material", KeystoreBody, query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD),
    RouteCard("POST", f"{_KEYSTORES}/import-file", materials.import_keystore, "Create a keystore from a form with a file", "Keystores", "material", "keystore form", query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD),
    RouteCard("GET", f"{_KEYSTORES}/{{name}}", materials.get_keystore, "Get a keystore, without what is private", "Keystores", "keystores", errors=(400, 404)),
    RouteCard("PUT", f"{_KEYSTORES}/{{name}}", materials.update_keystore, "Update or rename a keystore", "Keystores", "material", KeystoreBody, query=_MUTATION, errors=(400, 404, 409, 412), max_body=_UPLOAD),
    RouteCard("DELETE", f"{_KEYSTORES}/{{name}}", materials.delete_keystore, "Delete a keystore", "Keystores", "material", query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("GET", _CERTIFICATES, materials.find_certificates, "List certificates", "Certificates", "certificates", query=_PAGING, errors=(400, 404)),
    RouteCard("POST", _CERTIFICATES, materials.create_certificate, "Create a certificate", "Certificates", "material", CertificateBody, query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}", materials.get_certificate, "Get a certificate", "Certificates", "certificates", errors=(400, 404)),
    RouteCard("PUT", f"{_CERTIFICATES}/{{name}}", materials.update_certificate, "Update a certificate", "Certificates", "material", CertificateBody, query=_MUTATION, errors=(400, 404, 409, 412), max_body=_UPLOAD),
    RouteCard("DELETE", f"{_CERTIFICATES}/{{name}}", materials.delete_certificate, "Delete a certificate", "Certificates", "material", query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}/export", materials.export_certificate, "The certificate of each environment, as a ZIP file", "Certificates", "zip", errors=(400, 404)),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}/export-file", materials.export_certificate, "The same under its newer name", "Certificates", "zip", errors=(400, 404)),
    RouteCard("GET", _VARIABLES, variables.find, "List environment variables", "Environment variables", "variables", query=_PAGING, errors=(400, 404)),
    RouteCard("POST", f"{_VARIABLES}/{{name}}", variables.create, "Create an environment variable", "Environment variables", "material", VariableBody, query=_MUTATION, errors=(400, 404, 409)),
    RouteCard("GET", f"{_VARIABLES}/{{name}}", variables.get, "Get an environment variable", "Environment variables", "variables", errors=(400, 404)),
    RouteCard("PUT", f"{_VARIABLES}/{{name}}", variables.update, "Update or rename an environment variable", "Environment variables", "material", VariableBody, query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("DELETE", f"{_VARIABLES}/{{name}}", variables.delete, "Delete an environment variable", "Environment variables", "material", query=_MUTATION, errors=(400, 404, 409, 412)),
    RouteCard("GET", "/apiops/connection-types", connections.types, "Connection types", "Connection types", "objects"),
    RouteCard("GET", "/apiops/connection-types/{type}", connections.one_type, "One connection type, with its JSON Schema", "Connection types", "objects", errors=(400,)),
    RouteCard("POST", "/apiops/auth/token", platform.exchange, "Exchange credentials for a token", "Tokens", "token", "form", public=True, errors=(400,)),
    RouteCard("GET", "/apiops/tokens", platform.tokens, "List tokens", "Tokens", "objects"),
    RouteCard("POST", "/apiops/tokens", platform.create_token, "Create a token", "Tokens", "created", TokenBody, errors=(400, 404)),
    RouteCard("DELETE", "/apiops/tokens/{token}", platform.revoke_token, "Revoke a token", "Tokens", errors=(404,)),
    RouteCard("GET", "/apiops/projects", platform.projects, "List projects", "Projects", "status_list"),
    RouteCard("GET", _PROJECT, platform.project, "Get a project", "Projects", "objects", errors=(404,)),
    RouteCard("POST", _PROJECT, platform.create_project, "Create a project", "Projects", body=ProjectBody, errors=(400,)),
    RouteCard("DELETE", _PROJECT, platform.delete_project, "Delete a project", "Projects", errors=(404, 409)),
    RouteCard("GET", f"{_PROJECT}/environments", platform.environments_of_project, "Environments of a project", "Environments", "objects", errors=(400,)),
    RouteCard("GET", "/apiops/environments", platform.environments, "List environments", "Environments", "objects"),
    RouteCard("GET", "/apiops/environments/{name}", platform.environments_of_project, "Environments of a project", "Environments", "objects", errors=(400,)),
    RouteCard("POST", "/apiops/environments/{name}", platform.create_environment, "Create an environment", "Environments", body=EnvironmentBody, errors=(400,)),
    RouteCard("PUT", "/apiops/environments/{name}", platform.update_environment, "Update or rename an environment", "Environments", body=EnvironmentChange, errors=(400, 404)),
    RouteCard("DELETE", "/apiops/environments/{name}", platform.delete_environment, "Delete an environment", "Environments", errors=(404,)),
    RouteCard("GET", "/apiops/environments/{name}/status", platform.environment_status, "An environment and its workers", "Environments", "objects", errors=(404,)),
    RouteCard("GET", "/apiops/workers", platform.workers, "List workers", "Workers", "objects", query=("environmentName",), errors=(404,)),
    RouteCard("POST", "/apiops/workers/enrolments", platform.create_enrolment, "A one-time token for a new worker", "Workers", "created", EnrolmentBody, errors=(400, 404)),
    RouteCard("DELETE", "/apiops/workers/{worker}", platform.forget_worker, "Forget a worker", "Workers", errors=(404,)),
    RouteCard("GET", "/apiops/data-keys", data_keys.find, "The keys that secrets are sealed with: their states and counts", "Data keys", "objects"),
    RouteCard("POST", "/apiops/data-keys/rotate", data_keys.rotate, "Seal with a new data key, and destroy the old one when nothing is left under it", "Data keys", "objects"),
    RouteCard("GET", "/apiops/audit", platform.audit, "Newest audit entries", "Audit", "objects", query=("limit",), errors=(400,)),
    RouteCard("GET", "/apiops/test/healthcheck", platform.healthcheck, "Whether the API answers", "Health", "text", public=True),
    RouteCard("GET", "/apiops/test/hello/{word}", platform.hello, "Whether a token works", "Health", "text"),
    RouteCard("GET", "/healthz", platform.healthz, "Whether this process runs", "Health", "status", public=True),
    RouteCard("GET", "/readyz", platform.readyz, "Whether this node can serve", "Health", "status", public=True, errors=(503,)),
    RouteCard("POST", "/worker/v1/enrol", platform.enrol, "Enrol a worker", "Workers", body=Enrolment, public=True, hidden=True),
)  # fmt: skip
