"""
One SSH connection, logged in with a password, to a server whose host key is the expected one.

The only module of the kit that imports a driver, and so only those who speak SSH import it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncssh

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.kit.log import log

ALIVE_S = 15
ALIVE_TIMES = 3
GOODBYE_S = 2.0

# A server has a key of each kind, and shows the first kind of the client's list that it has.
_KINDS: tuple[tuple[str, ...], ...] = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
# The driver's own first choice, ChaCha20, it computes in Python, packet by packet.
_CIPHERS = (
    "aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com",
    "aes256-ctr", "aes192-ctr", "aes128-ctr",
)  # fmt: skip

_ALL_KINDS = tuple(name for kind in _KINDS for name in kind)


class HostKeyRefused(Exception):
    """The server has shown another host key than the expected one; nothing was sent to it."""

    def __init__(self, shown: str, expected: str, pinned: bool) -> None:
        super().__init__(f"{shown} instead of {expected}")
        self.shown, self.expected, self.pinned = shown, expected, pinned


@dataclass
class HostKey:
    """
    Which host key a server must have: the *pinned* one, or else the one that it shows at first.

    Attributes:
        server: How the server is called in the log.
        pinned: `SHA256:...`, or None to trust the first one.
        known: The one that was trusted at first use, for as long as this object lives.
        kinds: The algorithms to ask for; narrowed once the expected key was found among several.
    """

    server: str
    pinned: str | None = None
    known: str | None = None
    kinds: tuple[str, ...] = _ALL_KINDS

    @property
    def expected(self) -> str | None:
        """The fingerprint that the server must show, if any."""
        return self.pinned.rstrip("=") if self.pinned else self.known

    def accepts(self, shown: str) -> bool:
        """Whether a server that shows this fingerprint is the right one; trusts the first."""
        if self.expected is None:
            self.known = shown
            log.warning("host_key_trusted_at_first_use", server=self.server, fingerprint=shown)
        return self.expected == shown


class _Client(asyncssh.SSHClient):
    """Answers what a server asks while a connection is made. The password is offered once."""

    def __init__(self, host_key: HostKey, password: str, verified: Callable[[], None]) -> None:
        self._host_key, self._password, self._verified = host_key, password, verified
        self._offered = False
        self.shown: str | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = key.get_fingerprint("sha256")
        return self._host_key.accepts(self.shown)

    def begin_auth(self, username: str) -> None:
        self._verified()

    def password_auth_requested(self) -> str | None:
        return self._once()

    def kbdint_auth_requested(self) -> str | None:
        # Some servers ask for the password only in this way; one that has seen it is not asked again.
        return None if self._offered else ""

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str] | None:
        if len(prompts) > 1:
            return None
        password = self._once() if prompts else None
        return [password] if password is not None else [] if not prompts else None

    def _once(self) -> str | None:
        if self._offered:
            return None
        self._offered = True
        return self._password


@dataclass
class Line:
    """
    One SSH connection, made when it is needed and made again when it was lost.

    Attributes:
        dial: Gives a connected socket for a host and port.
        timeout_s: How long connecting and logging in may take; None for no limit of its own.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    host_key: HostKey = field(repr=False)
    dial: Callable[[str, int], Awaitable[socket.socket]] = field(repr=False)
    timeout_s: float | None = None
    _live: asyncssh.SSHClientConnection | None = field(default=None, repr=False)
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"{self.host}:{self.port}"

    async def connection(self) -> asyncssh.SSHClientConnection:
        """The live connection. Raises `HostKeyRefused`, `asyncssh.Error`, `OSError`."""
        if self._live is None or self._live.is_closed():
            async with self._connecting:
                if self._live is None or self._live.is_closed():
                    self._live = await self.connect()
        return self._live

    async def connect(self, verified: Callable[[], None] = lambda: None) -> asyncssh.SSHClientConnection:
        """A new connection, which is the caller's to close. *verified* is called once the host key was accepted."""
        async with asyncio.timeout(self.timeout_s or None):
            try:
                return await self._connect(self.host_key.kinds, verified)
            except HostKeyRefused as refused:
                # Perhaps the expected key is one of the others that the server has.
                for kinds in _KINDS:
                    try:
                        connection = await self._connect(kinds, verified)
                    except (HostKeyRefused, asyncssh.KeyExchangeFailed):
                        continue
                    self.host_key.kinds = kinds
                    return connection
                raise refused from None

    async def close(self) -> None:
        """Close the connection, if there is one. Safe twice."""
        live, self._live = self._live, None
        if live is not None:
            await hang_up(live)

    async def _connect(self, kinds: tuple[str, ...], verified: Callable[[], None]) -> asyncssh.SSHClientConnection:
        client = _Client(self.host_key, self.password, verified)
        sock = await self.dial(self.host, self.port)
        try:
            return await asyncssh.connect(
                self.host,
                self.port,
                sock=sock,
                username=self.username,
                client_factory=lambda: client,
                # Nothing of the account that this process runs as: no configuration, keys, agent or known hosts.
                config=None,
                known_hosts=b"",
                client_keys=None,
                agent_path=None,
                x509_trusted_certs=None,
                gss_host=None,
                preferred_auth=["password", "keyboard-interactive"],
                server_host_key_algs=list(kinds),
                encryption_algs=list(_CIPHERS),
                compression_algs=None,
                # No limits of its own: ours stands around it.
                connect_timeout=None,
                login_timeout=0,
                keepalive_interval=ALIVE_S,
                keepalive_count_max=ALIVE_TIMES,
            )
        except asyncssh.HostKeyNotVerifiable:
            if client.shown is None or client.shown == self.host_key.expected:
                raise
            pinned = self.host_key.pinned is not None
            raise HostKeyRefused(client.shown, self.host_key.expected or "", pinned) from None


async def hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Close *connection*, politely where the other side answers in time."""
    connection.close()
    try:
        async with asyncio.timeout(GOODBYE_S):
            await connection.wait_closed()
    except (TimeoutError, OSError, asyncssh.Error):
        connection.abort()


class Steps(Protocol):
    """Where a probe is written down."""

    def step(self, name: str) -> AbstractAsyncContextManager[None]: ...
    def unknown(self, why: str) -> None: ...


@asynccontextmanager
async def probed(line: Line, steps: Steps) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection of its own, in the steps `host key` and `login`; closed afterwards."""
    accepted = asyncio.Event()
    connecting = asyncio.create_task(line.connect(accepted.set))
    waiting = asyncio.create_task(accepted.wait())
    try:
        async with steps.step("host key"):
            await asyncio.wait([waiting, connecting], return_when=asyncio.FIRST_COMPLETED)
            if not accepted.is_set():
                await connecting
            if line.host_key.pinned is None:
                steps.unknown(
                    f"the server has the host key {line.host_key.known}, which is trusted at first use;"
                    " whether it is the right one, only who runs the server can tell: then put it into hostKeyFingerprint"
                )
        async with steps.step("login"):
            connection = await connecting
        yield connection
    finally:
        waiting.cancel()
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await hang_up(await connecting)


def explain(error: BaseException, address: str, username: str) -> ConnectorError | None:
    """What an error of SSH means, and what to do next; None for one that is none of SSH."""
    match error:
        case HostKeyRefused():
            return _another_key(error, address)
        case asyncssh.PermissionDenied():
            return Rejected(
                f"{address} refused the login as {username}",
                hint="Check user name and password, that the account is not locked, and that the server takes passwords.",
            )
        case asyncssh.IllegalUserName():
            return Misconfigured("the user name cannot be sent over SSH", hint="Correct the user name.")
        case asyncssh.KeyExchangeFailed():
            return Misconfigured(
                f"{address} knows none of the key exchanges, host keys or ciphers that are known here",
                hint="Update the server: it offers only algorithms that are no longer safe.",
            )
        case asyncssh.ProtocolNotSupported():
            return Misconfigured(
                f"{address} speaks a version of SSH that is not spoken here", hint="Update the server to SSH 2."
            )
        case asyncssh.ChannelOpenError():
            return Unreachable(
                f"{address} opened no further session",
                hint="Wait, then retry; or allow more sessions for one connection on the server (MaxSessions).",
            )
        case asyncssh.ConnectionLost():
            return Unreachable(
                f"{address} closed the connection", hint="Look at the server's own log for the reason; then retry."
            )
        case asyncssh.DisconnectError():
            return Unreachable(
                f"{address} did not speak as an SSH server does, or ended the connection",
                hint="Check that this port speaks SSH, and look at the server's own log.",
            )
    return None


def _another_key(error: HostKeyRefused, address: str) -> ConnectorError:
    if error.pinned:
        return Misconfigured(
            f"{address} has the host key {error.shown}, and not the expected one; nothing was sent to it",
            hint="Ask whoever runs the server. If its key was changed on purpose, set hostKeyFingerprint to the new one.",
        )
    return Misconfigured(
        f"{address} has the host key {error.shown}, and had {error.expected} before; nothing was sent to it",
        hint="Ask whoever runs the server. If its key was changed on purpose, set hostKeyFingerprint to the new one.",
    )
