"""
`FakeVault`: not Vault. A real HTTP server that speaks the part of its API that workers use.

The paths, headers, status codes and bodies are those of the HTTP API of Vault and OpenBao: the KV engine of version 2,
AppRole logins, and tokens that renew themselves.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeVault:
    """Secrets by their path below `secret/data/`, tokens, one AppRole, and every request that came."""

    def __init__(self) -> None:
        self.port = 0
        self.secrets: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = {"root-token"}
        self.role: tuple[str, str] = ("role-1", "secret-id-1")
        self.lease_s = 3600
        self.requests: list[tuple[str, str, str | None]] = []
        self.namespaces: set[str | None] = set()
        self.answer: tuple[int, bytes] | None = None
        self.delay_s = 0.0
        self._logins = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(each[1] == path for each in self.requests)

    def respond(self, method: str, path: str, token: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/auth/approle/login":
            if (body.get("role_id"), body.get("secret_id")) != self.role:
                return 400, {"errors": ["invalid role or secret ID"]}
            self._logins += 1
            lent = f"lent-{self._logins}"
            self.tokens.add(lent)
            return 200, self._auth(lent)
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        if path == "/v1/auth/token/renew-self" and method == "POST":
            return 200, self._auth(str(token))
        if method == "GET" and path.startswith("/v1/secret/data/"):
            found = self.secrets.get(path.removeprefix("/v1/secret/data/"))
            if found is None:
                return 404, {"errors": []}
            return 200, {"data": {"data": found, "metadata": {"version": 1, "destroyed": False}}}
        return 404, {"errors": ["no handler for route"]}

    def _auth(self, token: str) -> dict[str, Any]:
        return {"auth": {"client_token": token, "lease_duration": self.lease_s, "renewable": True, "policies": ["p"]}}


@contextlib.contextmanager
def fake_vault() -> Iterator[FakeVault]:
    """A `FakeVault` on a free port."""
    vault = FakeVault()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("X-Vault-Token")
            vault.requests.append((self.command, self.path, token))
            vault.namespaces.add(self.headers.get("X-Vault-Namespace"))
            time.sleep(vault.delay_s)
            if vault.answer is not None:
                status, body = vault.answer
            else:
                status, answer = vault.respond(self.command, self.path, token, json.loads(raw or b"{}"))
                body = json.dumps(answer).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    vault.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield vault
    finally:
        server.shutdown()
        server.server_close()
