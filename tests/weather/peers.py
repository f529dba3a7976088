"""What a connection may meet at the other end besides the system that it is for."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping

Treatment = Callable[[socket.socket], None]

_PAUSE_S = 0.002
_CHUNK = bytes(range(256)) * 256


@contextlib.contextmanager
def serving(treat: Treatment) -> Iterator[int]:
    """
    The port of a server that treats every client as *treat* does, each in a thread.

    Threads, because a client that blocks the event loop must not look as if its peer were silent.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    open_sockets: set[socket.socket] = set()

    def one(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(30)
            treat(client)
        open_sockets.discard(client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                open_sockets.add(client)
                threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for item in (listener, *list(open_sockets)):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()


def silent(client: socket.socket) -> None:
    """Takes what it gets and says nothing."""
    while client.recv(65536):
        pass


def garbage(client: socket.socket) -> None:
    """Says what no protocol says, and hangs up once the other side has spoken or waited."""
    client.sendall(_CHUNK[:4096])
    client.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        client.recv(65536)


def endless(client: socket.socket) -> None:
    """Never stops talking: 32 MB in a second."""
    while True:
        client.sendall(_CHUNK)
        time.sleep(_PAUSE_S)


def showing(certificate: str, key: str) -> Treatment:
    """Speaks TLS with that certificate, and is silent inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def treat(client: socket.socket) -> None:
        # A client that does not like the certificate hangs up in the handshake.
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(client, server_side=True) as secured:
            silent(secured)

    return treat


def certificate_of(weather: str, certificates: Mapping[str, str]) -> tuple[str, str]:
    """The certificate, and its key, that a server shows in that weather."""
    name = {"wrong_ca": "unknown_server", "wrong_name": "wrong_name", "expired": "expired"}[weather]
    return certificates[name], certificates[f"{name}_key"]
