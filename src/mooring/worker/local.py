"""
The worker's own API: any program on this machine uses a connection by name, and never sees its secret.

    POST /v1/{project}/{connection}/{operation}         JSON in, JSON out
    POST /v1/{project}/{connection}/{operation}/batch   many of them in one request
    POST /v1/{project}/{connection}/probe               one honest attempt
    GET  /v1/                                           what this worker holds
    GET  /v1/{project}/{connection}/                    one connection, with the shapes of its operations

On a Unix socket of mode 0600; or on loopback TCP with a token, where the Host header must be a loopback name and
requests from browsers (with an Origin) are refused.

It is spoken by hand, without a framework: whatever stands here, every single use of a connection pays for.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from mooring import errors
from mooring.kit.log import log
from mooring.kit.strict_json import JsonRefused, read_json
from mooring.wire.envelope import dumps
from mooring.worker.guard import OPERATION_LIMIT_S, OPERATION_S
from mooring.worker.loop import Loop
from mooring.worker.pool import Pool, describe

MAX_BODY = 16 * 1024 * 1024
MAX_STRINGS = 1_000_000
MAX_BATCH = 1_000
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_LONGEST_PATH = 8

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STATUS: dict[type[errors.MooringError], int] = {
    errors.TooLarge: 413,
    errors.BadRequest: 400,
    errors.NotAuthenticated: 401,
    errors.NotPermitted: 403,
    errors.ConnectionUnknown: 404,
    errors.OperationUnknown: 404,
    errors.ConnectionDisabled: 409,
    errors.ConnectionFailed: 503,
    errors.UseError: 503,
    errors.Unreachable: 504,
    errors.DriverMissing: 501,
    errors.EgressDenied: 403,
    errors.ConnectorBug: 500,
    errors.ConnectorError: 502,
}


class _Gone(Exception):
    """The client left before its request was whole."""


class Refused(Exception):
    """A request that fits no route, and the status that says so."""

    def __init__(self, status: int, error: errors.MooringError) -> None:
        super().__init__(error.message)
        self.status, self.error = status, error


class LocalApi:
    """The application; with *token* for TCP, without for a socket that only its owner can open."""

    def __init__(self, pool: Pool, loop: Loop | None = None, *, token: str | None = None) -> None:
        self._pool, self._loop, self._token = pool, loop, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if self._token is not None:
                _check_caller(scope, self._token)
            status, text = 200, await self._answer(scope, receive)
        except Refused as exc:
            status, text = exc.status, dumps(describe(exc.error))
        except errors.MooringError as exc:
            status, text = status_of(exc), dumps(describe(exc))
        except _Gone:
            return
        except Exception as exc:  # the edge of a request
            log.error("unexpected_error", error=type(exc).__name__)
            status, text = 500, '{"error":"internal_error","error_description":"An unexpected error occurred"}'
        body = text.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> str:
        """What the request is answered, as JSON. Raises `MooringError`."""
        root, version, *parts = [*scope["path"].split("/"), ""][:_LONGEST_PATH]
        while parts and not parts[-1]:
            parts.pop()
        if root or version != "v1" or "" in parts:
            raise _no_such_route(404)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        match (method, parts):
            case "POST", [project, connection, "probe"]:
                return await self._probe(project, connection)
            case "POST", [project, connection, operation]:
                request = await _object(receive)
                answer = await self._pool.use(project, connection, operation, request, _timeout(scope))
                return answer.model_dump_json(by_alias=True)  # type: ignore[no-any-return]  # pydantic's
            case "POST", [project, connection, operation, "batch"]:
                return await self._batch(project, connection, operation, await _object(receive), _timeout(scope))
            case "GET", [project, connection]:
                return self._one(project, connection)
            case "GET", []:
                connected = self._loop is not None and self._loop.connected
                return dumps({"connected": connected, "connections": self._pool.listing()})
            case _, [] | [_, _] | [_, _, _] | [_, _, _, "batch"]:
                raise _no_such_route(405)
        raise _no_such_route(404)

    async def _batch(
        self, project: str, connection: str, operation: str, body: dict[str, Any], timeout_s: float
    ) -> str:
        requests = body.get("requests")
        if (
            set(body) != {"requests"}
            or not isinstance(requests, list)
            or not all(isinstance(r, dict) for r in requests)
        ):
            raise errors.BadRequest('the body must be {"requests": [...]}, each a JSON object')
        if len(requests) > MAX_BATCH:
            raise errors.TooLarge(f"a batch holds at most {MAX_BATCH} requests")
        outcomes = await self._pool.use_many(project, connection, operation, requests, timeout_s)
        failed, results = 0, []
        for outcome in outcomes:
            if isinstance(outcome, errors.MooringError):
                failed += 1
                results.append(dumps({"status": status_of(outcome), **describe(outcome)}))
            else:
                results.append(f'{{"status":200,"answer":{outcome.model_dump_json(by_alias=True)}}}')
        return f'{{"failed":{failed},"results":[{",".join(results)}]}}'

    def _one(self, project: str, connection: str) -> str:
        guard = self._pool.live(project, connection)
        operations = {
            name: {
                "summary": operation.summary,
                "request": operation.request.model_json_schema(by_alias=True),
                "answer": operation.answer.model_json_schema(by_alias=True),
            }
            for name, operation in guard.connector.operations.items()
        }
        return dumps({"health": guard.health, "operations": operations})

    async def _probe(self, project: str, connection: str) -> str:
        report = await self._pool.live(project, connection).probe()
        steps = [step.wire() for step in report.steps]
        return dumps({"success": report.ok, "tookMs": round(report.took_ms, 1), "steps": steps})


def local_app(pool: Pool, loop: Loop | None = None, *, token: str | None = None) -> LocalApi:
    """The application around *pool*."""
    return LocalApi(pool, loop, token=token)


def _no_such_route(status: int) -> Refused:
    error = errors.NotFound(
        "there is no such route",
        hint="POST /v1/{project}/{connection}/{operation}, or GET /v1/ for what this worker holds.",
    )
    error.code = "resource_not_found"
    return Refused(status, error)


def status_of(error: errors.MooringError) -> int:
    """The HTTP status of an error."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


async def _object(receive: Receive) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty one. Raises `BadRequest`."""
    raw, more = b"", True
    chunks, size = [], 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY:
            raise errors.TooLarge(f"the body is larger than {MAX_BODY} bytes")
        chunks.append(chunk)
        more = message.get("more_body", False)
    raw = b"".join(chunks)
    if not raw:
        return {}
    try:
        value = read_json(raw, max_strings=MAX_STRINGS)
    except JsonRefused as exc:
        raise errors.BadRequest(f"the body is not valid JSON: {exc}") from None
    if not isinstance(value, dict):
        raise errors.BadRequest("the body must be a JSON object")
    return value


def _timeout(scope: Scope) -> float:
    if not scope["query_string"]:
        return OPERATION_S
    text = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("timeoutSeconds")
    if text is None:
        return OPERATION_S
    try:
        seconds = float(text[-1])
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= OPERATION_LIMIT_S:
        raise errors.BadRequest(f"timeoutSeconds must be a number above 0, at most {OPERATION_LIMIT_S:g}")
    return seconds


def _check_caller(scope: Scope, token: str) -> None:
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    name = host[: host.rfind(":")] if ":" in host and not host.endswith("]") else host
    if name not in _LOOPBACK or b"origin" in headers:
        raise errors.NotPermitted("this API is for programs on this machine")
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), token.encode()):
        raise errors.NotAuthenticated("Invalid token", hint="Send the text of the token file as a bearer token.")
