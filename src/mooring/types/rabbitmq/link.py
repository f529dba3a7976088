"""
One AMQP connection: dialled by us, spoken by the driver.

The driver takes what a broker offers and reads whatever it is sent. Here channels and frames are agreed on as the
config asks, a refusal keeps the broker's own words, and what the other side may send has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import aio_pika
import pamqp.frame
from aio_pika.abc import UnderlayConnection
from aio_pika.tools import OneShotCallback
from aiormq import spec
from aiormq.auth import AuthMechanism
from aiormq.channel import Channel
from aiormq.connection import Connection, FrameReceiver, TransportFactory

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.plugin.network import Network, Option, network_error
from mooring.types.rabbitmq.faults import Refused, TooLong, explain_handshake
from mooring.types.rabbitmq.settings import Broker, Settings

T = TypeVar("T")
LONGEST_BODY = 16 * 1024 * 1024
USUAL_FRAME = 128 * 1024
UNLIMITED_CHANNELS = 65535
NEXT_BROKER_S = 5.0
GOODBYE_S = 3.0
TLS_GOODBYE_S = 1.0
UNHEARD_MS = 20_000
_OPTIONS: list[Option] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_USER_TIMEOUT"):
    # Heartbeats notice a broker that is gone without a word only after minutes.
    _OPTIONS.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS))
_END = 8
_CONTENT_HEADER = 2

if logging.getLogger("aiormq").level == logging.NOTSET:
    # It logs, with what the other side sent, what it also raises; we tell that ourselves, in our own words.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class BoundedReader(asyncio.StreamReader):
    """Refuses frames and messages that are longer than agreed, before they are in memory."""

    def __init__(self) -> None:
        super().__init__(limit=USUAL_FRAME, loop=asyncio.get_running_loop())
        self.longest = USUAL_FRAME + _END
        self._frame = 0

    async def readexactly(self, n: int) -> bytes:
        if n > self.longest:
            raise TooLong(f"a frame of {n} bytes was announced")
        data = await super().readexactly(n)
        # The driver reads the type of a frame (1 byte), its channel and length (6), and the rest.
        if n == 1:
            self._frame = data[0]
        elif self._frame == _CONTENT_HEADER and n > 12:
            size = int.from_bytes(data[4:12], "big")
            if size > LONGEST_BODY:
                raise TooLong(f"a message has {size} bytes, and at most {LONGEST_BODY} are read")
        return data


class Wire:
    """A TCP connection, with TLS once it was asked for."""

    def __init__(self, broker: Broker, sock: socket.socket) -> None:
        self.broker = broker
        self._sock: socket.socket | None = sock
        self._streams: tuple[BoundedReader, asyncio.StreamWriter] | None = None

    async def begin(self, settings: Settings) -> tuple[BoundedReader, asyncio.StreamWriter]:
        """The streams to speak AMQP on. Raises `ConnectorError` where TLS fails."""
        if self._streams is not None:
            return self._streams
        loop, reader = asyncio.get_running_loop(), BoundedReader()
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        options: dict[str, Any] = {}
        if settings.tls is not None:
            options = {
                "ssl": settings.tls, "server_hostname": self.broker.host, "ssl_shutdown_timeout": TLS_GOODBYE_S,
            }  # fmt: skip
        try:
            transport, _ = await loop.create_connection(lambda: protocol, sock=self._sock, **options)
        except OSError as exc:
            self.abort()
            raise network_error(exc, self.broker.address) from exc
        self._sock = None
        self._streams = reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        return self._streams

    def abort(self) -> None:
        """Close without waiting for anybody."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class _Given(TransportFactory):
    """Hands the driver the streams that are there already."""

    def __init__(self, reader: BoundedReader, writer: asyncio.StreamWriter) -> None:
        self.streams = reader, writer

    async def create(self, url: Any, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self.streams


class Link(Connection):
    """
    A connection to a broker, as the driver keeps it.

    Attributes:
        stage: How far the handshake came: `login`, or `vhost` once the login was accepted.
        channel_limit: How many channels may be open at a time.
    """

    # Every operation has one frame waiting at most; with room to spare, the driver never drops an answer it owes.
    FRAME_BUFFER_SIZE = 256

    def __init__(self, settings: Settings, wire: Wire, reader: BoundedReader, writer: asyncio.StreamWriter) -> None:
        given = settings.properties
        super().__init__(
            wire.broker.url, transport_factory=_Given(reader, writer), client_properties=_with_abilities(given)
        )
        self.vhost = settings.vhost
        self.wire = wire
        self.address = wire.broker.address
        self.stage = "login"
        self.channel_limit = UNLIMITED_CHANNELS
        self._settings = settings
        self._reader = reader
        self._client: Client | None = None

    def client(self) -> Client:
        """This connection as the driver's users know it."""
        if self._client is None:
            self._client = Client(self)
        return self._client

    def takes_messages(self) -> bool:
        """Whether the broker does not hold publishers back at the moment."""
        # The driver tells only by making us wait: one step shows whether it would.
        waiting = self.ready()
        try:
            waiting.send(None)
        except StopIteration:
            return True
        waiting.close()
        return False

    def free_number(self) -> int:
        """The lowest number that no channel has. Raises `Unreachable` where no more are granted."""
        # The driver itself would count on, past what was agreed, while lower numbers are free.
        for number in range(1, self.channel_limit + 1):
            if number not in self.channels:
                return number
        raise Unreachable(
            f"{self.address} grants no more channels at a time", hint="Raise connectionFactoryRequestedChannelMax."
        )

    async def new_channel(self, number: int, *, confirms: bool) -> Channel:
        """A channel of its own, open."""
        return cast(Channel, await self.channel(number, publisher_confirms=confirms))

    async def leave(self) -> None:
        """Say goodbye, for some seconds at most. Operations still running end with `Unreachable`."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self.close(Unreachable(f"the connection to {self.address} was closed here", hint="Retry."))
        except TimeoutError:
            pass
        finally:
            self.wire.abort()

    async def _rpc(  # type: ignore[override]  # the driver's has no self
        self, request: Any, writer: asyncio.StreamWriter, frame_receiver: FrameReceiver, wait_response: bool = True
    ) -> Any:
        writer.write(pamqp.frame.marshal(request, 0))
        await writer.drain()
        if not wait_response:
            return None
        _, _, frame = await frame_receiver.get_frame()
        if isinstance(frame, spec.Connection.Close):
            raise Refused(self.stage, int(frame.reply_code or 0), frame.reply_text or "")
        if isinstance(frame, spec.Connection.Tune):
            self.stage = "vhost"
            self._agree(frame)
        return frame

    def _agree(self, offer: spec.Connection.Tune) -> None:
        wanted = self._settings
        offer.channel_max = _lesser(int(offer.channel_max or 0), wanted.channel_max) or UNLIMITED_CHANNELS
        offer.frame_max = _lesser(int(offer.frame_max or 0), wanted.frame_max) or USUAL_FRAME
        self.channel_limit = offer.channel_max
        self._reader.longest = max(offer.frame_max, USUAL_FRAME) + _END

    def _credentials_class(self, start_frame: spec.Connection.Start) -> AuthMechanism:
        if self._settings.by_certificate and AuthMechanism.EXTERNAL.name in str(start_frame.mechanisms).split():
            return AuthMechanism.EXTERNAL
        return super()._credentials_class(start_frame)


class Client(aio_pika.Connection):
    """An `aio_pika.Connection` around a link that is open already."""

    def __init__(self, link: Link) -> None:
        super().__init__(link.url)
        closed = OneShotCallback(self._on_connection_close)
        link.closing.add_done_callback(closed)
        self.transport = UnderlayConnection(connection=link, close_callback=closed)
        self.connected.set()


async def connect(settings: Settings) -> Link:
    """A connection to the first broker that can be had, in their order. Raises `ConnectorError`."""

    async def attempt(broker: Broker) -> Link:
        wire = await dial(settings.network, broker)
        try:
            return await speak(wire, settings)
        except BaseException:
            wire.abort()
            raise

    return await first_of([(broker, broker) for broker in settings.brokers], attempt, settings)


async def first_of(
    candidates: Sequence[tuple[Broker, T]], attempt: Callable[[T], Awaitable[Link]], settings: Settings
) -> Link:
    """
    What *attempt* gives for the first of *candidates* that it works for.

    A refused login, or virtual host, ends it: the next broker would count the same wrong password.
    Raises `ConnectorError`.
    """
    failures: list[ConnectorError] = []
    for number, (broker, candidate) in enumerate(candidates, start=1):
        try:
            async with patience(broker, settings, is_last=number == len(candidates)):
                return await attempt(candidate)
        except ConnectorError as exc:
            if isinstance(exc.__cause__, Refused):
                raise
            failures.append(exc)
    if len(failures) == 1:
        raise failures[0]
    told = "; ".join(failure.message for failure in failures[:5])
    raise type(failures[0])(f"none of {len(failures)} brokers can be used: {told}", hint=failures[0].hint)


@asynccontextmanager
async def patience(broker: Broker, settings: Settings, *, is_last: bool) -> AsyncIterator[None]:
    """As long as *broker* may take: what the config says, and less where there is another one to try."""
    limits = [limit for limit in (settings.timeout_s, None if is_last else NEXT_BROKER_S) if limit is not None]
    try:
        async with asyncio.timeout(min(limits, default=None)):
            yield
    except TimeoutError:
        raise network_error(TimeoutError(), broker.address) from None


async def dial(network: Network, broker: Broker) -> Wire:
    """A TCP connection to the first address of the broker's host that takes one. Raises `Unreachable`, `EgressDenied`."""
    try:
        return Wire(broker, await network.connect(broker.host, broker.port, _OPTIONS))
    except OSError as exc:
        raise network_error(exc, broker.address) from exc


async def speak(wire: Wire, settings: Settings) -> Link:
    """Log in and open the virtual host. Raises `ConnectorError`, with the `Refused` that it came of as its cause."""
    reader, writer = await wire.begin(settings)
    link = Link(settings, wire, reader, writer)
    try:
        await link.connect()
        confirms = link.publisher_confirms
    except Exception as exc:
        known = explain_handshake(exc, wire.broker.address, settings.user, settings.vhost)
        if known is None:
            raise
        raise known from exc
    if not confirms:
        raise Misconfigured(
            f"{wire.broker.address} does not confirm what it takes", hint="Use a broker with publisher confirms."
        )
    return link


@asynccontextmanager
async def channel_of(link: Link) -> AsyncIterator[Channel]:
    """A channel for a moment."""
    channel = await link.new_channel(link.free_number(), confirms=False)
    try:
        yield channel
    finally:
        with contextlib.suppress(Exception):
            await channel.close(timeout=GOODBYE_S)


def _lesser(offered: int, wanted: int) -> int:
    """The smaller of two limits of which 0 means none."""
    return min(offered, wanted) if offered and wanted else offered or wanted


def _with_abilities(given: dict[str, Any]) -> dict[str, Any]:
    # They say what this client can do, whatever else is announced; the broker's answers depend on them.
    theirs = given.get("capabilities")
    abilities = {
        "authentication_failure_close": True, "basic.nack": True, "connection.blocked": True,
        "consumer_cancel_notify": True, "publisher_confirms": True,
    }  # fmt: skip
    return {**given, "capabilities": {**(theirs if isinstance(theirs, dict) else {}), **abilities}}
