"""
HTTP on the wire, as the server library speaks it, with two manners of ours.

What is no HTTP at all gets its 400 in the documented shape; and a head (request line and headers) that does not end
is refused, because it would be collected for ever. What a refused client still sends is read and thrown away for a
moment: a connection that is closed on unread data is reset, and the client would never see why.
"""

from __future__ import annotations

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mooring.errors import BadRequest
from mooring.kit.ids import new_id
from mooring.wire.envelope import dumps, error_body

MAX_HEAD = 64 * 1024
LINGER_S = 2.0


class Http(HttpToolsProtocol):
    """One connection of one client."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = 0
        self._in_head = True
        self._refused = False

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._head += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            return
        except httptools.HttpParserError:
            self.send_400_response("The request is not valid HTTP")
            return
        if self._in_head and self._head > MAX_HEAD:
            self.send_400_response(f"The head of the request is larger than {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The only answer that does not come from the application."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.close()
                return
            # The application waits for a body that will not come.
            cycle.disconnected = True
            cycle.message_event.set()
        body = dumps(error_body(BadRequest(msg))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "content-type: application/json;charset=UTF-8\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {new_id('req')}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
