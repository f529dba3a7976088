"""
A stand-in for what real nodes cannot be made to show at will: lifecycle management, which the nodes of Maven Central
lack, overload, a red cluster, odd answers.

It is Elasticsearch 7, 8 or 9, or OpenSearch, as far as a client sees it: headers, media types, the shapes of answers
and errors. The real ones are in the other tests.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Said:
    """An answer: `hang_up` closes the connection in its place."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def documents(self) -> int:
        """How many documents a bulk request has, all with a document each."""
        return self.body.count(b"\n") // 2


@dataclass
class FakeNode:
    """One node: `version` is a major one of Elasticsearch, or `opensearch`."""

    version: str = "8"
    port: int = 0
    delay_s: float = 0.0
    health: str = "green"
    instead: dict[str, Said] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    now: int = 0
    most: int = 0
    clients: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]

    def bulks(self) -> list[Seen]:
        """The bulk requests."""
        return [seen for seen in self.seen if seen.path == "/_bulk"]

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Said:
        """What it says to that request."""
        self.seen.append(Seen(method, path, headers, body, time.monotonic()))
        steps = unquote(urlsplit(path).path)
        time.sleep(self.delay_s)
        for place in (f"{method} {steps}", steps, "*"):
            if place in self.instead:
                return self.instead[place]
        return self._media(headers) or self._answer(method, steps, parse_qs(urlsplit(path).query), body)

    def _media(self, headers: dict[str, str]) -> Said | None:
        asked = f"{headers.get('accept')} {headers.get('content-type')}"
        if "vnd.elasticsearch" not in asked:
            return None
        if self.version == "opensearch":
            return Said(406, {"error": "Content-Type header [application/vnd.elasticsearch+json] is not supported"})
        if any(f"compatible-with={major}" in asked for major in range(int(self.version) + 1, 20)):
            return _error(400, "media_type_header_exception", "Invalid media-type value on headers [Accept]")
        return None

    def _answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Said:
        match method, path.strip("/").split("/"):
            case "GET", [""]:
                return Said(200, {"name": "one", "version": self._version()})
            case "GET", ["_cluster", "health"]:
                return Said(200, {"cluster_name": "fake", "status": self.health})
            case "POST", ["_bulk"]:
                return Said(200, self._bulk(body))
            case "POST", [_, "_search"]:
                hits = {"total": {"value": 0, "relation": "eq"}, "hits": []}
                return Said(200, {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "hits": hits})
            case "PUT", ["_ilm", "policy", _] if self.version == "opensearch":
                return _error(400, "illegal_argument_exception", "no handler found for uri")
            case _, ["_plugins", "_ism", "policies", _]:
                return self._ism(method, path, query, body)
            case "PUT", ["_ilm", "policy", _] | ["_index_template", _]:
                self.kept[path] = json.loads(body)
                return Said(200, {"acknowledged": True})
            case "HEAD", [name]:
                return Said(200 if any(key.startswith(f"/{name}") for key in self.kept) else 404, None)
            case "PUT", [_]:
                if path in self.kept:
                    return _error(400, "resource_already_exists_exception", f"index [{path}] already exists")
                self.kept[path] = json.loads(body)
                return Said(200, {"acknowledged": True})
        return Said(400, {"error": f"no handler found for uri [{path}] and method [{method}]"})

    def _ism(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Said:
        if self.version != "opensearch":
            return Said(400, {"error": "no handler found for uri"})
        known = self.kept.get(path)
        if method == "GET" and known is None:
            return _error(404, "status_exception", "Policy not found")
        if method == "GET":
            return Said(200, {"_id": "x", "_seq_no": known["number"], "_primary_term": 1, "policy": {}})
        if known is not None and query.get("if_seq_no") != [str(known["number"])]:
            return _error(409, "version_conflict_engine_exception", "version conflict")
        self.kept[path] = {"number": known["number"] + 1 if known else 7, "body": json.loads(body)}
        return Said(200, {"_id": "x"})

    def _bulk(self, body: bytes) -> dict[str, Any]:
        lines = body.decode().splitlines()
        items = []
        for head in lines[::2]:
            ((action, about),) = json.loads(head).items()
            items.append({action: {"_index": about["_index"], "_id": about.get("_id", "made"), "_version": 1,
                                   "result": "created", "status": 201}})  # fmt: skip
        return {"took": 1, "errors": False, "items": items}

    def _version(self) -> dict[str, str]:
        if self.version == "opensearch":
            return {"distribution": "opensearch", "number": "2.19.1"}
        return {"number": f"{self.version}.17.0", "build_flavor": "default"}


def _error(status: int, kind: str, why: str) -> Said:
    return Said(status, {"error": {"root_cause": [], "type": kind, "reason": why}, "status": status})


@contextmanager
def fake_node(version: str = "8", certificate: tuple[str, str] | None = None) -> Iterator[FakeNode]:
    """A running one; in TLS with *certificate*."""
    fake = FakeNode(version)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            fake.clients.add(self.client_address[1])
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            with fake.lock:
                fake.now += 1
                fake.most = max(fake.most, fake.now)
            try:
                said = fake.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            finally:
                with fake.lock:
                    fake.now -= 1
            if said.hang_up:
                self.close_connection = True
                return
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            product = {} if fake.version == "opensearch" else {"X-Elastic-Product": "Elasticsearch"}
            for name, value in {"Content-Type": "application/json", **product, **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815  # the base class calls them so

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def finish_request(self, request: Any, address: Any) -> None:
            if certificate is None:
                super().finish_request(request, address)
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            with context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, address)

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hangs up

    server = Server(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def cuttable(host: str, port: int) -> Iterator[Cuttable]:
    """A way to that address whose connections can be cut."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    way = Cuttable(listener.getsockname()[1])

    def pump(source: Any, sink: Any) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for item in (source, sink):
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((host, port))
                way.open += [near, far]
                way.accepted += 1
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield way
    finally:
        listener.close()
        way.cut()


@dataclass
class Cuttable:
    """A port that leads elsewhere."""

    port: int
    accepted: int = 0
    open: list[Any] = field(default_factory=list)

    def cut(self) -> None:
        """End every connection."""
        for item in self.open:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        self.open.clear()
