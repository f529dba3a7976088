"""Bytes over a socket, for what no client library sends."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.support.plane import Dev

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers in lower case, body. Status 0: the connection was closed without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    def refusal(self) -> tuple[str, str]:
        """Code and text of a refusal in the documented shape."""
        assert self.headers["content-type"] == "application/json;charset=UTF-8", self
        assert self.headers["x-request-id"].startswith("req_")
        body: dict[str, Any] = json.loads(self.body)
        assert {"error", "error_description"} <= body.keys() <= {"error", "error_description", "errors"}
        return body["error"], body["error_description"]


def request(
    dev: Dev,
    path: bytes,
    method: bytes = b"GET",
    *,
    headers: bytes = b"",
    body: bytes = b"",
    authorization: bytes | None = None,
    close: bool = True,
) -> bytes:
    """The bytes of a request with the administrator's token; *headers* end in CRLF."""
    token = b"Bearer " + dev.token.encode() if authorization is None else authorization
    return (
        method + b" " + path + b" HTTP/1.1\r\nHost: mooring.test\r\nAuthorization: " + token + b"\r\n"
        + (b"Connection: close\r\n" if close else b"") + headers + b"\r\n" + body
    )  # fmt: skip


def exchange(dev: Dev, data: bytes, *, hang_up: bool = False) -> Answer:
    """What the server answers to *data*; with *hang_up*, the client is gone after the last byte."""
    with socket.create_connection(dev.address, timeout=DEADLINE_S) as connection:
        connection.sendall(data)
        if hang_up:
            return Answer(0, {}, b"")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return parsed(received)


def parsed(received: bytes) -> Answer:
    """The last answer in *received*: interim ones (100) are passed over."""
    if not received:
        return Answer(0, {}, b"")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split()[1])
    if status == 100:
        return parsed(body)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(status, headers, body)
