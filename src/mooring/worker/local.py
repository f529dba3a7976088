"""
The worker's own API: any program on this machine uses a connection by name, and never sees its secret.

    POST /v1/{project}/{connection}/{operation}     JSON in, JSON out
    GET  /v1/                                       what this worker holds
    GET  /v1/{project}/{connection}/                one connection, with the shapes of its operations

On a Unix socket of mode 0600; or on loopback TCP with a token, where the Host header must be a loopback name and
requests from browsers (with an Origin) are refused.
"""

from __future__ import annotations

import hmac
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mooring import errors
from mooring.kit.log import log
from mooring.kit.strict_json import JsonRefused, read_json
from mooring.wire.envelope import dumps
from mooring.worker.guard import OPERATION_LIMIT_S, OPERATION_S
from mooring.worker.loop import Loop
from mooring.worker.pool import Pool, describe

MAX_BODY = 16 * 1024 * 1024
MAX_STRINGS = 1_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

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
    errors.ConnectorBug: 500,
    errors.ConnectorError: 502,
}


def local_app(pool: Pool, loop: Loop | None = None, *, token: str | None = None) -> Starlette:
    """The application; with *token* for TCP, without for a socket that only its owner can open."""

    def checked(handler: Any) -> Any:
        async def endpoint(request: Request) -> Response:
            try:
                if token is not None:
                    _check_caller(request, token)
                return await handler(request)  # type: ignore[no-any-return]  # handlers answer responses
            except errors.MooringError as exc:
                return _refusal(exc)
            except ClientDisconnect:
                return Response(status_code=499)

        return endpoint

    async def use(request: Request) -> Response:
        path = request.path_params
        answer = await pool.use(
            path["project"], path["connection"], path["operation"], await _request(request), _timeout(request)
        )
        return _json(answer.model_dump_json(by_alias=True))

    async def holds(request: Request) -> Response:
        connected = loop is not None and loop.connected
        return _json(dumps({"connected": connected, "connections": pool.listing()}))

    async def one(request: Request) -> Response:
        path = request.path_params
        guard = pool.live(path["project"], path["connection"])
        operations = {
            name: {
                "summary": operation.summary,
                "request": operation.request.model_json_schema(by_alias=True),
                "answer": operation.answer.model_json_schema(by_alias=True),
            }
            for name, operation in guard.connector.operations.items()
        }
        return _json(dumps({"health": guard.health, "operations": operations}))

    async def probe(request: Request) -> Response:
        path = request.path_params
        report = await pool.live(path["project"], path["connection"]).probe()
        return _json(
            dumps(
                {
                    "success": report.ok,
                    "tookMs": round(report.took_ms, 1),
                    "steps": [step.wire() for step in report.steps],
                }
            )
        )

    routes = [
        Route("/v1/{project}/{connection}/probe", checked(probe), methods=["POST"]),
        Route("/v1/{project}/{connection}/{operation}", checked(use), methods=["POST"]),
        Route("/v1/{project}/{connection}", checked(one), methods=["GET"]),
        Route("/v1/{project}/{connection}/", checked(one), methods=["GET"]),
        Route("/v1/", checked(holds), methods=["GET"]),
        Route("/v1", checked(holds), methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_exception, Exception: _unexpected})  # type: ignore[dict-item]  # as for any
    app.router.redirect_slashes = False
    return app


async def _request(request: Request) -> dict[str, Any]:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise errors.TooLarge(f"the body is larger than {MAX_BODY} bytes")
        chunks.append(chunk)
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


def _timeout(request: Request) -> float:
    text = request.query_params.get("timeoutSeconds")
    if text is None:
        return OPERATION_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= OPERATION_LIMIT_S:
        raise errors.BadRequest(f"timeoutSeconds must be a number above 0, at most {OPERATION_LIMIT_S:g}")
    return seconds


def _check_caller(request: Request, token: str) -> None:
    host = request.headers.get("host", "")
    name = host[: host.rfind(":")] if ":" in host and not host.endswith("]") else host
    if name not in _LOOPBACK or "origin" in request.headers:
        raise errors.NotPermitted("this API is for programs on this machine")
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise errors.NotAuthenticated("Invalid token", hint="Send the text of the token file as a bearer token.")


def _refusal(error: errors.MooringError) -> Response:
    status = next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)
    return _json(dumps(describe(error)), status)


async def _http_exception(request: Request, exc: HTTPException) -> Response:
    error = errors.MooringError(
        "there is no such route",
        hint="POST /v1/{project}/{connection}/{operation}, or GET /v1/ for what this worker holds.",
    )
    error.code = "resource_not_found"
    return _json(dumps(describe(error)), exc.status_code)


async def _unexpected(request: Request, exc: Exception) -> Response:
    log.error("unexpected_error", error=type(exc).__name__)
    return _json('{"error":"internal_error","error_description":"An unexpected error occurred"}', 500)


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")
