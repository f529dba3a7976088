"""A connector that runs commands and scripts on a Linux server, over one SSH connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncssh

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.kit import ssh
from mooring.plugin.connector import Connector, operation
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.linux_script.command import OUTPUT_BYTES, Ran, RunRequest
from mooring.types.linux_script.model import LinuxScriptConfig

PLACES = 8  # OpenSSH allows ten sessions on a connection
CONNECT_S = 15.0
PROBE_S = 5.0
BLOCK_BYTES = 64 * 1024
MOST_DISCARDED = 16 * OUTPUT_BYTES
OPEN_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4)
ASKED_S = 2.0
KILLS = 5
KILL_PAUSE_S = 0.3

Process = asyncssh.SSHClientProcess[bytes]
Connect = Callable[[], Awaitable[asyncssh.SSHClientConnection]]


class LinuxScriptConnector(Connector[LinuxScriptConfig]):
    """One SSH connection, made for the first run and kept; each run has a session of its own on it."""

    _line: ssh.Line | None = None

    async def open(self) -> None:
        config = self.config
        address = f"{config.host_name}:{config.ssh_port}"
        self._line = ssh.Line(
            config.host_name,
            int(config.ssh_port),
            config.username,
            config.password.get_secret_value(),
            ssh.HostKey(address, config.host_key_fingerprint),
            self.context.network.connect,
            CONNECT_S,
        )
        self._places = asyncio.Semaphore(PLACES)
        self._processes: set[asyncssh.SSHClientProcess[bytes]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    def hosts(self) -> Iterable[str]:
        return (self.config.host_name,)

    async def stop(self) -> None:
        if self._line is not None:
            # None runs while it is idle; at the end of its life nothing must stay behind over there.
            await asyncio.gather(*self._endings, *(_kill(process) for process in self._processes))
            await self._line.close()

    @operation
    async def run(self, request: RunRequest) -> Ran:
        """Run a command or a script, and wait for its end."""
        self._check_allowed()
        async with self._session():
            return await self._run(self._live().connection, request)

    def native(self) -> Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]]:
        self._check_allowed()
        return self.connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """The SSH connection, logged in, for a few at a time."""
        async with self._session():
            yield await self._live().connection()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        async with self._places:
            try:
                yield
            except ConnectorError:
                raise
            except Exception as exc:
                # Time-outs of ours and of the driver's must not pass for the caller's deadline.
                raise self.translate(exc) or exc from exc

    async def probe(self, probe: Probe) -> None:
        line = self._live()
        if not self.context.allowed.linux_script:
            async with probe.step("allowed"):
                self._check_allowed()
        async with probe.step("resolve"):
            await self.context.network.resolve(line.host, line.port)
        async with probe.step("connect"):
            await self.context.network.dial(line.host, line.port)
        async with ssh.probed(line, probe) as connection, probe.step("true"):

            async def same() -> asyncssh.SSHClientConnection:
                return connection

            ran = await self._run(same, RunRequest(command="true", timeout_seconds=PROBE_S))
            if ran.exit_status != 0:
                raise Misconfigured(
                    f"{self._at} ran `true` for {self.config.username}, and it did not end well",
                    hint="Check that this account may run commands: its shell, and what its key or login is limited to.",
                )

    def translate(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, OSError | EOFError):
            return network_error(error, self._at)
        return ssh.explain(error, self._at, self.config.username)

    async def _run(self, connect: Connect, request: RunRequest) -> Ran:
        """Run it in a session of its own, which is over afterwards, and so is what ran in it."""
        process, host_key = await self._begin(connect, request.line)
        self._processes.add(process)
        out, err = _Kept(process), _Kept(process)
        timed_out = False
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await asyncio.gather(
                    _feed(process.stdin, request.input.encode()), out.take(process.stdout), err.take(process.stderr)
                )
                await process.wait_closed()
        except TimeoutError:
            timed_out = True
            await _kill(process)
        except BaseException:
            # The caller has gone, and cannot wait until what still runs over there is dead.
            self._end_later(_kill(process))
            raise
        finally:
            self._processes.discard(process)
        process.close()
        ended = process.exit_signal[0] if process.exit_signal else None
        status = process.exit_status if process.exit_status is not None and process.exit_status >= 0 else None
        if status is None and ended is None and not (timed_out or out.too_much or err.too_much):
            raise Unreachable(
                f"{self._at} was lost before it said how the run ended; it may have been carried out",
                hint="Look at the server before running it again.",
            )
        return Ran(
            exit_status=status,
            stdout=out.text,
            stderr=err.text,
            truncated=out.truncated or err.truncated,
            timed_out=timed_out,
            signal=ended,
            host_key=host_key,
        )

    async def _begin(self, connect: Connect, line: str) -> tuple[Process, str]:
        """
        What runs, and the fingerprint of the host that it runs on.

        A server counts a session for a moment after its end, and so may refuse the next; nothing runs then. Where the
        caller goes while the server has been asked, what it then begins is killed.
        """
        for pause_s in (*OPEN_PAUSES_S, None):
            connection = await connect()
            asked: asyncio.Task[Process] = asyncio.create_task(_ask(connection, line))
            try:
                process: Process = await asyncio.shield(asked)
            except asyncio.CancelledError:
                self._end_later(_kill_begun(asked))
                raise
            except asyncssh.ChannelOpenError:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
            else:
                key = connection.get_server_host_key()
                return process, key.get_fingerprint("sha256") if key is not None else ""
        raise AssertionError("the last attempt has returned or raised")

    def _end_later(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    @property
    def _at(self) -> str:
        return f"{self.config.host_name}:{self.config.ssh_port}"

    def _live(self) -> ssh.Line:
        if self._line is None:
            raise Misconfigured("the connection is not open")
        return self._line

    def _check_allowed(self) -> None:
        if not self.context.allowed.linux_script:
            raise Misconfigured(
                "this worker may not run scripts on other machines; nothing was sent",
                hint="Whoever runs the worker allows it with MOORING_LINUX_SCRIPT=true"
                " (in a program: attach(..., allowed=Allowed(linux_script=True))).",
            )


class _Kept:
    """The beginning of what a program writes; the rest is let go, up to a limit."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._process = process
        self._data = bytearray()
        self._seen = 0

    async def take(self, stream: asyncssh.SSHReader[bytes]) -> None:
        """Read until the end, or until it is clear that there will be none; then it is killed."""
        while block := await stream.read(BLOCK_BYTES):
            self._data += block[: OUTPUT_BYTES - len(self._data)]
            self._seen += len(block)
            if self.too_much:
                await _kill(self._process)
                return

    @property
    def text(self) -> str:
        """What was kept, as text."""
        return self._data.decode("utf-8", "replace")

    @property
    def truncated(self) -> bool:
        """Whether something was let go."""
        return self._seen > len(self._data)

    @property
    def too_much(self) -> bool:
        """Whether there is no point in listening any longer."""
        return self._seen > MOST_DISCARDED


async def _feed(stdin: Any, data: bytes) -> None:
    # A program may end, or close its input, without reading all of it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, asyncssh.Error):
        for start in range(0, len(data), BLOCK_BYTES):
            stdin.write(data[start : start + BLOCK_BYTES])
            await stdin.drain()
        stdin.write_eof()


async def _ask(connection: asyncssh.SSHClientConnection, line: str) -> Process:
    return await connection.create_process(line, encoding=None)


async def _kill_begun(asked: asyncio.Task[Process]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        async with asyncio.timeout(ASKED_S):
            process = await asked
        await _kill(process)


async def _kill(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """
    Kill what runs, wait a little for the server to say so, and close the session.

    More than once: a server that has only just begun it may miss the first.
    """
    for _ in range(KILLS):
        with contextlib.suppress(OSError, asyncssh.Error):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_PAUSE_S):
                await process.wait_closed()
                break
    process.close()
