"""The application: routes, pages, and the streams of workers, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mooring.api import pages
from mooring.api.errors import error_response, unexpected
from mooring.api.gate import Gate, Scope
from mooring.api.limits import Limits, name_of
from mooring.api.request import actor_of, address_of, check_size, drain
from mooring.api.routes import ROUTES, RouteCard
from mooring.control.plane import Plane
from mooring.control.streams import Closed
from mooring.errors import BadRequest, MethodNotAllowed, MooringError, NotAuthenticated, NotFound, RateLimited, TooLarge
from mooring.kit.addresses import Network

PUBLIC_S = 60.0
"""A stranger's request is over by then: nobody may send a body for ever without a token."""


def control_app(
    plane: Plane,
    *,
    max_body: int = 256 * 1024,
    ready: asyncio.Event | None = None,
    limits: Limits | None = None,
    proxies: Sequence[Network] = (),
    notices: Callable[[], list[str]] = list,
) -> Gate:
    """
    The ASGI application of *plane*; requests wait for *ready* where it is given.

    Without *limits* there are none. *proxies* are believed about who the client is. *notices* are what an operator
    should know of this node, for `/readyz`.
    """
    limits = limits or Limits()
    pages_app = Starlette(
        routes=[*pages.ROUTES, WebSocketRoute("/worker/v1/stream", _stream)],
        exception_handlers={HTTPException: _http_exception, Exception: unexpected},  # type: ignore[dict-item]  # it takes sync handlers too
    )
    pages_app.router.redirect_slashes = False
    state = State({"plane": plane, "max_body": max_body, "limits": limits, "notices": notices})
    pages_app.state = state
    return Gate(_Api(pages_app, state, limits), ready, proxies)


class _Api:
    """
    Dispatches the API's own routes by the segments of the path; everything else goes to *others*.

    A framework's router costs more than a get does: its routes are tried one after the other, in layers. The table
    is the same one that the API description is read off.
    """

    def __init__(self, others: Starlette, state: State, limits: Limits) -> None:
        self._others, self._state, self._limits = others, state, limits
        self._by_length: dict[int, list[tuple[tuple[str, ...], dict[str, RouteCard]]]] = {}
        for card in ROUTES:
            pattern = tuple(card.path.split("/"))
            known = self._by_length.setdefault(len(pattern), [])
            methods = next((methods for found, methods in known if found == pattern), None)
            if methods is None:
                known.append((pattern, methods := {}))
            methods[card.method] = card

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        found = self._find(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._other(scope, receive, send)
            return
        methods, parameters = found
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        card = methods.get(method)
        scope["app"], scope["path_params"] = self, parameters
        request = Request(scope, receive)
        if card is None:
            response = error_response(MethodNotAllowed(f"{scope['method'][:20]} is not allowed here"))
            response.headers["Allow"] = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
        else:
            response = await _answer(card, request, self._limits)
        await response(scope, receive, send)

    async def _other(self, scope: Scope, receive: Any, send: Any) -> None:
        """A page or a stream."""
        if self._limits.per_address is not None and scope["type"] == "http":
            try:
                self._limits.check_address(address_of(Request(scope)))
            except MooringError as exc:
                await error_response(exc)(scope, receive, send)
                return
        await self._others(scope, receive, send)

    @property
    def state(self) -> State:
        return self._state

    def _find(self, path: str) -> tuple[dict[str, RouteCard], dict[str, str]] | None:
        """The methods of the route that *path* fits, literal ones first, and its parameters."""
        parts = path.split("/")
        best = None
        for pattern, methods in self._by_length.get(len(parts), ()):
            parameters = {}
            for wanted, part in zip(pattern, parts, strict=True):
                if wanted[:1] == "{":
                    parameters[wanted[1:-1]] = part
                elif wanted != part:
                    break
            else:
                if best is None or len(parameters) < len(best[1]):
                    best = (methods, parameters)
        return best


async def _answer(card: RouteCard, request: Request, limits: Limits) -> Response:
    """What the route's handler answers, after the checks that come before it: size, rate, authentication."""
    if card.max_body is not None:
        request.scope["mooring.max_body"] = card.max_body
    try:
        check_size(request)
        if limits.per_address is not None:
            limits.check_address(address_of(request))
        if card.public:
            return await _public(card, request)
        actor = await actor_of(request, limits)
        await card.demands.check(request, actor)
        return await card.handler(request, actor)  # type: ignore[no-any-return]  # handlers answer responses
    except TooLarge as exc:
        await drain(request)
        return error_response(exc)
    except MooringError as exc:
        return error_response(exc)
    except ClientDisconnect:
        return Response(status_code=499)
    except Exception as exc:
        return unexpected(request, exc)


async def _public(card: RouteCard, request: Request) -> Response:
    """Answer a stranger: by a deadline, and with no half-read body left behind it."""
    try:
        async with asyncio.timeout(PUBLIC_S):
            return await card.handler(request)  # type: ignore[no-any-return]  # handlers answer responses
    except TimeoutError:
        response = error_response(BadRequest("The request did not arrive in time"))
        response.headers["Connection"] = "close"
        return response


async def _http_exception(request: Request, exc: HTTPException) -> Response:
    """The router's own refusals, in the documented shape."""
    if exc.status_code == 405:
        response = error_response(MethodNotAllowed(f"{request.method[:20]} is not allowed here"))
        response.headers["Allow"] = "GET, HEAD"
        return response
    error = NotFound(f"{request.method[:20]} {request.scope.get('path', '')[:200]} not found")
    error.code = "resource_not_found"
    return error_response(error)


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
    limits: Limits = websocket.app.state.limits
    address = websocket.client.host if websocket.client else ""
    scheme, _, credential = websocket.headers.get("authorization", "").partition(" ")
    try:
        if limits.per_address is not None:
            limits.check_address(address)
        caller = await plane.streams.authenticate(credential.strip() if scheme.lower() == "bearer" else "")
    except MooringError as exc:
        if isinstance(exc, NotAuthenticated):
            with contextlib.suppress(RateLimited):  # refused it is in either case
                limits.failed(address, name_of(credential.strip()))
        await websocket.close(1008)
        return
    await websocket.accept()
    try:
        await plane.streams.serve(_Socket(websocket), caller)
    finally:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):  # it is closed already
            await websocket.close()
