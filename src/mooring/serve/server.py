"""The server of HTTP and WebSockets around an application, and the program around a server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from mooring.api.listener import TlsListener
from mooring.api.protocol import Http
from mooring.errors import MooringError, Unavailable
from mooring.wire.frames import MAX_FRAME

GRACE_S = 10


class _Server(uvicorn.Server):
    """
    Serves until told to stop. Signals are ours to handle: the library's way would end the process before we let go.

    With *tls*, connections are accepted by a listener of ours: see `mooring.api.listener`.
    """

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is None or not sockets:
            await super().startup(sockets)
            return
        await self.lifespan.startup()

        def make() -> asyncio.Protocol:
            return Http(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        self.servers = [TlsListener(listener, self._tls, make) for listener in sockets]  # type: ignore[misc]  # all that it calls is there
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.force_exit = self.should_exit  # the second time, without waiting for requests
        self.should_exit = True


def server_of(app: Any, tls: ssl.SSLContext | None = None) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http=Http, loop="none", ws="websockets-sansio",
        ws_max_size=MAX_FRAME, ws_ping_interval=None, ws_per_message_deflate=False, server_header=False, proxy_headers=False, date_header=False,
        timeout_graceful_shutdown=GRACE_S, h11_max_incomplete_event_size=65536, backlog=4096,
    )  # fmt: skip
    return _Server(config, tls)


@contextlib.contextmanager
def listening(host: str, port: int) -> Any:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=4096
        )
    except OSError as exc:
        raise Unavailable(
            f"{host}:{port} cannot be listened on: {exc.strerror or exc}",
            hint="Choose another --port; 0 picks a free one.",
        ) from exc
    with listener:
        yield listener


def url_of(host: str, listener: socket.socket, *, tls: bool = False) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"


def settle_memory() -> None:
    """What was loaded at the start lives for ever: let the collector leave it alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 20)


def run(main: Any) -> int:
    """Run *main* on the fast event loop; an error of ours becomes one clear line and exit status 1."""
    import uvloop

    try:
        uvloop.run(main)
    except MooringError as exc:
        sys.stderr.write(f"mooring: {exc.message}\n" + (f"  {exc.hint}\n" if exc.hint else ""))
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0
