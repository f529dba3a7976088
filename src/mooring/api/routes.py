"""Every route, on one page. Deny by default: a route says what it demands, and one that does not is no route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from mooring.api import audit, connections, data_keys, materials, people, platform, variables
from mooring.api.demands import (
    ANY_TOKEN,
    PUBLIC,
    Demand,
    carried,
    everywhere,
    everywhere_from,
    in_project,
    on_connection,
)
from mooring.wire.bodies import EnrolmentBody, EnvironmentBody, EnvironmentChange, ProjectBody, TokenBody
from mooring.wire.frames import Enrolment
from mooring.wire.materials import CertificateBody, KeystoreBody
from mooring.wire.people import PasswordBody, ShareBody, UserBody, UserChange
from mooring.wire.variables import VariableBody

Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class RouteCard:
    """
    One method on one path, and what the API description says of it.

    `body` is the model of the request, or "connection" for the union of all types. `answers` names the shape of
    the 200: see `mooring.wire.openapi`. `query` are parameters: name to description. `max_body` is in bytes, where it
    is more than the usual. `demands` is what whoever asks must hold.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: str = "done"
    body: type[BaseModel] | str | None = None
    hidden: bool = False
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    max_body: int | None = None
    demands: Demand = field(kw_only=True)

    @property
    def public(self) -> bool:
        """Whether it is answered without a token."""
        return self.demands is PUBLIC


_PROJECT = "/apiops/projects/{project}"
_CONNECTIONS = f"{_PROJECT}/connections"
_CONNECTION = f"{_CONNECTIONS}/{{name}}"
_KEYSTORES = f"{_PROJECT}/keystores"
_CERTIFICATES = f"{_PROJECT}/certificates"
_VARIABLES = f"{_PROJECT}/environmentVariables"
_MUTATION = ("waitSeconds",)
_PAGING = ("page", "size", "sort", "cursor", "limit")
_AUDIT_FILTERS = ("projectName", "actor", "action", "noun", "nounId", "name", "requestId", "from", "to")
_UPLOAD = 4 * 1024 * 1024
"""Files of 512 KiB in base64, for several environments at once."""

_VIEW, _MANAGE = on_connection("connections:view"), on_connection("connections:manage")
_SECRETS_VIEW, _SECRETS_MANAGE = (
    in_project("connections:view", "secrets"),
    in_project("connections:manage", "secrets"),
)
_CERTIFICATES_VIEW = in_project("certificates:view", "secrets")
_CERTIFICATES_MANAGE = in_project("certificates:manage", "secrets")


ROUTES: tuple[RouteCard, ...] = (
    RouteCard("GET", _CONNECTION, connections.get, "Get a connection", "Connections", "connections", errors=(400, 404), demands=_VIEW),
    RouteCard("POST", _CONNECTION, connections.create, "Create a connection", "Connections", "mutation", "connection", query=_MUTATION, errors=(400, 404, 409), demands=in_project("connections:manage")),
    RouteCard("PUT", _CONNECTION, connections.update, "Update or rename a connection", "Connections", "mutation", "connection", query=_MUTATION, errors=(400, 404, 409, 412), demands=_MANAGE),
    RouteCard("DELETE", _CONNECTION, connections.delete, "Delete a connection", "Connections", "mutation", query=_MUTATION, errors=(400, 404, 409, 412), demands=_MANAGE),
    RouteCard("GET", _CONNECTIONS, connections.find, "List connections", "Connections", "connections", query=("type", "page", "size", "sort", "cursor", "limit"), errors=(400, 404), demands=_VIEW),
    RouteCard("POST", f"{_CONNECTION}/test", connections.test, "Test a connection, stored or as the body says, from a worker", "Connections", "test", "draft", query=("environmentName", "worker"), errors=(400, 404), demands=on_connection("connections:test")),
    RouteCard("GET", f"{_CONNECTION}/deployments", connections.deployments, "Deployments of a connection", "Connections", "objects", query=("limit",), errors=(400, 404), demands=_VIEW),
    RouteCard("GET", f"{_CONNECTION}/deployments/{{deployment}}", connections.deployment, "One deployment", "Connections", "objects", errors=(404,), demands=_VIEW),
    RouteCard("POST", f"{_CONNECTION}/globalize", people.globalize, "Move a connection to the project admin, for every project to use", "Connections", "mutation", errors=(400, 404, 409), demands=everywhere_from("connections:globalize")),
    RouteCard("GET", f"{_CONNECTION}/grants", people.shares, "Who was granted what on a connection", "Connections", "objects", errors=(404,), demands=_MANAGE),
    RouteCard("PUT", f"{_CONNECTION}/grants/users/{{user}}", people.put_share, "Grant a user something on a connection", "Connections", body=ShareBody, errors=(400, 404), demands=_MANAGE),
    RouteCard("DELETE", f"{_CONNECTION}/grants/users/{{user}}", people.delete_share, "Withdraw it", "Connections", errors=(404,), demands=_MANAGE),
    RouteCard("PUT", f"{_CONNECTION}/grants/tokens/{{token}}", people.put_share, "Grant a token something on a connection", "Connections", body=ShareBody, errors=(400, 404), demands=_MANAGE),
    RouteCard("DELETE", f"{_CONNECTION}/grants/tokens/{{token}}", people.delete_share, "Withdraw it", "Connections", errors=(404,), demands=_MANAGE),
    RouteCard("GET", _KEYSTORES, materials.find_keystores, "List keystores and truststores", "Keystores", "keystores", query=_PAGING, errors=(400, 404), demands=_SECRETS_VIEW),
    RouteCard("POST", _KEYSTORES, materials.create_keystore, "Create a keystore or truststore", "Keystores", "material", KeystoreBody, query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD, demands=_SECRETS_MANAGE),
    RouteCard("POST", f"{_KEYSTORES}/import-file", materials.import_keystore, "Create a keystore from a form with a file", "Keystores", "material", "keystore form", query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD, demands=_SECRETS_MANAGE),
    RouteCard("GET", f"{_KEYSTORES}/{{name}}", materials.get_keystore, "Get a keystore, without what is private", "Keystores", "keystores", errors=(400, 404), demands=_SECRETS_VIEW),
    RouteCard("PUT", f"{_KEYSTORES}/{{name}}", materials.update_keystore, "Update or rename a keystore", "Keystores", "material", KeystoreBody, query=_MUTATION, errors=(400, 404, 409, 412), max_body=_UPLOAD, demands=_SECRETS_MANAGE),
    RouteCard("DELETE", f"{_KEYSTORES}/{{name}}", materials.delete_keystore, "Delete a keystore", "Keystores", "material", query=_MUTATION, errors=(400, 404, 409, 412), demands=_SECRETS_MANAGE),
    RouteCard("GET", _CERTIFICATES, materials.find_certificates, "List certificates", "Certificates", "certificates", query=_PAGING, errors=(400, 404), demands=_CERTIFICATES_VIEW),
    RouteCard("POST", _CERTIFICATES, materials.create_certificate, "Create a certificate", "Certificates", "material", CertificateBody, query=_MUTATION, errors=(400, 404, 409), max_body=_UPLOAD, demands=_CERTIFICATES_MANAGE),
    RouteCard("GET", f"{_CERTIFICATES}/expiring", materials.expiring, "Certificates and keystores that run out soon, who uses them, and how those are on workers", "Certificates", "objects", query=("within",), errors=(400, 404), demands=_CERTIFICATES_VIEW),
    RouteCard("GET", "/apiops/certificates/expiring", materials.expiring_everywhere, "The same of all projects", "Certificates", "objects", query=("within",), errors=(400,), demands=everywhere("certificates:view")),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}", materials.get_certificate, "Get a certificate", "Certificates", "certificates", errors=(400, 404), demands=_CERTIFICATES_VIEW),
    RouteCard("PUT", f"{_CERTIFICATES}/{{name}}", materials.update_certificate, "Update a certificate", "Certificates", "material", CertificateBody, query=_MUTATION, errors=(400, 404, 409, 412), max_body=_UPLOAD, demands=_CERTIFICATES_MANAGE),
    RouteCard("DELETE", f"{_CERTIFICATES}/{{name}}", materials.delete_certificate, "Delete a certificate", "Certificates", "material", query=_MUTATION, errors=(400, 404, 409, 412), demands=_CERTIFICATES_MANAGE),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}/export", materials.export_certificate, "The certificate of each environment, as a ZIP file", "Certificates", "zip", errors=(400, 404), demands=_CERTIFICATES_VIEW),
    RouteCard("GET", f"{_CERTIFICATES}/{{name}}/export-file", materials.export_certificate, "The same under its newer name", "Certificates", "zip", errors=(400, 404), demands=_CERTIFICATES_VIEW),
    RouteCard("GET", _VARIABLES, variables.find, "List environment variables", "Environment variables", "variables", query=_PAGING, errors=(400, 404), demands=_SECRETS_VIEW),
    RouteCard("POST", f"{_VARIABLES}/{{name}}", variables.create, "Create an environment variable", "Environment variables", "material", VariableBody, query=_MUTATION, errors=(400, 404, 409), demands=_SECRETS_MANAGE),
    RouteCard("GET", f"{_VARIABLES}/{{name}}", variables.get, "Get an environment variable", "Environment variables", "variables", errors=(400, 404), demands=_SECRETS_VIEW),
    RouteCard("PUT", f"{_VARIABLES}/{{name}}", variables.update, "Update or rename an environment variable", "Environment variables", "material", VariableBody, query=_MUTATION, errors=(400, 404, 409, 412), demands=_SECRETS_MANAGE),
    RouteCard("DELETE", f"{_VARIABLES}/{{name}}", variables.delete, "Delete an environment variable", "Environment variables", "material", query=_MUTATION, errors=(400, 404, 409, 412), demands=_SECRETS_MANAGE),
    RouteCard("GET", "/apiops/connection-types", connections.types, "Connection types", "Connection types", "objects", demands=ANY_TOKEN),
    RouteCard("GET", "/apiops/connection-types/{type}", connections.one_type, "One connection type, with its JSON Schema", "Connection types", "objects", errors=(400,), demands=ANY_TOKEN),
    RouteCard("POST", "/apiops/auth/token", platform.exchange, "Exchange credentials for a token", "Tokens", "token", "form", errors=(400,), demands=PUBLIC),
    RouteCard("GET", "/apiops/tokens", platform.tokens, "List tokens", "Tokens", "objects", demands=ANY_TOKEN),
    RouteCard("POST", "/apiops/tokens", platform.create_token, "Create a token", "Tokens", "created", TokenBody, errors=(400, 404), demands=carried("tokens:manage")),
    RouteCard("DELETE", "/apiops/tokens/{token}", platform.revoke_token, "Revoke a token", "Tokens", errors=(404,), demands=ANY_TOKEN),
    RouteCard("GET", "/apiops/users", people.users, "List users", "Users", "objects", demands=everywhere("users:manage")),
    RouteCard("GET", "/apiops/users/{user}", people.user, "Get a user", "Users", "objects", errors=(404,), demands=everywhere("users:manage")),
    RouteCard("POST", "/apiops/users/{user}", people.create_user, "Create a user", "Users", body=UserBody, errors=(400,), demands=everywhere("users:manage")),
    RouteCard("PUT", "/apiops/users/{user}", people.update_user, "Change a user: roles, password, whether disabled", "Users", body=UserChange, errors=(400, 404), demands=everywhere("users:manage")),
    RouteCard("DELETE", "/apiops/users/{user}", people.delete_user, "Delete a user, and revoke their tokens", "Users", errors=(404,), demands=everywhere("users:manage")),
    RouteCard("GET", "/apiops/roles", people.roles, "The roles, and what they give", "Users", "objects", demands=ANY_TOKEN),
    RouteCard("GET", "/apiops/account", people.account, "Who the token says that one is", "Users", "objects", demands=ANY_TOKEN),
    RouteCard("PUT", "/apiops/account/password", people.change_password, "Change one's own password", "Users", body=PasswordBody, errors=(400,), demands=ANY_TOKEN),
    RouteCard("GET", "/apiops/projects", platform.projects, "List projects", "Projects", "status_list", demands=ANY_TOKEN),
    RouteCard("GET", _PROJECT, platform.project, "Get a project", "Projects", "objects", errors=(404,), demands=in_project()),
    RouteCard("POST", _PROJECT, platform.create_project, "Create a project", "Projects", body=ProjectBody, errors=(400,), demands=everywhere("projects:manage")),
    RouteCard("DELETE", _PROJECT, platform.delete_project, "Delete a project", "Projects", errors=(404, 409), demands=in_project("projects:manage")),
    RouteCard("GET", f"{_PROJECT}/environments", platform.environments_of_project, "Environments of a project", "Environments", "objects", errors=(400,), demands=in_project(family="environments")),
    RouteCard("GET", "/apiops/environments", platform.environments, "List environments", "Environments", "objects", demands=ANY_TOKEN),
    RouteCard("GET", "/apiops/environments/{name}", platform.environments_of_project, "Environments of a project", "Environments", "objects", errors=(400,), demands=in_project(family="environments")),
    RouteCard("POST", "/apiops/environments/{name}", platform.create_environment, "Create an environment", "Environments", body=EnvironmentBody, errors=(400,), demands=everywhere("environments:manage")),
    RouteCard("PUT", "/apiops/environments/{name}", platform.update_environment, "Update or rename an environment", "Environments", body=EnvironmentChange, errors=(400, 404), demands=everywhere("environments:manage")),
    RouteCard("DELETE", "/apiops/environments/{name}", platform.delete_environment, "Delete an environment", "Environments", errors=(404,), demands=everywhere("environments:manage")),
    RouteCard("GET", "/apiops/environments/{name}/status", platform.environment_status, "An environment and its workers", "Environments", "objects", errors=(404,), demands=everywhere("environments:view")),
    RouteCard("GET", "/apiops/workers", platform.workers, "List workers", "Workers", "objects", query=("environmentName",), errors=(404,), demands=everywhere("workers:view")),
    RouteCard("POST", "/apiops/workers/enrolments", platform.create_enrolment, "A one-time token for a new worker", "Workers", "created", EnrolmentBody, errors=(400, 404), demands=everywhere("workers:manage")),
    RouteCard("DELETE", "/apiops/workers/{worker}", platform.forget_worker, "Forget a worker", "Workers", errors=(404,), demands=everywhere("workers:manage")),
    RouteCard("GET", "/apiops/data-keys", data_keys.find, "The keys that secrets are sealed with: their states and counts", "Data keys", "objects", demands=everywhere("seal:manage")),
    RouteCard("POST", "/apiops/data-keys/rotate", data_keys.rotate, "Seal with a new data key, and destroy the old one when nothing is left under it", "Data keys", "objects", demands=everywhere("seal:manage")),
    RouteCard("GET", "/apiops/audit", audit.find, "Audit entries, newest first", "Audit", "objects", query=(*_AUDIT_FILTERS, "before", "limit"), errors=(400, 404), demands=carried("audit:view")),
    RouteCard("GET", "/apiops/audit/export", audit.export, "A copy of the audit, in lines of JSON, oldest first", "Audit", "lines", query=_AUDIT_FILTERS, errors=(400, 404), demands=carried("audit:view")),
    RouteCard("GET", "/apiops/audit/head", audit.head, "Where the chain of the audit ends", "Audit", "objects", demands=everywhere("audit:view")),
    RouteCard("GET", "/apiops/test/healthcheck", platform.healthcheck, "Whether the API answers", "Health", "text", demands=PUBLIC),
    RouteCard("GET", "/apiops/test/hello/{word}", platform.hello, "Whether a token works", "Health", "text", demands=ANY_TOKEN),
    RouteCard("GET", "/healthz", platform.healthz, "Whether this process runs", "Health", "status", demands=PUBLIC),
    RouteCard("GET", "/readyz", platform.readyz, "Whether this node can serve", "Health", "status", errors=(503,), demands=PUBLIC),
    RouteCard("POST", "/worker/v1/enrol", platform.enrol, "Enrol a worker", "Workers", body=Enrolment, hidden=True, demands=PUBLIC),
)  # fmt: skip
