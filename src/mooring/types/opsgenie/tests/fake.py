"""
A stand-in for Opsgenie, which cannot be had: its Alert API as its documentation describes it.

It takes requests and carries them out, so that a test can ask what became of them; it has no rules, no
schedules and tells nobody.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "0a1b2c3d-key-of-a-fake"


@dataclass
class Said:
    """An answer that is given in place of the right one."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeOpsGenie:
    """Alerts by alias, requests by id, and what was seen. `instead` is said in place of an honest answer."""

    port: int = 0
    key: str = KEY
    may_read: bool = True
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    instead: Said | None = None
    clients: set[int] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> Said:
        """What the API says."""
        self.seen.append(Seen(method, path, headers, body))
        if self.instead is not None:
            return self.instead
        if headers.get("authorization") != f"GenieKey {self.key}":
            return self._said(401, message="Could not authenticate")
        parts = urlsplit(path)
        steps = parts.path.removeprefix("/v2/alerts").strip("/").split("/")
        match method, steps:
            case "POST", [""]:
                return self._create(body)
            case "POST", [identifier, "close"]:
                return self._close(unquote(identifier), parse_qs(parts.query).get("identifierType", ["id"])[0])
            case "GET", ["requests", number] if number in self.requests:
                return self._said(200, data=self.requests[number])
            case "GET", [""] if not self.may_read:
                return self._said(403, message="You are not allowed to read alerts")
            case "GET", [""]:
                return self._said(200, data=list(self.alerts.values()))
        return self._said(404, message="Not found")

    def _create(self, body: Any) -> Said:
        if not isinstance(body, dict) or not body.get("message"):
            return self._said(
                422, message="Request body is not processable. Please check the errors.",
                errors={"message": "Message can not be empty."},
            )  # fmt: skip
        alias = body.get("alias") or uuid.uuid4().hex
        known = self.alerts.get(alias)
        if known and known["status"] == "open":
            known["count"] += 1
            return self._taken("Create", alias)
        self.alerts[alias] = {**body, "alias": alias, "id": uuid.uuid4().hex, "status": "open", "count": 1}
        return self._taken("Create", alias)

    def _close(self, identifier: str, kind: str) -> Said:
        for alias, alert in self.alerts.items():
            if (alias if kind == "alias" else alert["id"]) == identifier:
                alert["status"] = "closed"
                return self._taken("Close", alias)
        return self._taken("Close", identifier, success=False)

    def _taken(self, action: str, alias: str, success: bool = True) -> Said:
        said = self._said(202, result="Request will be processed")
        self.requests[said.body["requestId"]] = {"action": action, "alias": alias, "isSuccess": success}
        return said

    def _said(self, status: int, **body: Any) -> Said:
        return Said(status, {**body, "took": 0.01, "requestId": str(uuid.uuid4())})


@contextmanager
def fake_opsgenie(certificate: tuple[str, str] | None = None, client_ca: str | None = None) -> Iterator[FakeOpsGenie]:
    """A running one; in TLS with *certificate*, and for clients of *client_ca* only where that is given."""
    fake = FakeOpsGenie()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            fake.clients.add(self.client_address[1])
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            try:
                body = json.loads(raw) if raw else None
            except ValueError:
                body = raw
            said = fake.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            time.sleep(said.delay_s)
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815  # the base class calls them so

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # a client that does not like the certificate hangs up

    context: ssl.SSLContext | None = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED

    if context is not None:
        secure = context

        class Secured(Server):
            def finish_request(self, request: Any, address: Any) -> None:
                # In the thread of this client: one that is silent keeps no other waiting.
                with secure.wrap_socket(request, server_side=True) as wrapped:
                    super().finish_request(wrapped, address)

        server: ThreadingHTTPServer = Secured(("127.0.0.1", 0), Handler)
    else:
        server = Server(("127.0.0.1", 0), Handler)
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
