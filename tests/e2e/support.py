"""What the end-to-end tests share: bodies for the real servers, a hook to call, and a loop that uses a connection."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.plane import Dev, connection_path

PROJECT = "MyProject"
TEXT = "org.apache.kafka.common.serialization.StringSerializer"


@dataclass
class Hook:
    """A real HTTP server that takes calls with one of `keys`, and remembers them."""

    port: int = 0
    keys: set[str] = field(default_factory=set)
    calls: list[tuple[str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def hook_server(
    *keys: str, tls: ssl.SSLContext | None = None, shook: Callable[[Any], None] | None = None
) -> Iterator[Hook]:
    """A hook on a free port, behind *tls* where it is given; *shook* is called with the socket of each call."""
    hook = Hook(keys=set(keys))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.headers.get("X-Api-Key", "")
            hook.calls.append((key, body))
            if shook is not None:
                shook(self.connection)
            answer = b"thanks" if key in hook.keys else b"who are you?"
            self.send_response(200 if key in hook.keys else 401)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


def postgres_body(name: str, service: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    url = f"jdbc:postgresql://localhost:{service['port']}/{service['database']}?sslmode=verify-full"
    return {
        "type": "database",
        "name": name,
        "jdbcUrl": url,
        "username": service["user"],
        "password": service["password"],
        **more,
    }


def mariadb_body(name: str, service: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    url = f"jdbc:mariadb://localhost:{service['port']}/{service['database']}"
    return {
        "type": "database",
        "name": name,
        "jdbcUrl": url,
        "username": service["user"],
        "password": service["password"],
        **more,
    }


def email_body(name: str, service: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "email", "name": name, "host": "localhost", "port": service["port"], "enableStartTls": True, "auth": True,
        "username": service["user"], "password": service["password"], "from": "mooring@example.com", **more,
    }  # fmt: skip


def hook_body(name: str, hook: Hook, key: str) -> dict[str, Any]:
    return {
        "type": "webhook", "name": name, "httpMethod": "POST", "fullUrl": f"http://127.0.0.1:{hook.port}/in",
        "headerList": [{"name": "X-Api-Key", "value": key}],
    }  # fmt: skip


def kafka_body(name: str, topic: str, service: Mapping[str, Any], **properties: str) -> dict[str, Any]:
    given = {
        "bootstrap.servers": service["plaintext"], "key.serializer": TEXT, "value.serializer": TEXT,
        **{key.replace("_", "."): value for key, value in properties.items()},
    }  # fmt: skip
    return {
        "type": "kafka", "name": name, "topicName": topic,
        "propertiesMap": {key: {"value": value, "valueType": "STRING"} for key, value in given.items()},
    }  # fmt: skip


def create(dev: Dev, body: dict[str, Any]) -> dict[str, Any]:
    """POST *body*, which must be deployed at once; its `deploymentResult`."""
    response = dev.api.post(connection_path(body["name"]), json=body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["deploymentResult"]
    assert result["success"], result
    return result


def update(dev: Dev, body: dict[str, Any]) -> dict[str, Any]:
    """PUT *body*; its `deploymentResult`."""
    response = dev.api.put(connection_path(body["name"]), json=body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["deploymentResult"]
    return result


class Uses:
    """What came of a loop of uses: how many worked, and the answers of those that did not."""

    def __init__(self) -> None:
        self.worked = 0
        self.failed: list[str] = []
        self._lock = threading.Lock()

    def note(self, ok: bool, text: str) -> None:
        with self._lock:
            if ok:
                self.worked += 1
            else:
                self.failed.append(text)

    def wait_for(self, more: int, within_s: float = 20.0) -> None:
        """Until *more* further uses have worked."""
        wanted = self.worked + more
        deadline = time.monotonic() + within_s
        while self.worked < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.worked >= wanted, f"{self.worked} uses worked; failed: {self.failed[:3]}"


@contextlib.contextmanager
def loop_of_uses(use: Callable[[], Any], threads: int = 3) -> Iterator[Uses]:
    """Use a connection again and again from several threads while the block lasts."""
    uses, stop = Uses(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            response = use()
            uses.note(response.status_code == 200 and response.json().get("status", 200) == 200, response.text)

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        uses.wait_for(5)
        yield uses
        uses.wait_for(5)
    finally:
        stop.set()
        for thread in running:
            thread.join(40)
