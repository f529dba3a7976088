"""
What every request passes before it is routed: a canonical path, an id, and for `mooring dev` a worker to answer with.

Plain ASGI, because it stands in front of everything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from mooring.api.errors import error_response
from mooring.errors import BadRequest, Unavailable
from mooring.kit.addresses import Network, client_address
from mooring.kit.ids import new_id

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

READY_S = 30.0
_REFUSED = re.compile(rb"//|%2f|%5c|%00|[\\;]", re.IGNORECASE)
_ODD = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|[\x00-\x1f\x7f]")


class Gate:
    """
    Refuses odd paths, strips the trailing slash (both spellings are one), gives each request an id.

    Behind *proxies* the client is whom they say it is.

    While *ready* is not set, requests wait; those of workers (`/worker/`) pass, because they are waited for.
    """

    def __init__(self, app: Asgi, ready: asyncio.Event | None = None, proxies: Sequence[Network] = ()) -> None:
        self._app, self._ready, self._proxies = app, ready, proxies

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = scope["mooring.request_id"] = new_id("req")
        if scope["type"] == "http":
            send = _with_request_id(send, request_id)
        if self._proxies and scope.get("client"):
            said = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            scope["client"] = (client_address(scope["client"][0], said, self._proxies), 0)
        raw = scope.get("raw_path") or scope["path"].encode()
        path = canonical(raw)
        if path is None:
            await _refuse(scope, receive, send, BadRequest("The path is not valid"))
            return
        scope["path"] = path
        if self._ready is not None and not self._ready.is_set() and not path.startswith("/worker/"):
            try:
                async with asyncio.timeout(READY_S):
                    await self._ready.wait()
            except TimeoutError:
                await _refuse(scope, receive, send, Unavailable("the worker of this start has not connected yet"))
                return
        await self._app(scope, receive, send)


def canonical(raw: bytes) -> str | None:
    """The path that *raw* spells, without a trailing slash; None where it should not be taken for any."""
    raw = raw.split(b"?", 1)[0]
    if not raw.isascii() or _REFUSED.search(raw):
        return None
    if b"%" in raw:
        try:
            path = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            return None
    else:
        path = raw.decode("ascii")
    if _ODD.search(path):
        return None
    return path.rstrip("/") or "/"


def _with_request_id(send: Any, request_id: str) -> Any:
    header = (b"x-request-id", request_id.encode())

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Any, send: Any, error: Any) -> None:
    if scope["type"] == "http":
        await error_response(error)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})
