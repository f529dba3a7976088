"""Reading what a request says: its token, its body within the limit, its waiting time."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from mooring.api.limits import Limits, name_of
from mooring.control.connections import Ask
from mooring.control.plane import Plane
from mooring.domain.records import Actor
from mooring.errors import BadRequest, InvalidConfig, NotAuthenticated, Problem, TooLarge
from mooring.kit.strict_json import JsonRefused, read_json

MAX_WAIT_S = 30.0
DRAIN_S = 2.0
DRAIN_BYTES = 16 * 1024 * 1024
_WAIT_SECONDS = re.compile(rb"(?:^|&)waitSeconds=([^&]*)")
_WAIT = re.compile(r"wait=(\d{1,6})")
_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"')
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def plane_of(request: Request) -> Plane:
    """The control plane behind this door."""
    return request.app.state.plane  # type: ignore[no-any-return]  # set by `app.control_app`


def header(request: Request, name: bytes) -> str | None:
    """The header *name* (lower case), or None. The headers are looked through once, not once for each question."""
    headers = request.scope.get("mooring.headers")
    if headers is None:
        sent = request.scope["headers"]
        headers = dict(sent)
        if len(headers) != len(sent):
            # One that stands twice is a list: neither the first nor the last token of two is believed.
            headers = {}
            for each, value in sent:
                headers[each] = headers[each] + b", " + value if each in headers else value
        request.scope["mooring.headers"] = headers
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def limit_of(request: Request) -> int:
    """The largest body that the request's route takes."""
    usual: int = request.app.state.max_body
    return max(usual, request.scope.get("mooring.max_body") or 0)


def check_size(request: Request) -> None:
    """Refuse a body that says it is too large before anything else is looked at. Raises `TooLarge`."""
    limit = limit_of(request)
    length = header(request, b"content-length")
    if length is not None and length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise TooLarge(f"Request body is larger than {limit} bytes")


async def actor_of(request: Request, limits: Limits) -> Actor:
    """The holder of the request's bearer token. Raises `NotAuthenticated`, `RateLimited`."""
    scheme, _, token = (header(request, b"authorization") or "").partition(" ")
    address = address_of(request)
    try:
        if scheme.lower() != "bearer":
            raise NotAuthenticated("Invalid token")
        actor = await plane_of(request).access.actor(
            token.strip(), request_id=request.scope["mooring.request_id"], address=address
        )
    except NotAuthenticated:
        limits.failed(address, name_of(token.strip()))
        raise
    if limits.per_token is not None:
        limits.check_token(actor)
    return actor


def limits_of(request: Request) -> Limits:
    """The limits of this node."""
    return request.app.state.limits  # type: ignore[no-any-return]  # set by `app.control_app`


def address_of(request: Request) -> str:
    """The client's address: the peer's, or what trusted proxies say; see `mooring.api.gate`."""
    client = request.scope.get("client")
    return client[0] if client else ""


async def body_of(request: Request) -> bytes:
    """The body, at most as large as allowed. Raises `TooLarge`."""
    limit = limit_of(request)
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            # After the last of it there is nothing to wait for.
            request.scope["mooring.body_ended"] = not message.get("more_body", False)
            raise TooLarge(f"Request body is larger than {limit} bytes")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


async def drain(request: Request) -> None:
    """
    Read and forget what is still coming, for a moment: a connection that is closed on unread data is reset, and the
    client would never see the answer. A client that waits to be asked for its body is not asked.
    """
    if header(request, b"expect") is not None or request.scope.get("mooring.body_ended"):
        return
    size = 0
    with contextlib.suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while size < DRAIN_BYTES:
                message = await request.receive()
                size += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return


async def json_body_of(request: Request) -> bytes:
    """The body of a request that must carry JSON. Raises `BadRequest`."""
    require_json(request)
    return await body_of(request)


def require_json(request: Request) -> None:
    """Raises `BadRequest` where the body does not say that it is JSON."""
    content_type = header(request, b"content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("Content-Type must be application/json")


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises `BadRequest`."""
    return object_in(await json_body_of(request))


def object_in(raw: bytes) -> dict[str, Any]:
    """The JSON object that *raw* is. Raises `BadRequest`."""
    try:
        value = read_json(raw)
    except JsonRefused as exc:
        raise BadRequest(f"Request body is not valid JSON: {exc}") from None
    if not isinstance(value, dict):
        raise BadRequest("Request body is not valid JSON: it is not an object")
    return value


def ask_of(request: Request, body: bytes = b"") -> Ask:
    """How a mutation is to be carried out: waiting time, Idempotency-Key, If-Match. Raises `BadRequest`."""
    key = header(request, b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest("Idempotency-Key must be 1 to 255 printable ASCII characters")
    match = header(request, b"if-match")
    generation = None
    if match is not None and match.strip() != "*":
        etag = _ETAG.fullmatch(match.strip())
        if etag is None:
            raise BadRequest('If-Match must be the ETag of a GET, such as "3"')
        generation = int(etag[1])
    return Ask(
        _wait_of(request),
        key,
        generation,
        b"%s %s\n%s" % (request.method.encode(), request.scope["path"].encode(), body),
    )


def _wait_of(request: Request) -> float:
    text = _WAIT_SECONDS.search(request.scope["query_string"])
    if text is not None:
        return number(text[1].decode("latin-1"), "waitSeconds", 0, MAX_WAIT_S)
    prefer = _WAIT.search(header(request, b"prefer") or "")
    if prefer is not None:
        return min(float(prefer[1]), MAX_WAIT_S)
    return plane_of(request).wait_s


def number(text: str, name: str, least: float, most: float) -> float:
    """The query parameter *name*. Raises `InvalidConfig`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidConfig(
            [Problem(f"/{name}", "invalid", f"{name} is not valid: must be a number from {least:g} to {most:g}")]
        )
    return value


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """The whole number in the query parameter *name*. Raises `InvalidConfig`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
        raise InvalidConfig(
            [Problem(f"/{name}", "invalid", f"{name} is not valid: must be a whole number from {least} to {most}")]
        )
    return int(text)
