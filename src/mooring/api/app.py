"""The application: routes, pages, and the streams of workers, behind the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mooring.api import pages
from mooring.api.errors import error_response, unexpected
from mooring.api.gate import Gate
from mooring.api.request import actor_of, check_size
from mooring.api.routes import ROUTES, RouteCard
from mooring.control.plane import Plane
from mooring.control.streams import Closed
from mooring.errors import MethodNotAllowed, MooringError, NotFound

Endpoint = Callable[[Request], Awaitable[Response]]


def control_app(plane: Plane, *, max_body: int = 256 * 1024, ready: asyncio.Event | None = None) -> Gate:
    """The ASGI application of *plane*; requests wait for *ready* where it is given."""
    routes: list[Any] = [
        Route(card.path, _endpoint(card), methods=[card.method], name=f"{card.method} {card.path}") for card in ROUTES
    ]
    routes += pages.ROUTES
    routes.append(WebSocketRoute("/worker/v1/stream", _stream))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_exception, Exception: unexpected})  # type: ignore[dict-item]
    app.router.redirect_slashes = False
    app.state.plane = plane
    app.state.max_body = max_body
    return Gate(app, ready)


def _endpoint(card: RouteCard) -> Endpoint:
    """The route's handler, with the checks that come before it and the errors that come out of it."""

    async def endpoint(request: Request) -> Response:
        try:
            check_size(request)
            if card.public:
                return await card.handler(request)  # type: ignore[no-any-return]  # handlers answer responses
            return await card.handler(request, await actor_of(request))  # type: ignore[no-any-return]
        except MooringError as exc:
            return error_response(exc)
        except ClientDisconnect:
            return Response(status_code=499)

    return endpoint


async def _http_exception(request: Request, exc: HTTPException) -> Response:
    """The router's own refusals, in the documented shape."""
    path = request.scope.get("path", "")
    if exc.status_code == 405:
        response = error_response(MethodNotAllowed(f"{request.method} is not allowed here"))
        allowed = sorted({card.method for card in ROUTES if _matches(card.path, path)})
        response.headers["Allow"] = ", ".join(allowed) or "GET"
        return response
    error = NotFound(f"{request.method} {path[:200]} not found")
    error.code = "resource_not_found"
    return error_response(error)


def _matches(pattern: str, path: str) -> bool:
    parts, given = pattern.split("/"), path.split("/")
    return len(parts) == len(given) and all(p.startswith("{") or p == g for p, g in zip(parts, given, strict=True))


class _Socket:
    """A WebSocket as `mooring.control.streams` wants it."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str:
        try:
            return await self._websocket.receive_text()
        except (WebSocketDisconnect, KeyError, RuntimeError):
            raise Closed from None

    async def send(self, text: str) -> None:
        try:
            await self._websocket.send_text(text)
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise Closed from None


async def _stream(websocket: WebSocket) -> None:
    """One worker's stream. Its credential is in the Authorization header."""
    plane: Plane = websocket.app.state.plane
    scheme, _, credential = websocket.headers.get("authorization", "").partition(" ")
    try:
        caller = await plane.streams.authenticate(credential.strip() if scheme.lower() == "bearer" else "")
    except MooringError:
        await websocket.close(1008)
        return
    await websocket.accept()
    try:
        await plane.streams.serve(_Socket(websocket), caller)
    finally:
        try:
            await websocket.close()
        except (RuntimeError, OSError):
            pass  # it is closed already
