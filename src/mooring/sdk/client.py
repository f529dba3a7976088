"""The control plane's API as Python calls, for sync and for async programs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx2

from mooring import errors
from mooring.kit.tls import check_url, control_context

TIMEOUT_S = 45.0

_BY_STATUS: dict[int, type[errors.MooringError]] = {
    400: errors.BadRequest,
    401: errors.NotAuthenticated,
    403: errors.NotPermitted,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    413: errors.TooLarge,
    503: errors.Unavailable,
}


class _Calls:
    """What can be asked. Every call answers the body of the reply, and raises `MooringError`."""

    def _send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError

    def create_connection(self, project: str, body: dict[str, Any], *, wait_seconds: float | None = None) -> Any:
        """Create the connection that *body* describes."""
        return self._send("POST", _connection(project, body["name"]), body, _wait(wait_seconds))

    def get_connection(self, project: str, name: str) -> Any:
        return self._send("GET", _connection(project, name))

    def list_connections(self, project: str, type_name: str | None = None) -> Any:
        return self._send(
            "GET", f"/apiops/projects/{_part(project)}/connections/", None, {"type": type_name} if type_name else None
        )

    def update_connection(
        self, project: str, name: str, body: dict[str, Any], *, wait_seconds: float | None = None
    ) -> Any:
        return self._send("PUT", _connection(project, name), body, _wait(wait_seconds))

    def delete_connection(self, project: str, name: str, *, wait_seconds: float | None = None) -> Any:
        return self._send("DELETE", _connection(project, name), None, _wait(wait_seconds))

    def test_connection(
        self,
        project: str,
        name: str,
        draft: dict[str, Any] | None = None,
        *,
        environment: str | None = None,
        worker: str | None = None,
    ) -> Any:
        """
        Have a worker test the stored connection, or *draft* in its place.

        `deploymentResult` in the answer says whether it works, and in `steps` how far it came.
        """
        places = {"environmentName": environment, "worker": worker}
        query = {key: value for key, value in places.items() if value}
        return self._send("POST", f"{_connection(project, name)}test/", draft, query or None)

    def list_keystores(self, project: str) -> Any:
        return self._send("GET", _materials(project, "keystores"))

    def get_keystore(self, project: str, name: str) -> Any:
        """What it holds: names, dates and thumbprints; never the file, its password or a key."""
        return self._send("GET", _materials(project, "keystores", name))

    def create_keystore(
        self, project: str, name: str, environments: Mapping[str, Mapping[str, Any]], *, description: str | None = None,
        wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """
        Create a keystore or truststore.

        *environments* says for each environment what it has there: `type` (JKS, PKCS12 or PEM), `file` (bytes), and
        where needed `password` and `alias`.
        """
        body = _keystore(name, environments, description)
        return self._send("POST", _materials(project, "keystores"), body, _wait(wait_seconds))

    def update_keystore(
        self, project: str, name: str, environments: Mapping[str, Mapping[str, Any]] | None = None, *,
        description: str | None = None, new_name: str | None = None, wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """Change what is given; *environments*, where given, are all that it has. What one leaves out is kept."""
        body = _keystore(new_name or name, environments, description)
        return self._send("PUT", _materials(project, "keystores", name), body, _wait(wait_seconds))

    def delete_keystore(self, project: str, name: str, *, wait_seconds: float | None = None) -> Any:
        return self._send("DELETE", _materials(project, "keystores", name), None, _wait(wait_seconds))

    def list_variables(self, project: str) -> Any:
        """Those of the project; of the project `admin`, those of every project that you may see."""
        return self._send("GET", _materials(project, "environmentVariables"))

    def get_variable(self, project: str, name: str) -> Any:
        return self._send("GET", _materials(project, "environmentVariables", name))

    def create_variable(
        self, project: str, name: str, *, value: str | None = None, environments: Mapping[str, str | None] | None = None,
        visible: bool | None = None, description: str | None = None, wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """
        Create a variable with a *value* for every environment, or one for each of *environments*, or both.

        *visible* says whether they may be read again; left out, it is as the API has it.
        """
        body = _variable(name, value, environments, visible, description)
        return self._send("POST", _materials(project, "environmentVariables", name), body, _wait(wait_seconds))

    def update_variable(
        self, project: str, name: str, *, value: str | None = None, environments: Mapping[str, str | None] | None = None,
        visible: bool | None = None, description: str | None = None, new_name: str | None = None,
        wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """
        Change what is given; *environments*, where given, are all that have a value of their own.

        None among them keeps the value that is there, an empty text clears it. *visible* is said of those that get a value.
        """
        body = _variable(new_name or name, value, environments, visible, description)
        return self._send("PUT", _materials(project, "environmentVariables", name), body, _wait(wait_seconds))

    def delete_variable(self, project: str, name: str, *, wait_seconds: float | None = None) -> Any:
        return self._send("DELETE", _materials(project, "environmentVariables", name), None, _wait(wait_seconds))

    def list_certificates(self, project: str) -> Any:
        return self._send("GET", _materials(project, "certificates"))

    def expiring(self, project: str | None = None, *, within: str = "30d") -> Any:
        """What runs out within that time (12h, 30d, 8w), and whom it concerns; without *project* in all of them."""
        path = "/apiops/certificates/" if project is None else _materials(project, "certificates")
        return self._send("GET", f"{path}expiring/", None, {"within": within})

    def get_certificate(self, project: str, name: str) -> Any:
        return self._send("GET", _materials(project, "certificates", name))

    def create_certificate(
        self, project: str, name: str, pem: str, environments: Sequence[str], *, alias: str | None = None,
        description: str | None = None, wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """Create a certificate from its PEM text; *alias* is unique in each environment, and the name where left out."""
        body = _certificate(pem, environments, alias or name, description)
        path = _materials(project, "certificates")
        return self._send("POST", path, {"certificateName": name, **body}, _wait(wait_seconds))

    def update_certificate(
        self, project: str, name: str, pem: str | None = None, environments: Sequence[str] | None = None, *,
        alias: str | None = None, description: str | None = None, wait_seconds: float | None = None,
    ) -> Any:  # fmt: skip
        """Change what is given."""
        body = _certificate(pem, environments, alias, description)
        return self._send("PUT", _materials(project, "certificates", name), body, _wait(wait_seconds))

    def delete_certificate(self, project: str, name: str, *, wait_seconds: float | None = None) -> Any:
        return self._send("DELETE", _materials(project, "certificates", name), None, _wait(wait_seconds))

    def list_audit(
        self, *, project: str | None = None, limit: int = 100, before: int | None = None, **filters: str | None
    ) -> Any:
        """The newest audit entries; *filters* are actor, action, noun, nounId, name, requestId, since, until."""
        return self._send("GET", "/apiops/audit/", None, _audit(project, filters) | _given(limit=limit, before=before))

    def audit_head(self) -> Any:
        """Where the chain of the audit ends."""
        return self._send("GET", "/apiops/audit/head/")

    def list_users(self) -> Any:
        return self._send("GET", "/apiops/users/")

    def create_user(
        self, name: str, password: str, *, memberships: Sequence[Mapping[str, Any]] = (), description: str | None = None
    ) -> Any:
        """A new user. A membership is `{"projectName": ..., "roles": [...]}`; without a project, of every one."""
        body = {"password": password, "memberships": list(memberships), "description": description}
        return self._send("POST", f"/apiops/users/{_part(name)}/", body)

    def update_user(self, name: str, **changes: Any) -> Any:
        """Change what is given: `password`, `disabled`, `description`, `memberships`."""
        return self._send("PUT", f"/apiops/users/{_part(name)}/", changes)

    def delete_user(self, name: str) -> Any:
        return self._send("DELETE", f"/apiops/users/{_part(name)}/")

    def list_grants(self, project: str, connection: str) -> Any:
        return self._send("GET", f"{_connection(project, connection)}grants/")

    def grant(self, project: str, connection: str, grants: Sequence[str], *, user: str = "", token: str = "") -> Any:
        """Grant a user, or the token of that public id, these on one connection; with none, withdraw what was."""
        path = (
            f"{_connection(project, connection)}grants/{f'users/{_part(user)}' if user else f'tokens/{_part(token)}'}/"
        )
        return self._send("PUT", path, {"grants": list(grants)}) if grants else self._send("DELETE", path)

    def globalize(self, project: str, connection: str) -> Any:
        """Move a connection to the project `admin`, for every project to use. There is no way back."""
        return self._send("POST", f"{_connection(project, connection)}globalize/")

    def list_tokens(self) -> Any:
        return self._send("GET", "/apiops/tokens/")

    def create_token(
        self,
        name: str,
        *,
        grants: list[str] | None = None,
        project: str | None = None,
        expires_in_seconds: int | None = None,
    ) -> Any:
        body = {"name": name, "grants": grants, "projectName": project, "expiresInSeconds": expires_in_seconds}
        return self._send("POST", "/apiops/tokens/", {key: value for key, value in body.items() if value is not None})

    def revoke_token(self, token_id: str) -> Any:
        return self._send("DELETE", f"/apiops/tokens/{_part(token_id)}/")

    def list_data_keys(self) -> Any:
        """The keys that secrets are sealed with: never the keys, but how many values each still seals."""
        return self._send("GET", "/apiops/data-keys/")

    def rotate_data_key(self) -> Any:
        """Seal with a new data key from now on; what older ones sealed is sealed anew, and they are destroyed."""
        return self._send("POST", "/apiops/data-keys/rotate/")

    def list_projects(self) -> Any:
        return self._send("GET", "/apiops/projects/")

    def create_project(self, name: str, description: str | None = None) -> Any:
        return self._send(
            "POST", f"/apiops/projects/{_part(name)}/", {"description": description} if description else {}
        )

    def list_environments(self) -> Any:
        return self._send("GET", "/apiops/environments/")

    def create_environment(self, name: str, **fields: Any) -> Any:
        return self._send(
            "POST",
            f"/apiops/environments/{_part(name)}/",
            {key: value for key, value in fields.items() if value is not None},
        )

    def create_enrolment(self, environment: str, *, valid_seconds: int | None = None) -> Any:
        body: dict[str, Any] = {"environmentName": environment}
        if valid_seconds is not None:
            body["validSeconds"] = valid_seconds
        return self._send("POST", "/apiops/workers/enrolments/", body)

    def list_workers(self) -> Any:
        return self._send("GET", "/apiops/workers/")

    def forget_worker(self, worker_id: str) -> Any:
        return self._send("DELETE", f"/apiops/workers/{_part(worker_id)}/")


class Client(_Calls):
    """For programs without an event loop. Close it, or use it with `with`."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | str | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._url = url
        self._http = httpx2.Client(**_options(url, token, timeout_s, ca_file, allow_plain_http))

    def _send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, path, json=body, params=query)
        except httpx2.HTTPError as exc:
            raise _unreachable(self._url, exc) from exc
        return _read(response)

    def export_audit(self, *, project: str | None = None, **filters: str | None) -> Iterator[str]:
        """A copy of the audit, line by line; filters as for `list_audit`."""
        try:
            with self._http.stream("GET", "/apiops/audit/export/", params=_audit(project, filters)) as response:
                if response.status_code >= 300:
                    response.read()
                    _read(response)
                rest = ""
                for text in response.iter_text():
                    # Lines end with \n alone here: texts may hold what else is taken for the end of a line.
                    *lines, rest = (rest + text).split("\n")
                    yield from lines
        except httpx2.HTTPError as exc:
            raise _unreachable(self._url, exc) from exc

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Calls):
    """For programs with an event loop: every call is awaited. Close it, or use it with `async with`."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | str | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self._url = url
        self._http = httpx2.AsyncClient(**_options(url, token, timeout_s, ca_file, allow_plain_http))

    async def _send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        try:
            response = await self._http.request(method, path, json=body, params=query)
        except httpx2.HTTPError as exc:
            raise _unreachable(self._url, exc) from exc
        return _read(response)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _options(
    url: str, token: str, timeout_s: float, ca_file: Path | str | None, allow_plain_http: bool
) -> dict[str, Any]:
    """For the HTTP library: the system's authorities and those of *ca_file*, names checked, no plain HTTP beyond loopback."""
    check_url(url, allow_plain=allow_plain_http)
    return {
        "base_url": url, "headers": {"Authorization": f"Bearer {token}"}, "timeout": timeout_s, "trust_env": False,
        "verify": control_context(url, ca_file) or False,  # nothing to verify on plain HTTP
    }  # fmt: skip


def _unreachable(url: str, exc: Exception) -> errors.Unavailable:
    return errors.Unavailable(
        f"the control plane at {url} cannot be reached ({type(exc).__name__})",
        hint="Check MOORING_URL, that it runs, and that its certificate is trusted (MOORING_CA_FILE).",
    )


def _read(response: httpx2.Response) -> Any:
    if response.status_code < 300:
        return response.json()
    try:
        body = response.json()
        problems = [errors.Problem(item["path"], item["code"], item["message"]) for item in body.get("errors", [])]
        if problems:
            raise errors.InvalidConfig(problems)
        if response.status_code == 429:
            raise errors.RateLimited(int(body["retry_after"]))
        error = _BY_STATUS.get(response.status_code, errors.MooringError)(body["error_description"])
        error.code = body["error"]
    except (ValueError, KeyError, TypeError):
        raise errors.Unavailable(
            f"the control plane answered {response.status_code} with something unexpected"
        ) from None
    raise error


def _connection(project: str, name: str) -> str:
    return f"/apiops/projects/{_part(project)}/connections/{_part(name)}/"


def _materials(project: str, noun: str, name: str | None = None) -> str:
    path = f"/apiops/projects/{_part(project)}/{noun}/"
    return path if name is None else f"{path}{_part(name)}/"


def _keystore(
    name: str, environments: Mapping[str, Mapping[str, Any]] | None, description: str | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"name": name, "description": description}
    if environments is not None:
        body["keyStoreEnvironmentList"] = [
            {
                "environmentName": environment,
                **{key: b64encode(value).decode() if key == "file" else value for key, value in given.items()},
            }
            for environment, given in environments.items()
        ]
    return {key: value for key, value in body.items() if value is not None}


def _variable(
    name: str, value: str | None, environments: Mapping[str, str | None] | None, visible: bool | None, description: str | None
) -> dict[str, Any]:  # fmt: skip
    body: dict[str, Any] = {"name": name, "description": description}
    if value is not None:
        body |= {"global": True, "globalValue": value, "globalVisible": visible}
    if environments is not None:
        body["environmentValueList"] = [
            {"environmentName": environment, "value": text, "visible": None if text is None else visible}
            for environment, text in environments.items()
        ]
    return {key: value for key, value in body.items() if value is not None}


def _certificate(
    pem: str | None, environments: Sequence[str] | None, alias: str | None, description: str | None
) -> dict[str, Any]:
    body = {
        "alias": alias, "certificateDescription": description, "pemEncodedFile": pem,
        "environmentList": None if environments is None else list(environments),
    }  # fmt: skip
    return {key: value for key, value in body.items() if value is not None}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _audit(project: str | None, filters: Mapping[str, str | None]) -> dict[str, Any]:
    named = {"since": "from", "until": "to"}
    return _given(projectName=project, **{named.get(name, name): value for name, value in filters.items()})


def _part(text: str) -> str:
    return quote(text, safe="")


def _wait(seconds: float | None) -> dict[str, Any] | None:
    return None if seconds is None else {"waitSeconds": seconds}
