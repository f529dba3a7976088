"""
The streams of workers: one task each, woken when revisions move, looking once a second regardless.

A hint only saves time; the truth is the head revision in the store.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mooring.control.access import Access, ask_grant
from mooring.control.fleet import Fleet
from mooring.control.jobs import Jobs, Outbox
from mooring.control.parcels import Parcel, Parcels
from mooring.control.session import ControlSession, reach, removal
from mooring.domain.names import name_key
from mooring.domain.records import Actor, DesiredRow, Environment, Standing, Token, Worker, WorkerException
from mooring.errors import BadRequest, MooringError, NotAuthenticated
from mooring.kit.aead import new_key, wrap
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.kit.log import log
from mooring.kit.tokens import parse_token
from mooring.seal.envelope import Ring
from mooring.store.base import StartEpoch, Store
from mooring.wire.frames import (
    HEARTBEAT_S,
    PROTOCOL,
    Bye,
    Hello,
    NotAFrame,
    Ping,
    Pong,
    ProbeResult,
    Report,
    Reset,
    Welcome,
    from_worker,
)

LOOK_S = 1.0
HELLO_S = 10.0
SEND_S = 20.0
SILENCE_S = HEARTBEAT_S * 3
ROWS = 500
LETTER = 128 * 1024
AGAIN_MS = 1_000
CROWD = 8
CROWD_S = 0.05
"""After a batch of many rows that nobody waits for, the next one takes its time: under load, fewer and larger ones."""


class Socket(Protocol):
    """A WebSocket, however it is served. Both raise `Closed` when the other side is gone."""

    async def receive(self) -> str: ...
    async def send(self, text: str) -> None: ...


class Closed(Exception):
    """The other side is gone."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who is at the other end: an enrolled worker, or a process attached with a personal token."""

    worker: Worker | None
    token: Token | None


class Streams:
    """Serves the streams of this node."""

    def __init__(self, store: Store, ring: Ring, fleet: Fleet, parcels: Parcels, access: Access, jobs: Jobs) -> None:
        self._store, self._ring, self._fleet, self._parcels, self._access = store, ring, fleet, parcels, access
        self._jobs = jobs
        self._heads: dict[str, int] = {}
        self._wakers: dict[str, set[asyncio.Event]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._by_token: dict[str, set[str]] = {}
        self._attached: dict[str, tuple[str, Standing | None]] = {}
        self._stopping = False
        store.subscribe(self.heads_moved)

    def heads_moved(self, heads: Mapping[str, int]) -> None:
        """Revisions moved: wake those who care."""
        for environment, head in heads.items():
            if head > self._heads.get(environment, 0):
                self._heads[environment] = head
                for waker in self._wakers.get(environment, ()):
                    waker.set()

    async def look(self) -> None:
        """Read the head revisions from the store; called once a second, because a hint may be lost."""
        self.heads_moved(
            {environment.id: environment.head_revision for environment in await self._store.environments()}
        )

        for session, (token, standing) in tuple(self._attached.items()):
            if await self._access.standing(token) != standing:
                self.close(session)  # what its holder may has changed: it comes back for what that is now

    async def stop(self) -> None:
        """Tell every stream to come back later."""
        self._stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self, session: str) -> None:
        """End one stream, as when its worker is forgotten."""
        task = self._running.get(session)
        if task is not None:
            task.cancel()

    def close_token(self, token_id: str) -> None:
        """End the streams that were opened with a token that is now revoked."""
        for session in tuple(self._by_token.get(token_id, ())):
            self.close(session)

    async def authenticate(self, credential: str) -> _Caller:
        """Who presents *credential*. Raises `NotAuthenticated`, `NotPermitted`."""
        parts = parse_token(credential)
        if parts is not None and parts.kind == "wrk":
            worker = await self._store.worker(parts.id)
            if worker is not None and hmac.compare_digest(worker.secret_hash, parts.secret_hash):
                return _Caller(worker, None)
            raise NotAuthenticated("Invalid token")
        token = await self._access.valid_token(credential)
        holder = await self._access.holder(token)
        ask_grant(holder.may_somewhere("connections:attach"), "connections:attach", "with this token")
        return _Caller(None, token)

    async def serve(self, socket: Socket, caller: _Caller) -> None:
        """Run one stream until it ends. Never raises for what the other side does."""
        session = new_id("ses")
        task = asyncio.current_task()
        assert task is not None
        self._running[session] = task
        try:
            async with asyncio.timeout(HELLO_S):
                hello = from_worker(await socket.receive())
            if not isinstance(hello, Hello) or hello.proto != PROTOCOL:
                await _bye(socket, 0, "this control plane speaks another version of the protocol")
                return
            if self._ring.locked is not None:
                await _bye(socket, 30_000, "the control plane is sealed; serve on with what you have")
                return
            if caller.worker is not None:
                await self._serve_worker(socket, session, hello, caller.worker)
            elif caller.token is not None:
                await self._serve_attached(socket, session, hello, caller.token)
        except (Closed, NotAFrame, TimeoutError) as exc:
            log.info("stream_ended", session=session, why=type(exc).__name__)
        except asyncio.CancelledError:
            with contextlib.suppress(Closed, TimeoutError):
                await _bye(socket, 1_000 if self._stopping else 5_000, "the control plane closes this stream")
            if not self._stopping and task.cancelling():
                return
            raise
        except MooringError as exc:
            with contextlib.suppress(Closed, TimeoutError):
                await _bye(socket, 0, exc.message)
        finally:
            self._running.pop(session, None)

    # enrolled workers

    async def _serve_worker(self, socket: Socket, session: str, hello: Hello, worker: Worker) -> None:
        environment = await self._environment(worker.environment)
        environment = await self._after_restore(worker, hello, environment)
        state = ControlSession(session)
        plan = state.greet(hello, environment, hello.digest == environment.digest.hex())
        key_id, key = await self._parcels.content_key(environment.id)
        wrapped = wrap(worker.public_key, key, key_id.encode())
        older = self._fleet.arrive(worker.id, session, hello.incarnation, hello.version, hello.egress)
        if older is not None:
            log.info("worker_fenced", worker=worker.id, older=older)
            self.close(older)
        await _send(socket, Welcome(
            session=session, epoch=environment.epoch, head=environment.head_revision, mode=plan.mode, environment=environment.name,
            environment_key_id=key_id, environment_key=base64.b64encode(wrapped).decode(),
        ).text())  # fmt: skip
        log.info("worker_connected", worker=worker.id, name=worker.name, environment=environment.name, mode=plan.mode)
        with self._waker(environment.id) as waker, self._jobs.open(worker.id, waker) as outbox:
            try:
                await _both(
                    self._send_worker(socket, worker, state, waker, outbox),
                    self._hear_worker(socket, worker, state, waker),
                )
            finally:
                self._fleet.leave(worker.id, session)
                log.info("worker_disconnected", worker=worker.id)

    async def _after_restore(self, worker: Worker, hello: Hello, environment: Environment) -> Environment:
        """A worker that proves a revision beyond ours has seen a future that this database lost: a new epoch begins."""
        if hello.epoch != environment.epoch or hello.revision <= environment.head_revision or not hello.receipt:
            return environment
        if not hmac.compare_digest(hello.receipt, self._ring.receipt(worker.id, environment.epoch, hello.revision)):
            return environment
        log.warning("epoch_restarted", environment=environment.name, worker=worker.id)
        await self._store.commit(StartEpoch(environment.id, new_id("epo")))
        return await self._environment(environment.id)

    async def _send_worker(
        self, socket: Socket, worker: Worker, state: ControlSession, waker: asyncio.Event, outbox: Outbox
    ) -> None:
        first, pulse = True, Pulse()
        while True:
            waker.clear()
            for question in outbox.take():
                await _send(socket, question)
                pulse.beat()
            if first or state.is_behind(self._heads.get(worker.environment, 0)):
                environment, rows = await self._store.delta(worker.environment, state.sent_revision, ROWS)
                if environment.epoch != state.epoch:
                    await _send(socket, Reset(why="a new epoch began").text())
                    return
                if state.lost(environment):
                    await _bye(socket, AGAIN_MS, "what this worker has not been sent was compacted")
                    return
                if first or environment.head_revision > state.sent_revision:
                    letter = _Letter(socket)
                    left_out = False
                    for row in rows:
                        left_out |= not await self._write_row(letter, worker.environment, row, state)
                    upto = reach(environment, rows, ROWS)
                    receipt = self._ring.receipt(worker.id, environment.epoch, upto)
                    await letter.write(state.commit(environment, upto, receipt, left_out=left_out).text())
                    await letter.post()
                    pulse.beat()
                    if len(rows) > CROWD and not self._fleet.is_awaited(worker.environment):
                        await asyncio.sleep(CROWD_S)
                first = False
            await pulse.wait(waker, socket)

    async def _write_row(self, letter: _Letter, environment: str, row: DesiredRow, state: ControlSession) -> bool:
        """Write the frame of *row* where it needs one. False where the connection moved on meanwhile."""
        if not state.tells(row):
            return True
        if not row.present:
            await letter.write(removal(row).text())
            return True
        parcel = await self._parcels.frame(environment, row)
        return parcel is not None and await self._write_parcel(letter, environment, parcel)

    async def _write_parcel(self, letter: _Letter, environment: str, parcel: Parcel, key: bytes | None = None) -> bool:
        """Write a put frame, before it the materials it names that this letter has not brought yet. False where one is gone."""
        for content in parcel.materials:
            if content not in letter.materials:
                text = await self._parcels.material(environment, content, key)
                if text is None:
                    return False
                letter.materials.add(content)
                await letter.write(text)
        await letter.write(parcel.text)
        return True

    async def _hear_worker(self, socket: Socket, worker: Worker, state: ControlSession, waker: asyncio.Event) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S):
                frame = from_worker(await socket.receive())
            if isinstance(frame, Ping):
                await _send(socket, Pong().text())
            if isinstance(frame, ProbeResult):
                self._jobs.hear(worker.id, frame)
            if not isinstance(frame, Report):
                self._fleet.renew(worker.id)
                continue
            if not state.hear(frame):
                continue
            exceptions = [
                WorkerException(e.id, e.generation, e.serving_generation, e.state, e.reason, e.message, e.since)
                for e in frame.exceptions
            ]
            self._fleet.hear(worker.id, state.session, frame.epoch, frame.observed_revision, exceptions)
            if await self._differs(frame, state, worker.environment):
                log.warning("worker_digest_differs", worker=worker.id, revision=frame.observed_revision)
                await _send(socket, Reset(why="what you hold is not what you should hold").text())
                return
            waker.set()

    async def _differs(self, report: Report, state: ControlSession, environment_id: str) -> bool:
        """Whether the worker's set is not what it should be, although it says that it is at the head."""
        if report.observed_revision != state.sent_revision or report.digest is None:
            return False
        environment = await self._store.environment(environment_id)
        return environment is not None and state.needs_reset(report, environment)

    # attached processes

    async def _serve_attached(self, socket: Socket, session: str, hello: Hello, token: Token) -> None:
        environments = {name_key(environment.name): environment for environment in await self._store.environments()}
        environment = environments.get(name_key(hello.environment or ""))
        if environment is None or (
            token.project and environment.projects and token.project not in environment.projects
        ):
            raise BadRequest("there is no such environment, or the token may not use it")
        try:
            public = base64.b64decode(hello.public_key or "", validate=True)
            key = new_key()  # of this session alone: an attached process never learns the environment's key
            wrapped = wrap(public, key, session.encode())
        except (binascii.Error, ValueError):
            raise BadRequest("the public key is not a key") from None
        state = ControlSession(session)
        state.greet(Hello(incarnation=hello.incarnation), environment, False)
        await _send(socket, Welcome(
            session=session, epoch=environment.epoch, head=environment.head_revision, mode="snapshot", environment=environment.name,
            environment_key_id=session, environment_key=base64.b64encode(wrapped).decode(),
        ).text())  # fmt: skip
        actor, standing = await self._access.holder(token), await self._access.standing(token.id)
        self._attached[session] = token.id, standing
        self._by_token.setdefault(token.id, set()).add(session)
        left_s = None if token.expires_at is None else max(0.0, (token.expires_at - now_ms()) / 1000)
        try:
            async with asyncio.timeout(left_s):  # a stream does not outlive the token it was opened with
                with self._waker(environment.id) as waker:
                    await _both(
                        self._send_attached(socket, actor, environment.id, state, key, waker),
                        self._hear_attached(socket, state, waker),
                    )
        finally:
            self._by_token[token.id].discard(session)
            del self._attached[session]

    async def _send_attached(
        self, socket: Socket, actor: Actor, environment_id: str, state: ControlSession, key: bytes, waker: asyncio.Event
    ) -> None:
        first, pulse = True, Pulse()
        while True:
            waker.clear()
            if first or state.is_behind(self._heads.get(environment_id, 0)):
                environment, rows = await self._store.delta(environment_id, state.sent_revision, ROWS)
                if environment.epoch != state.epoch or state.lost(environment):
                    await _bye(socket, AGAIN_MS, "the desired state begins anew")
                    return
                letter = _Letter(socket)
                left_out = False
                for row in rows:
                    left_out |= not await self._write_attached(letter, actor, environment_id, row, key)
                upto = reach(environment, rows, ROWS)
                commit = state.commit(environment, upto, "", left_out=left_out).model_copy(update={"digest": None})
                await letter.write(commit.text())
                await letter.post()
                pulse.beat()
                first = False
            await pulse.wait(waker, socket)

    async def _write_attached(
        self, letter: _Letter, actor: Actor, environment: str, row: DesiredRow, key: bytes
    ) -> bool:
        """Write the frame of *row*, if the actor may use it. False where the connection moved on meanwhile."""
        connection = await self._store.connection_by_id(row.connection) if row.present else None
        if connection is None:
            await letter.write(removal(row).text())
            return True
        if not await self._access.may_hold(actor, connection):
            return True
        parcel = await self._parcels.seal_frame(environment, connection, row, key)
        return parcel is not None and await self._write_parcel(letter, environment, parcel, key)

    async def _hear_attached(self, socket: Socket, state: ControlSession, waker: asyncio.Event) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S):
                frame = from_worker(await socket.receive())
            if isinstance(frame, Ping):
                await _send(socket, Pong().text())
            if isinstance(frame, Report) and state.hear(frame):
                waker.set()

    async def _environment(self, environment_id: str) -> Environment:
        environment = await self._store.environment(environment_id)
        if environment is None:
            raise BadRequest("the environment is gone")
        self._heads[environment_id] = max(self._heads.get(environment_id, 0), environment.head_revision)
        return environment

    @contextlib.contextmanager
    def _waker(self, environment: str) -> Iterator[asyncio.Event]:
        waker = asyncio.Event()
        self._wakers.setdefault(environment, set()).add(waker)
        self._parcels.listener_came()
        try:
            yield waker
        finally:
            self._parcels.listener_went()
            self._wakers[environment].discard(waker)


class Pulse:
    """
    When the other side must hear from us next.

    What wakes a sender is no sign of life to a receiver: a worker that reports often, and is sent nothing, must be
    sent a ping all the same.
    """

    def __init__(self, every_s: float = HEARTBEAT_S) -> None:
        self._every_s = every_s
        self.beat()

    def beat(self) -> None:
        """Something was sent."""
        self._due = time.monotonic() + self._every_s

    async def wait(self, waker: asyncio.Event, socket: Socket) -> None:
        """Until *waker* is set, or a ping had to be sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._due - time.monotonic())):
                await waker.wait()
        if time.monotonic() >= self._due:
            await _send(socket, Ping().text())
            self.beat()


class _Letter:
    """Frames on their way together: one message of several lines, sent when it is large or done. One for each commit."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.materials: set[bytes] = set()
        self._lines: list[str] = []
        self._size = 0

    async def write(self, frame: str) -> None:
        if self._size + len(frame) > LETTER:
            await self.post()
        self._lines.append(frame)
        self._size += len(frame) + 1

    async def post(self) -> None:
        if self._lines:
            text = "\n".join(self._lines)
            self._lines, self._size = [], 0
            await _send(self._socket, text)


async def _send(socket: Socket, text: str) -> None:
    async with asyncio.timeout(SEND_S):
        await socket.send(text)


async def _bye(socket: Socket, retry_after_ms: int, why: str) -> None:
    async with asyncio.timeout(2):
        await socket.send(Bye(retry_after_ms=retry_after_ms, why=why).text())


async def _both(sending: Coroutine[Any, Any, None], hearing: Coroutine[Any, Any, None]) -> None:
    """Run both until one ends, however it ends."""
    tasks = [asyncio.create_task(sending), asyncio.create_task(hearing)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
