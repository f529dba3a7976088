"""The nodes of a cluster: requests go to them in turn, and one that does not answer is left alone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.http import TooLong, client, exchange, http_error, is_before_sending
from mooring.plugin.network import Network

REST_S = 30.0
IDLE_CONNECTION_S = 30.0
MAX_ANSWER = 10 * 1024 * 1024
MAX_REASON = 300
_PASSING = frozenset({502, 503, 504})
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
PEER = "an Elasticsearch or OpenSearch node"


@dataclass(eq=False)
class Node:
    """One node; `rests_until` is when it is tried again, as `time.monotonic` says it."""

    scheme: str
    host: str
    port: int
    rests_until: float = 0.0
    http: httpx2.AsyncClient | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_encrypted(self) -> bool:
        return self.scheme == "https"


@dataclass(frozen=True)
class Reply:
    """What a node answered: `said` is its JSON, or None where it sent none."""

    address: str
    status: int
    said: Any
    headers: httpx2.Headers = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """How nodes are spoken to. `total` bounds the connections to all of them together."""

    network: Network
    tls: ssl.SSLContext | None
    per_host: int
    total: int
    timeout_s: float
    headers: dict[str, str] = field(repr=False)
    socket_options: Sequence[tuple[int, int, int]] = ()


class Cluster:
    """Speaks to *nodes*. Raises `ConnectorError` only."""

    def __init__(self, nodes: list[Node], settings: Settings) -> None:
        self.nodes = nodes
        self._settings = settings
        self._turn = 0
        bounded = settings.total < settings.per_host * len(nodes)
        self._places = asyncio.Semaphore(settings.total) if bounded else None

    async def call(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        repeatable: bool = False,
    ) -> Reply:
        """
        The answer of the first node that gives one, whatever its status.

        A request that may have been carried out goes to no second node, unless it is *repeatable*.
        """
        headers = {"Accept": accept} | ({"Content-Type": content_type} if content is not None else {})
        nodes = self._in_turn()
        async with self._place():
            for left, node in zip(range(len(nodes) - 1, -1, -1), nodes, strict=True):
                try:
                    reply = await self._ask(node, method, path, content, headers)
                except (ConnectorError, httpx2.TransportError) as exc:
                    if not isinstance(exc, httpx2.PoolTimeout):
                        node.rests_until = time.monotonic() + REST_S
                    if not left or not (repeatable or is_before_sending(exc)):
                        raise self._explained(exc, node.address) from exc
                    continue
                if reply.status in _PASSING and repeatable and left:
                    continue
                node.rests_until = 0.0
                return reply
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection. Safe twice."""
        for node in self.nodes:
            http, node.http = node.http, None
            if http is not None:
                await http.aclose()

    def http(self, node: Node) -> httpx2.AsyncClient:
        """The client for that node, made when it is first needed."""
        if node.http is None:
            host = f"[{node.host}]" if ":" in node.host else node.host
            node.http = client(
                self._settings.network,
                self._settings.tls,
                connections=self._settings.per_host,
                timeout=self._settings.timeout_s,
                idle_s=IDLE_CONNECTION_S,
                headers=self._settings.headers,
                socket_options=self._settings.socket_options,
            )
            node.http.base_url = httpx2.URL(f"{node.scheme}://{host}:{node.port}")
        return node.http

    async def _ask(self, node: Node, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> Reply:
        http = self.http(node)
        url = http.base_url.copy_with(raw_path=path.encode("ascii"))
        request = http.build_request(method, url, content=content, headers=headers)
        try:
            response, body = await exchange(http, request, MAX_ANSWER)
        except TooLong:
            # The node is there, and no other would say less.
            return Reply(node.address, 0, None, httpx2.Headers())
        return Reply(node.address, response.status_code, _parsed(body), response.headers)

    def _in_turn(self) -> list[Node]:
        """The nodes in the order in which they are tried: those that rest come last."""
        self._turn += 1
        start = self._turn % len(self.nodes)
        turned = self.nodes[start:] + self.nodes[:start]
        now = time.monotonic()
        return sorted(turned, key=lambda node: max(node.rests_until - now, 0.0))

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._places is None:
            yield
            return
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise Unreachable(
                "every connection was in use for too long", hint="Allow more connections (maxConnectionTotal)."
            ) from None
        try:
            yield
        finally:
            self._places.release()

    def _explained(self, error: ConnectorError | httpx2.TransportError, address: str) -> ConnectorError:
        if isinstance(error, ConnectorError):
            return error
        return http_error(
            error,
            address,
            slow="Allow more time (connectionTimeoutInMs), or find out why the cluster is slow.",
            busy="Allow more connections (maxConnectionPerHost), or find out why the cluster is slow.",
            peer=PEER,
        )


def _parsed(body: bytes) -> Any:
    """*body* as JSON that can be handed on as it is; None where it is none."""
    try:
        said = json.loads(body, parse_constant=_no_constant)
        if _HALF_CHARACTER.search(body):
            said = json.loads(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return said


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def granted(reply: Reply, what: str, *, user: str | None) -> dict[str, Any]:
    """The JSON of an answer that says yes to *what* (`the search`). Raises `ConnectorError` where it says no."""
    if reply.status in range(200, 300) and isinstance(reply.said, dict):
        return reply.said
    raise refusal(reply.status, reply.said, reply.address, what, user=user)


def refusal(status: int, said: Any, address: str, what: str, *, user: str | None = None) -> ConnectorError:
    """What it means that *address* answered *what* with that status, and *said* why."""
    kind, why = reason(said)
    because = f": {why}" if why else ""
    match status:
        case 401 if user is None:
            return Rejected(
                f"{address} wants a login{because}",
                hint="Set authenticate, elasticUsername and elasticPassword, or show a client certificate.",
            )
        case 401:
            return Rejected(f"{address} does not let the user {user} in", hint="Check the user name and the password.")
        case 403 if kind in ("", "security_exception"):
            return Rejected(
                f"{address} does not allow {what}{because}",
                hint="Give the user the rights for it, or choose another user.",
            )
        case 404 if kind == "index_not_found_exception":
            return Misconfigured(
                f"{address} does not know the index{because}", hint="Check the name of the index, or create it."
            )
        case 400 | 406 if "media" in kind or status == 406:
            return Misconfigured(
                f"{address} does not speak the version that this connection asks for{because}",
                hint="Set elasticsearchMajorVersion to AUTO_DETECT, or to the server's version.",
            )
        case 413:
            return Misconfigured(
                f"{address}: {what} is too long for the server", hint="Send less at a time (bulkMaxBatchSize)."
            )
        case 429:
            return Unreachable(
                f"{address} is overloaded and did not take {what}{because}", hint="Send more slowly; then retry."
            )
        case 0:
            return Misconfigured(
                f"the answer of {address} has more than {MAX_ANSWER // (1024 * 1024)} MiB, or is compressed",
                hint="Ask for less: fewer documents (size), or fewer fields of them (fields).",
            )
        case _ if status >= 500:
            return Unreachable(
                f"{address} answered {what} with {status}{because}", hint="Look at the cluster's own log; then retry."
            )
        case _ if status in range(300, 400):
            return Misconfigured(
                f"{address} sends elsewhere ({status}), and redirects are not followed",
                hint="Put the nodes' own addresses into elasticHostList.",
            )
        case _ if status >= 400 and isinstance(said, dict):
            return Misconfigured(f"{address} refused {what} ({status}){because}", hint="Correct what it names.")
    return Misconfigured(
        f"{address} answered {what} with {status} and not as {PEER} does",
        hint="Check the host and the port, and what stands in between.",
    )


def reason(said: Any) -> tuple[str, str]:
    """The kind of an error, and a short sentence, from what a server says about it."""
    error = said.get("error", said) if isinstance(said, dict) else None
    if isinstance(error, str):
        return "", _short(error)
    if not isinstance(error, dict):
        return "", ""
    kind = error.get("type")
    parts = [error.get("reason")]
    cause = error.get("caused_by")
    if isinstance(cause, dict) and cause.get("reason") != parts[0]:
        parts.append(cause.get("reason"))
    return kind if isinstance(kind, str) else "", _short(": ".join(part for part in parts if isinstance(part, str)))


def _short(text: str) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}..."
