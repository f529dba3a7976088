"""One connection that is made when it is needed, and made anew, perhaps to another broker, when it was lost."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from mooring.errors import ConnectorError, EgressDenied, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.activemq.amqp.connection import Connection as AmqpConnection
from mooring.types.activemq.amqp.session import Session as AmqpSession
from mooring.types.activemq.faults import Lost, TooLong, explain, hung_up, unintelligible
from mooring.types.activemq.messages import Incoming, Outgoing
from mooring.types.activemq.openwire.connection import Connection as OpenWireConnection
from mooring.types.activemq.openwire.session import Session as OpenWireSession
from mooring.types.activemq.settings import Broker, Settings
from mooring.types.activemq.wire import Wire, begin, dial

NEXT_BROKER_S = 5.0


class Consumer(Protocol):
    """Reads messages, which nobody else gets until it is closed."""

    @property
    def full(self) -> bool: ...

    async def take(self, count: int, wait_s: float) -> list[Incoming]: ...

    async def acknowledge(self, waits: bool = True) -> None: ...

    async def close(self) -> None: ...


class Session(Protocol):
    """A session with a broker for one destination, whatever protocol it speaks."""

    @property
    def wire(self) -> Wire: ...

    async def open(self, publishes: bool) -> None: ...

    async def publish(self, message: Outgoing) -> str: ...

    async def consumer(self, count: int, selector: str | None, subscription: str | None) -> Consumer: ...

    async def leave(self) -> None: ...


class Link:
    """
    A session that was opened, or is about to be: the steps of connecting, one by one.

    Raises `ConnectorError` only.
    """

    def __init__(self, settings: Settings, broker: Broker, speaks_amqp: bool) -> None:
        self.settings, self.broker = settings, broker
        self._amqp = speaks_amqp
        self._wire: OpenWireConnection | AmqpConnection | None = None
        self._session: Session | None = None
        self._sock: socket.socket | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None
        return self._session

    @property
    def alive(self) -> bool:
        return self._wire is not None and self._wire.alive

    async def dial(self) -> None:
        self._sock = await dial(self.settings.network, self.broker)

    async def secure(self) -> None:
        """In TLS, where the broker's URL says so."""
        assert self._sock is not None
        sock, self._sock = self._sock, None
        make = AmqpConnection if self._amqp else OpenWireConnection
        self._wire = await begin(sock, self.broker, lambda: make(self.broker))

    async def log_in(self, client_id: str) -> None:
        assert self._wire is not None
        try:
            await self._wire.log_in(self.settings, client_id)
        except TooLong:
            # Nothing long is said before anybody is logged in: it is something else.
            raise unintelligible(self.broker.address) from None
        except Lost as exc:
            raise hung_up(self.broker.address, exc.text) from exc
        except Exception as exc:
            raise self.explain(exc, "let nobody in") or exc from exc

    async def open(self, publishes: bool) -> None:
        wire = self._wire
        self._session = (
            AmqpSession(wire, self.settings)
            if isinstance(wire, AmqpConnection)
            else OpenWireSession(wire, self.settings)  # type: ignore[arg-type]  # it is there
        )
        try:
            await self._session.open(publishes)
        except Exception as exc:
            raise self.explain(exc, "opened the session") or exc from exc

    async def leave(self) -> None:
        if self._session is not None:
            await self._session.leave()
        self.abort()

    def abort(self) -> None:
        """Close without waiting for anybody."""
        if self._wire is not None:
            self._wire.fail(ConnectionAbortedError())
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def explain(self, error: BaseException, doing: str) -> ConnectorError | None:
        """What *error* means, that came while the broker *doing*."""
        return explain(error, self.broker.address, self.settings.login(self.broker)[0], doing)


class Line:
    """At most one link at a time, shared by all who ask."""

    def __init__(self, connect: Callable[[bool], Awaitable[Link]]) -> None:
        self._connect = connect
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._was_there = False

    async def link(self) -> Link:
        """The live link. Raises `ConnectorError`."""
        if self._link is not None and self._link.alive:
            return self._link
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Whoever waited may have left; then nobody else hears of the failure.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and not (task is not None and task.cancelling()):
                raise Unreachable("the connection was closed here while it was being made", hint="Retry.") from None
            raise

    async def close(self) -> None:
        """Say goodbye, once what is on its way is answered. Safe twice; the next use connects anew."""
        link, self._link = self._link, None
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
        # It may have been made all the same, in that moment.
        made, self._link = self._link, None
        for each in (link, made):
            if each is not None:
                await each.leave()

    async def _open(self) -> Link:
        lost, self._link = self._link, None
        if lost is not None:
            lost.abort()
        self._link = link = await self._connect(not self._was_there)
        self._was_there = True
        return link


async def connect(
    settings: Settings, speaks_amqp: bool, client_id: Callable[[], str], publishes: bool, first: bool
) -> Link:
    """
    A link to the first broker that can be had.

    A refused login ends it: the next broker would count the same wrong password. Raises `ConnectorError`.
    """
    retry = settings.retry
    rounds = retry.first_rounds if first else retry.rounds
    loop = asyncio.get_running_loop()
    until = None if retry.patience_s is None else loop.time() + retry.patience_s
    pause = retry.delay_s
    failures: list[ConnectorError] = []
    done = 0
    while True:
        found = await _round(settings, speaks_amqp, client_id, publishes, failures)
        if found is not None:
            return found
        done += 1
        if (rounds is not None and done >= rounds) or (until is not None and loop.time() + pause >= until):
            break
        await asyncio.sleep(pause)
        pause = min(max(pause, 0.001) * retry.factor, retry.longest_s)
    if len(failures) == 1:
        raise failures[0]
    told = "; ".join(failure.message for failure in failures[:5])
    raise type(failures[0])(f"none of {len(failures)} brokers can be used: {told}", hint=failures[0].hint)


async def _round(
    settings: Settings, speaks_amqp: bool, client_id: Callable[[], str], publishes: bool, failures: list[ConnectorError]
) -> Link | None:
    """A link to one of the brokers, each tried once; or None, and why, in *failures*."""
    failures.clear()
    brokers = list(settings.brokers)
    if settings.randomize:
        random.shuffle(brokers)
    for broker in brokers:
        limits = [settings.connect_s, NEXT_BROKER_S if broker is not brokers[-1] else None]
        link = Link(settings, broker, speaks_amqp)
        try:
            async with asyncio.timeout(min((limit for limit in limits if limit is not None), default=None)):
                await link.dial()
                await link.secure()
                await link.log_in(client_id())
                await link.open(publishes)
                return link
        except TimeoutError:
            link.abort()
            failures.append(network_error(TimeoutError(), broker.address))
        except (Rejected, Misconfigured) as exc:
            link.abort()
            if isinstance(exc, Rejected):
                raise
            failures.append(exc)
        except ConnectorError as exc:
            link.abort()
            failures.append(exc)
        except BaseException:
            link.abort()
            raise
    if all(isinstance(failure, EgressDenied) for failure in failures):
        # Trying again changes no policy.
        raise failures[0]
    return None


def client_id_of(settings: Settings, exact: bool) -> Callable[[], str]:
    """
    Makes the client id of each connection.

    An id can be used by one connection at a time. Only a durable subscription needs the very one; others, of which
    there are several on several workers, have ids that begin with it.
    """
    given = settings.client_id
    if given is not None and exact:
        return lambda: given
    return lambda: f"{given or 'mooring'}-{secrets.token_hex(6)}"
