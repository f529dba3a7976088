"""Ask, reconcile, acknowledge: the worker's stream to the control plane, for ever."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from mooring import __version__
from mooring.errors import NotAuthenticated
from mooring.kit.aead import NotAuthentic, public_key_of, unwrap
from mooring.kit.log import log
from mooring.kit.tls import control_context
from mooring.plugin.registry import Registry
from mooring.wire.frames import (
    APPLY_PATIENCE_S,
    BACK_PRESSURE_S,
    HEARTBEAT_S,
    LONGEST_EGRESS,
    MAX_EXCEPTIONS,
    MAX_FRAME,
    MAX_PENDING,
    Bye,
    Commit,
    Delete,
    Hello,
    Material,
    NotAFrame,
    Ping,
    Pong,
    ProbeJob,
    Put,
    Report,
    Reset,
    Welcome,
    from_control,
)
from mooring.worker.materials import Held
from mooring.worker.pool import Pool
from mooring.worker.state import WorkerState

SILENCE_S = HEARTBEAT_S * 3
RECONNECT_S = 5.0
AFTER_BYE_S = 30.0
CROWD = 50


class Refused(NotAuthenticated):
    """The control plane does not know this worker, or this token, any more."""


class Loop:
    """
    Keeps one pool what the control plane wants it to be.

    At an https:// *url*, the certificates of *ca_file* are trusted beside the system's.
    *credential* is a worker's own, or a personal token with *attach* naming the environment; *private_key*
    receives the environment's key.
    """

    def __init__(
        self,
        url: str,
        credential: str,
        private_key: bytes,
        pool: Pool,
        registry: Registry,
        *,
        attach: str | None = None,
        ca_file: Path | str | None = None,
    ) -> None:
        self._url, self._ca_file = url, ca_file
        self._stream_url = "ws" + url.removeprefix("http").rstrip("/") + "/worker/v1/stream"
        self._credential, self._private_key, self._pool, self._registry, self._attach = (
            credential,
            private_key,
            pool,
            registry,
            attach,
        )
        self._incarnation = os.urandom(8).hex()
        self._state = WorkerState()
        self._session = ""
        self._news = asyncio.Event()
        self._jobs: set[asyncio.Task[None]] = set()
        self.settled = asyncio.Event()
        self.connected = False
        pool.changed = self._news.set

    async def run(self) -> None:
        """Until cancelled; raises `Refused` where coming back is pointless."""
        while True:
            wait_s = random.uniform(0, RECONNECT_S)
            try:
                async with connect(
                    self._stream_url, additional_headers={"Authorization": f"Bearer {self._credential}"}, max_size=MAX_FRAME,
                    open_timeout=10, ping_interval=None, compression=None, proxy=None, ssl=control_context(self._url, self._ca_file),
                ) as socket:  # fmt: skip
                    wait_s = await self._stream(socket)
            except InvalidStatus as exc:
                if exc.response.status_code in (401, 403):
                    raise Refused("the control plane refuses this worker's credential") from None
                if exc.response.status_code >= 500:
                    wait_s = random.uniform(0, AFTER_BYE_S)
            except ssl.SSLCertVerificationError as exc:
                log.warning("certificate_refused", why=exc.verify_message, hint="Is MOORING_CA_FILE the issuer's?")
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError, NotAFrame) as exc:
                log.info("stream_lost", why=type(exc).__name__)
            except InvalidURI:
                raise Refused("the control plane's address is not a URL") from None
            finally:
                self.connected = False
            await asyncio.sleep(wait_s)

    async def _stream(self, socket: ClientConnection) -> float:
        """One stream; how long to wait before the next."""
        state = self._state
        await socket.send(Hello(
            incarnation=self._incarnation, epoch=state.proven_epoch, revision=state.revision, digest=state.digest.hex(), receipt=state.receipt,
            version=__version__, types=[card.name for card in self._registry], egress=self._pool.egress[:LONGEST_EGRESS], attach=self._attach is not None, environment=self._attach,
            public_key=base64.b64encode(public_key_of(self._private_key)).decode(),
        ).text())  # fmt: skip
        async with asyncio.timeout(SILENCE_S):
            frame = from_control(str(await socket.recv()))
        if isinstance(frame, Bye):
            return self._after(frame)
        if not isinstance(frame, Welcome):
            raise NotAFrame("the first frame must be a welcome")
        try:
            key = unwrap(self._private_key, base64.b64decode(frame.environment_key), frame.environment_key_id.encode())
        except (NotAuthentic, ValueError):
            raise NotAFrame("the environment's key does not open") from None
        self._pool.use_key(key)
        self._session = frame.session
        state.welcome(frame)
        self.connected = True
        log.info("connected", environment=frame.environment, mode=frame.mode, head=frame.head)
        reporter = asyncio.create_task(self._report_news(socket))
        try:
            return await self._listen(socket)
        finally:
            for task in (reporter, *self._jobs):
                task.cancel()
            await asyncio.gather(reporter, *self._jobs, return_exceptions=True)

    async def _listen(self, socket: ClientConnection) -> float:
        while True:
            async with asyncio.timeout(SILENCE_S):
                message = str(await socket.recv())
            for line in message.split("\n"):
                wait_s = await self._take(socket, from_control(line))
                if wait_s is not None:
                    return wait_s

    async def _take(self, socket: ClientConnection, frame: Any) -> float | None:
        """Act on one frame; a number where the stream is over: how long to wait before the next."""
        match frame:
            case Put() | Delete():
                self._state.stage(frame)
            case Material():
                self._pool.receive(frame)
            case Commit():
                await self._commit(socket, frame)
            case ProbeJob():
                self._spawn(self._probe(socket, frame, self._pool.held_by(frame)))
            case Ping():
                await socket.send(Pong().text())
            case Reset():
                log.warning("reset", why=frame.why)
                self._state.epoch = None
                return 0.0
            case Bye():
                return self._after(frame)
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _probe(self, socket: ClientConnection, job: ProbeJob, held: Held) -> None:
        result = await self._pool.test(job, held)
        with contextlib.suppress(ConnectionClosed):
            await socket.send(result.text())

    async def _commit(self, socket: ClientConnection, frame: Commit) -> None:
        changes = self._state.commit(frame)
        tasks = [task for task in (self._pool.remove(*gone) for gone in changes.gone.items()) if task is not None]
        tasks += [self._pool.put(put) for put in changes.puts]
        self._pool.puts_end()
        if tasks:
            # A slow one holds up no other: it is reported as pending, and again when it is done.
            await asyncio.wait(tasks, timeout=APPLY_PATIENCE_S)
            await self._catch_up(tasks)
        self._news.clear()
        await socket.send(self._report().text())
        self._note_settled()

    async def _catch_up(self, tasks: list[asyncio.Task[None]]) -> None:
        """Back-pressure: while very many are being applied, do not ask for more yet."""
        waiting: set[asyncio.Task[None]] = {task for task in tasks if not task.done()}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BACK_PRESSURE_S):
                while waiting and self._pool.pending > MAX_PENDING:
                    _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def _note_settled(self) -> None:
        if self._pool.pending == 0 and self._state.nonce:
            self.settled.set()

    async def _report_news(self, socket: ClientConnection) -> None:
        """Report again when connections change between commits."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._news.wait()
                # One by one they are reported at once; a crowd, together.
                await asyncio.sleep(0.005 if self._pool.pending < CROWD else 0.1)
                self._news.clear()
                await socket.send(self._report().text())
                self._note_settled()

    def _report(self) -> Report:
        state = self._state
        exceptions = self._pool.exceptions()
        return Report(
            session=self._session, epoch=state.epoch or "", nonce=state.nonce, observed_revision=state.revision,
            digest=None if self._attach is not None else state.digest.hex(), receipt=state.receipt or "",
            exceptions=exceptions[:MAX_EXCEPTIONS], not_listed=max(0, len(exceptions) - MAX_EXCEPTIONS),
        )  # fmt: skip

    def _after(self, frame: Bye) -> float:
        if frame.retry_after_ms == 0:
            raise Refused(f"the control plane ended the stream: {frame.why}")
        log.info("bye", why=frame.why)
        return random.uniform(0, max(frame.retry_after_ms / 1000, 0.2))


async def tidying(pool: Pool, every_s: float = 15.0) -> None:
    """Let idle connections rest, and take up secrets that changed elsewhere, for ever."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await pool.tidy()
            await pool.look_again()
        except Exception as exc:  # the edge of a task: the next round may work
            log.error("tidy_failed", error=type(exc).__name__)
