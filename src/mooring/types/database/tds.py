"""
The first words of SQL Server's protocol (MS-TDS), and TLS around what follows.

The client library encrypts by another TLS library, which takes certificates from files and does not compare names as
all of our rooms do. So a channel of ours stands between it and the socket: it agrees on encryption with the server,
does the handshake, and hands the client library the server's own greeting, in which nothing is to be encrypted.

    strict (TDS 8)    TLS first, then the greeting inside it
    encrypt=true      the greeting, a handshake inside packets of the greeting's kind, then TLS
    encrypt=false     the same, and TLS ends after the login, unless the server wants more
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import Final

from mooring.errors import Misconfigured
from mooring.types.database.tls import Tls

PRELOGIN, REPLY, LOGIN7 = 0x12, 0x04, 0x10
_LAST: Final = 0x01
_HEADER: Final = struct.Struct(">BBHHBB")
_ENCRYPTION: Final = 1
OFF, ON, NOT_SUPPORTED, REQUIRED = range(4)
_BLOCK: Final = 4096
_MOST: Final = 64 * 1024


class NoTds(ConnectionError):
    """What answered does not speak this protocol."""


def packets(kind: int, content: bytes) -> bytes:
    """*content* as packets of that kind."""
    size = _BLOCK - _HEADER.size
    parts = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
    return b"".join(
        _HEADER.pack(kind, _LAST if part is parts[-1] else 0, len(part) + _HEADER.size, 0, number & 0xFF, 0) + part
        for number, part in enumerate(parts, 1)
    )


def greeting(encryption: int, instance: str = "") -> bytes:
    """A PRELOGIN's content: version, encryption, instance, thread, no MARS."""
    values = [
        (0, struct.pack(">IH", 0x0B000000, 0)),
        (_ENCRYPTION, bytes([encryption])),
        (2, instance.encode("ascii", "replace") + b"\0"),
        (3, b"\0\0\0\0"),
        (4, b"\0"),
    ]
    offset = 5 * len(values) + 1
    table, body = b"", b""
    for token, value in values:
        table += struct.pack(">BHH", token, offset + len(body), len(value))
        body += value
    return table + b"\xff" + body


def encryption_of(content: bytes) -> tuple[int, int]:
    """What a PRELOGIN says about encryption, and where that byte stands."""
    position = 0
    with contextlib.suppress(struct.error, IndexError):
        while content[position] != 0xFF:
            token, offset, length = struct.unpack_from(">BHH", content, position)
            if token == _ENCRYPTION and length >= 1:
                return content[offset], offset
            position += 5
    raise NoTds


class Channel:
    """What the client library takes for a socket."""

    def __init__(self, below: socket.socket, host: str, tls: Tls, *, strict: bool, address: str) -> None:
        self._below, self._host, self._tls, self._strict, self._address = below, host, tls, strict, address
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._secured: ssl.SSLObject | None = None
        self._login_only = False
        self._greeted = False
        self._ready = b""

    def open(self) -> bool:
        """Greet the server, and encrypt as was agreed. Whether anything is encrypted now."""
        wanted = OFF if self._tls.mode == "allow" else ON
        if self._strict:
            self._handshake(wrapped=False)
        self._send(packets(PRELOGIN, greeting(NOT_SUPPORTED if self._strict else wanted)))
        kind, content = self._packet()
        if kind != REPLY:
            raise NoTds
        agreed, place = encryption_of(content)
        if not self._strict:
            if agreed == NOT_SUPPORTED and wanted == ON:
                raise Misconfigured(
                    f"{self._address} speaks no TLS, and encrypt asks for it",
                    hint="Switch encryption on at the server, or write encrypt=false into jdbcUrl.",
                )
            if agreed != NOT_SUPPORTED:
                self._login_only = agreed == OFF
                self._handshake(wrapped=True)
        # The client library has its own greeting answered by this, and is told to encrypt nothing.
        heard = bytearray(content)
        heard[place] = NOT_SUPPORTED
        self._ready = packets(REPLY, bytes(heard))
        return self._secured is not None

    def _handshake(self, *, wrapped: bool) -> None:
        assert self._tls.context is not None
        secured = self._tls.context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._host)
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(wrapped)
                self._incoming.write(self._packet()[1] if wrapped else self._some())
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush(wrapped)
                raise
            else:
                break
        self._flush(wrapped)
        self._secured = secured

    def _flush(self, wrapped: bool = False) -> None:
        data = self._outgoing.read()
        if data:
            self._below.sendall(packets(PRELOGIN, data) if wrapped else data)

    def _send(self, data: bytes) -> None:
        if self._secured is None:
            self._below.sendall(data)
        else:
            self._secured.write(data)
            self._flush()

    def _some(self) -> bytes:
        data = self._below.recv(_MOST)
        if not data:
            raise ConnectionResetError
        return data

    def _packet(self) -> tuple[int, bytes]:
        """One whole message: its kind and content."""
        kind, content = 0, b""
        while True:
            kind, status, length, *_ = _HEADER.unpack(self._exactly(_HEADER.size))
            if kind not in (REPLY, PRELOGIN) or length < _HEADER.size or len(content) + length > _MOST:
                raise NoTds
            content += self._exactly(length - _HEADER.size)
            if status & _LAST:
                return kind, content

    def _exactly(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            if self._secured is not None:
                read += self._decrypted(size - len(read))
                continue
            data = self._below.recv(size - len(read))
            if not data:
                raise ConnectionResetError
            read += data
        return read

    def _decrypted(self, size: int) -> bytes:
        assert self._secured is not None
        while True:
            try:
                data = self._secured.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._some())
                continue
            except ssl.SSLZeroReturnError:
                return b""
            return data

    # --- what the client library calls -------------------------------------------------------------------------

    def sendall(self, data: bytes | bytearray | memoryview, flags: int = 0) -> None:
        """Send, encrypted where that was agreed; the client library's greeting goes nowhere."""
        packet = bytes(data)
        if not self._greeted and packet[:1] == bytes([PRELOGIN]):
            self._greeted = bool(packet[1] & _LAST)
            return
        self._send(packet)
        if self._login_only and packet[0] == LOGIN7 and packet[1] & _LAST:
            self._secured = None

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Up to *size* bytes; none at the end."""
        if self._ready:
            data, self._ready = self._ready[:size], self._ready[size:]
            return data
        if self._secured is not None:
            try:
                return self._decrypted(size)
            except ConnectionResetError:
                return b""
        return self._below.recv(size)

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0, flags: int = 0) -> int:
        """As `recv`, into *buffer*."""
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def settimeout(self, timeout: float | None) -> None:
        """Nothing: how long a call may wait is decided outside, by who asked for it."""

    def gettimeout(self) -> float | None:
        """No limit."""
        return None

    def setsockopt(self, *arguments: int) -> None:
        """Nothing: the socket was set up when it was dialled."""

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """End both directions."""
        with contextlib.suppress(OSError):
            self._below.shutdown(how)

    def close(self) -> None:
        """Close the socket below."""
        self._below.close()
