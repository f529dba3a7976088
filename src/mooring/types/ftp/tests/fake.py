"""FTP servers that do what no real one does on purpose, each in a thread of its own per client."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def fake_ftp_server(script: Script) -> Iterator[int]:
    """The port of a server that treats each client as *script* does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=32)
    clients: list[socket.socket] = []

    def one(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(20)
            script(client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for item in (listener, *clients):
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()


class Answering:
    """
    Answers each command by its verb, and what it does not know with 502.

    `{port}` in a reply is that of a data connection, which is given *data* when a command is answered with 1xx.
    `heard` has the commands; `met` counts the clients, and `dialled` the data connections.
    """

    def __init__(self, replies: dict[str, str], data: bytes = b"", greetings: tuple[str, ...] = ("220 ready",)) -> None:
        self.replies, self.data, self.greetings = replies, data, greetings
        self.heard: list[str] = []
        self.met = self.dialled = 0

    def __call__(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        greeting = self.greetings[min(self.met, len(self.greetings) - 1)]
        self.met += 1
        client.sendall(f"{greeting}\r\n".encode())
        if not greeting.startswith("220"):
            return
        with socket.create_server(("127.0.0.1", 0)) as passive:
            port = passive.getsockname()[1]
            for line in lines:
                command = line.decode("utf-8", "replace").strip()
                self.heard.append(command)
                reply = self.replies.get(command, self.replies.get(command.partition(" ")[0], "502 what?"))
                text = reply.replace("{port}", str(port)).replace("{high},{low}", f"{port // 256},{port % 256}")
                if text.startswith("1"):
                    self._transfer(client, passive, text)
                else:
                    client.sendall(f"{text}\r\n".encode())
                if text.startswith(("221", "421")):
                    return

    def _transfer(self, client: socket.socket, passive: socket.socket, reply: str) -> None:
        began, _, ended = reply.partition("|")
        data, _ = passive.accept()
        self.dialled += 1
        client.sendall(f"{began}\r\n".encode())
        with data:
            data.sendall(self.data)
        client.sendall(f"{ended or '226 done'}\r\n".encode())


LOGIN = {
    "USER": "331 password?", "PASS": "230 welcome", "CWD": "250 there", "TYPE": "200 so be it",
    "EPSV": "229 here (|||{port}|)", "QUIT": "221 bye",
}  # fmt: skip


def after_auth_tls(certificate: str, key: str, before: bytes = b"") -> Script:
    """Takes AUTH TLS and shows that certificate; *before* is sent in the clear together with the consent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def script(client: socket.socket) -> None:
        client.sendall(b"220 ready\r\n")
        client.recv(4096)
        client.sendall(b"234 go ahead\r\n" + before)
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(client, server_side=True) as secured:
            while secured.recv(4096):
                pass

    return script
