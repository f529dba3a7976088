"""
Putting the parts together: the only place where they are built and handed to one another.

`control_plane` is a node, `worker` a worker, `dev` both, for one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from mooring.api.app import control_app
from mooring.api.limits import Limits
from mooring.api.listener import TlsListener
from mooring.api.protocol import Http
from mooring.control import rewrapping
from mooring.control.audit import read_copy, read_head
from mooring.control.auditing import entry
from mooring.control.plane import Plane
from mooring.control.tokens import first_token, system_actor
from mooring.domain.records import DataKey
from mooring.errors import AlreadyExists, BadRequest, MooringError, SealError, Unavailable
from mooring.kit.addresses import is_loopback, parse_networks
from mooring.kit.files import write_private
from mooring.kit.ids import new_id
from mooring.kit.log import log
from mooring.kit.rates import parse_rate
from mooring.kit.settings import Settings
from mooring.kit.tls import check_url
from mooring.kit.tls_server import ServerIdentity
from mooring.plugin.connector import Allowed
from mooring.plugin.registry import Registry
from mooring.seal.choosing import key_file_of, kms_of, provider_of
from mooring.seal.envelope import LockedRing, Ring
from mooring.seal.keys import FileKey, GivenKey, KeyProvider
from mooring.seal.opening import missing_root, new_data_key, open_ring
from mooring.store import sqlite_audit, sqlite_seals
from mooring.store.audit_chain import Chain, Verdict
from mooring.store.base import CreateToken, SaveDataKey, SetMeta, Store
from mooring.store.sqlite import SqliteStore
from mooring.wire.frames import MAX_FRAME
from mooring.worker.breaker import BreakerSettings
from mooring.worker.elsewhere import Elsewhere
from mooring.worker.identity import Identity, enrol, read_identity
from mooring.worker.local import local_app
from mooring.worker.loop import Loop, tidying
from mooring.worker.pool import Pool
from mooring.worker.vault import Vault, VaultSettings

DEV_PROJECT = "MyProject"
DEV_ENVIRONMENT = "development"
WORKER_LOCK_S = 10.0
MIN_LOCAL_TOKEN = 16
GRACE_S = 10
UNLOCK_S = 5.0
AUDIT = "audit"
"""What the key of the audit's chain is derived for."""
_NOT_FOR_WORKERS = (
    "MOORING_MASTER_KEY", "MOORING_NEW_MASTER_KEY", "MOORING_KMS_SECRET_ACCESS_KEY", "MOORING_KMS_SESSION_TOKEN",
)  # fmt: skip


@dataclass(frozen=True)
class Started:
    """What a start has to say: where it listens, and the administrator's token where this was the first start."""

    url: str
    data_dir: Path
    first_token: str | None
    locked: str | None


# the control plane


@contextlib.asynccontextmanager
async def opened_plane(settings: Settings) -> AsyncIterator[tuple[Plane, str | None]]:
    """The control plane on its store, running; and the administrator's token, on the first start."""
    store = SqliteStore(settings.data_dir)
    await store.open()
    try:
        provider = provider_of(settings)
        ring = await _ring(store, provider)
        if ring.locked is None:
            store.hang_audit(ring.derived(AUDIT))
        plane = Plane(
            store, ring, Registry(settings.types), provider,
            wait_s=settings.wait_seconds, tests=parse_rate(settings.rate_of_tests),
        )  # fmt: skip
        token = None if ring.locked else await _first_start(store, settings)
        await plane.start()
        unlocking = asyncio.create_task(_unlocked(plane, provider, settings))
        try:
            yield plane, token
        finally:
            unlocking.cancel()
            await asyncio.gather(unlocking, return_exceptions=True)
            await plane.stop()
    finally:
        await store.close()


async def _ring(store: Store, provider: KeyProvider) -> Ring:
    """The ring of data keys; the first one is made on the first start. A locked one where the master key is not to be had."""
    try:
        ring, fresh = await _opened_ring(store, provider)
    except SealError as exc:
        log.error("sealed", reason=exc.message, hint=exc.hint)
        return LockedRing(exc)
    for key in fresh:
        await store.commit(SaveDataKey(key))
    return ring


async def _opened_ring(store: Store, provider: KeyProvider) -> tuple[Ring, list[DataKey]]:
    """The ring, and those of its keys that are to be stored first. Raises `SealError`."""
    stored, fresh = await store.data_keys(), []
    root = await missing_root(provider, stored)
    if root is not None:
        fresh.append(root)
    if all(each.is_root for each in stored):
        key, _ = await new_data_key(provider, may_create=not stored)
        fresh.append(key)
    return await open_ring(provider, [*stored, *fresh]), fresh


async def _unlocked(plane: Plane, provider: KeyProvider, settings: Settings) -> None:
    """While the ring is locked, look again and again whether the master key has come back."""
    while plane.ring.locked is not None:
        await asyncio.sleep(UNLOCK_S)
        try:
            opened, fresh = await _opened_ring(plane.store, provider)
        except MooringError as exc:
            log.debug("still_sealed", reason=exc.message)
            continue
        plane.store.hang_audit(opened.derived(AUDIT))
        plane.store.refuse_writes(None)
        for key in fresh:
            await plane.store.commit(SaveDataKey(key))
        await _first_start(plane.store, settings)
        await plane.unlock(opened)
        log.info("unsealed")


async def _first_start(store: Store, settings: Settings) -> str | None:
    """Make the administrator's token where there is no token at all, and leave it in a file of mode 0600."""
    if await store.tokens():
        return None
    preset = settings.admin_token.get_secret_value() if settings.admin_token else None
    token, text = first_token(preset)
    # The file first: a crash between the two leaves a file that the next start replaces, never a lost token.
    write_private(settings.data_dir / "admin-token", text + "\n")
    await store.commit(SetMeta("lineage", new_id("lin")))
    await store.commit(CreateToken(token, entry(system_actor(), "create", "token", token.id, token.name)))
    return text


async def rewrap(settings: Settings, *, file: Path | None, kms: str | None, environment: bool) -> str:
    """Put the keys of a data directory that nobody holds under another master key; what to set from now on."""
    before = provider_of(settings)
    after: KeyProvider
    path = key_file_of(settings)
    if kms is not None:
        after, told = kms_of(settings, kms), f"MOORING_KEY_PROVIDER=kms MOORING_KMS_KEY_ID={kms}"
    elif environment:
        given = settings.new_master_key
        after = GivenKey(given.get_secret_value() if given else "", "MOORING_NEW_MASTER_KEY")
        told = "MOORING_MASTER_KEY to what MOORING_NEW_MASTER_KEY is now"
    elif file is not None and file != path:
        after, told = FileKey(file), f"MOORING_KEY_PROVIDER=file MOORING_KEY_FILE={file}"
    elif path is not None:
        after, told = FileKey(path).next(), ""
    else:
        raise BadRequest("where should the new master key be?", hint="--to-file, --to-kms or --to-environment.")
    store = SqliteStore(settings.data_dir)
    await store.open()
    try:
        if await store.data_keys():
            ring, fresh = await _opened_ring(store, before)
            store.hang_audit(ring.derived(AUDIT))
            for key in fresh:
                await store.commit(SaveDataKey(key))
        await rewrapping.rewrap(store, before, after)
    finally:
        await store.close()
    if path is not None and not told:
        FileKey(path).advance()
    return told


async def control_plane(settings: Settings, announce: Any) -> None:
    """One node, until it is told to stop. *announce* is called with `Started` when it listens."""
    identity = _tls(settings)
    with _listening(settings.host, settings.port) as listener:
        async with opened_plane(settings) as (plane, token):
            url = _url(settings.host, listener, tls=identity is not None)
            path = key_file_of(settings)
            if path is not None and path.resolve().is_relative_to(settings.data_dir.resolve()):
                log.warning(
                    "master_key_beside_data",
                    hint="Keep the master key elsewhere: MOORING_MASTER_KEY, MOORING_KEY_FILE on another disk, a key service.",
                )
            server = _server(_app(plane, settings, identity), identity.context if identity else None)
            announce(Started(url, settings.data_dir, token, plane.ring.locked.message if plane.ring.locked else None))
            _settle_memory()
            watching = [asyncio.create_task(identity.watch())] if identity else []
            try:
                await server.serve(sockets=[listener])
            finally:
                for task in watching:
                    task.cancel()


async def dev(settings: Settings, announce: Any) -> None:
    """A control plane and one worker, for one machine; answers its first request when the worker's stream is open."""
    if settings.tls_certificate is not None or not is_loopback(settings.host):
        raise Unavailable(
            "mooring dev is for one machine: it speaks plain HTTP on loopback", hint="mooring serve speaks TLS."
        )
    with _listening(settings.host, settings.port) as listener:
        async with opened_plane(settings) as (plane, token):
            if plane.ring.locked is not None:
                raise plane.ring.locked
            await _dev_nouns(plane)
            url = _url(settings.host, listener)
            server = _server(_app(plane, settings, ready=plane.fleet.connected))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            keeping = asyncio.create_task(_keep_worker(plane, settings, url))
            try:
                connected = asyncio.create_task(plane.fleet.connected.wait())
                await asyncio.wait([connected, serving, keeping], return_when=asyncio.FIRST_COMPLETED)
                if connected.done():
                    announce(Started(url, settings.data_dir, token, None))
                    _settle_memory()
                connected.cancel()
                await asyncio.wait([serving, keeping], return_when=asyncio.FIRST_COMPLETED)
                if keeping.done():
                    keeping.result()
            finally:
                server.should_exit = True
                keeping.cancel()
                await asyncio.gather(keeping, serving, return_exceptions=True)


def _tls(settings: Settings) -> ServerIdentity | None:
    """What the port presents; None where it speaks plain HTTP. Raises `Unavailable` where that must not be."""
    if settings.tls_certificate is not None:
        return ServerIdentity(settings.tls_certificate, settings.tls_key)
    if settings.tls_key is not None:
        raise Unavailable("MOORING_TLS_KEY is set without a certificate", hint="Set MOORING_TLS_CERTIFICATE too.")
    if not settings.tls_terminated_elsewhere and not is_loopback(settings.host):
        raise Unavailable(
            f"plain HTTP on {settings.host} would carry tokens and secrets in clear text",
            hint="Set MOORING_TLS_CERTIFICATE and MOORING_TLS_KEY; or, where a proxy in front terminates TLS,"
            " MOORING_TLS_TERMINATED_ELSEWHERE=true; or listen on 127.0.0.1.",
        )
    return None


def _app(
    plane: Plane, settings: Settings, identity: ServerIdentity | None = None, ready: asyncio.Event | None = None
) -> Any:
    """The application with the limits that *settings* name."""
    limits = Limits(
        failures=settings.failed_logins_per_minute,
        per_token=parse_rate(settings.rate_per_token),
        per_address=parse_rate(settings.rate_per_address),
    )

    def notices() -> list[str]:
        notice = identity.notice() if identity is not None else None
        return [notice] if notice is not None else []

    return control_app(
        plane, max_body=settings.max_body_bytes, ready=ready, limits=limits,
        proxies=parse_networks(settings.trusted_proxies), notices=notices,
    )  # fmt: skip


async def _dev_nouns(plane: Plane) -> None:
    actor = system_actor()
    with contextlib.suppress(AlreadyExists):
        await plane.projects.create(actor, DEV_PROJECT, "The first project")
    with contextlib.suppress(AlreadyExists):
        await plane.environments.create(actor, DEV_ENVIRONMENT, description="This machine", type_name="TEST")


async def _keep_worker(plane: Plane, settings: Settings, url: str) -> None:
    """Run the worker as a process of its own, and start it again when it ends."""
    identity_file = settings.data_dir / "worker.json"
    failures = 0
    while True:
        environment = dict(os.environ)
        for name in _NOT_FOR_WORKERS:
            environment.pop(name, None)
        environment.pop("MOORING_ADMIN_TOKEN", None)
        environment.pop("MOORING_ENROL_TOKEN", None)
        # One's own machine: what an operator has to allow elsewhere is allowed, below the data folder.
        environment.setdefault("MOORING_LINUX_SCRIPT", "true")
        environment.setdefault("MOORING_EGRESS_LOOPBACK", "true")
        environment.setdefault("MOORING_LOGBACK_ROOT", str((settings.data_dir / "logs").absolute()))
        identity = read_identity(identity_file)
        if identity is None or await plane.store.worker(identity.worker) is None:
            identity_file.unlink(missing_ok=True)
            environment["MOORING_ENROL_TOKEN"], _ = await plane.workers.enrolment(system_actor(), DEV_ENVIRONMENT, 300)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mooring", "worker", "--url", url, "--environment", DEV_ENVIRONMENT,
            "--data-dir", str(settings.data_dir), "--name", "dev-worker", "--with-parent",
            stdin=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        started = time.monotonic()
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        log.warning("worker_ended", code=code)
        failures = 0 if time.monotonic() - started > 60 else failures + 1
        if failures >= 5:
            raise Unavailable("the worker does not start", hint="Its reason stands above.")
        await asyncio.sleep(min(0.5 * 2**failures, 10))


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), GRACE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def check_audit(settings: Settings, copy: Path | None, kept: dict[str, Any] | None) -> Verdict:
    """
    Whether the audit in the data folder, or its *copy*, is whole, and ends where a *kept* head says or later.

    Reads only, also while a control plane runs there. Raises `Unavailable`, `KeyUnavailable`, `BadRequest`.
    """
    head = read_head(kept) if kept is not None else None
    path = settings.data_dir / "mooring.db"
    if not path.exists():
        raise Unavailable(f"there is no {path.name} in {settings.data_dir}", hint="Give --data-dir.")
    try:
        with contextlib.closing(sqlite_audit.read_only(path)) as db:
            keys = sqlite_seals.data_keys(db)
            if not any(key.is_root for key in keys):
                raise Unavailable(
                    "there is no chain to check yet", hint="It begins when this version starts on the data."
                )
            chain = Chain((await open_ring(provider_of(settings), keys)).derived(AUDIT))
            if copy is not None:
                with copy.open(encoding="utf-8") as lines:
                    return chain.verify(*read_copy(lines), head)
            return sqlite_audit.verified(db, chain, head)
    except (OSError, UnicodeDecodeError, sqlite_audit.Error) as exc:
        raise Unavailable(f"the audit cannot be read ({type(exc).__name__})", hint="Check who may read it.") from exc


# the worker


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker is started. Exactly one of `socket` and `listen` says where its own API is."""

    name: str | None
    socket: Path | None
    listen: tuple[str, int] | None
    local_token_file: Path | None
    with_parent: bool


def _pool(settings: Settings, registry: Registry) -> Pool:
    return Pool(
        registry,
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        idle_s=settings.idle_seconds,
        breaker=BreakerSettings(
            settings.breaker_enabled,
            settings.breaker_window_seconds,
            settings.breaker_errors,
            settings.breaker_sleep_seconds,
        ),
        elsewhere=_elsewhere(settings),
        look_again_s=settings.secret_refresh_seconds,
        allowed=Allowed(settings.linux_script, settings.logback_root, settings.egress),
    )


def _elsewhere(settings: Settings) -> Elsewhere:
    vault = None
    if settings.vault_url:
        token = settings.vault_token
        vault = Vault(
            VaultSettings(
                settings.vault_url, token.get_secret_value() if token else None, settings.vault_token_file,
                settings.vault_role_id, settings.vault_secret_id_file, settings.vault_approle_mount,
                settings.vault_namespace, settings.vault_mount, settings.vault_prefix,
                str(settings.vault_ca_file) if settings.vault_ca_file else None,
            )
        )  # fmt: skip
    return Elsewhere(settings.secret_env_prefix, settings.secret_files, vault)


async def worker(settings: Settings, options: WorkerOptions, announce: Any) -> None:
    """A worker, until it is told to stop; drains on SIGTERM."""
    check_url(settings.url, allow_plain=settings.allow_plain_http)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with await _only_worker(settings.data_dir / "worker.lock"):
        identity = await _identity(settings, options)
        registry = Registry(settings.types)
        pool = _pool(settings, registry)
        loop = Loop(settings.url, identity.credential, identity.key, pool, registry, ca_file=settings.ca_file)
        listener, token, where = _local_listener(settings, options)
        server = _server(local_app(pool, loop, token=token))
        tasks = [
            asyncio.create_task(loop.run()),
            asyncio.create_task(server.serve(sockets=[listener])),
            asyncio.create_task(tidying(pool)),
        ]
        if options.with_parent:
            tasks.append(asyncio.create_task(_parent_gone()))
        announce(identity, where)
        log.info("egress_policy", egress=str(settings.egress))
        _settle_memory()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.should_exit = True
            await asyncio.wait([tasks[1]], timeout=2 * GRACE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * GRACE_S):
                    await pool.close(GRACE_S)
            listener.close()


async def _identity(settings: Settings, options: WorkerOptions) -> Identity:
    path = settings.data_dir / "worker.json"
    identity = read_identity(path)
    if identity is not None:
        return identity
    if settings.enrol_token is None:
        raise Unavailable(
            "this worker is not enrolled",
            hint="mooring worker enroll --environment NAME prints a token; start with --enrol-token.",
        )
    name = options.name or f"{socket.gethostname()}-{secrets.token_hex(2)}"
    return await enrol(
        settings.url, settings.enrol_token.get_secret_value(), settings.environment, name, path,
        ca_file=settings.ca_file,
    )  # fmt: skip


def _local_listener(settings: Settings, options: WorkerOptions) -> tuple[socket.socket, str | None, str]:
    """The socket of the worker's own API, the token it demands, and where it is."""
    if options.listen is not None:
        host, port = options.listen
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise Unavailable("--listen takes a loopback address", hint="127.0.0.1:PORT")
        path = options.local_token_file or settings.data_dir / "worker-token"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32) + "\n")
        token = path.read_text().strip()
        if len(token) < MIN_LOCAL_TOKEN:
            raise Unavailable(
                f"{path.name} does not hold a token of at least {MIN_LOCAL_TOKEN} characters",
                hint="Remove it: the next start makes one.",
            )
        listener = socket.create_server((host, port), family=socket.AF_INET6 if host == "::1" else socket.AF_INET)
        return listener, token, f"http://{host}:{listener.getsockname()[1]}"
    path = options.socket or settings.data_dir / "worker.sock"
    if path.is_socket():
        path.unlink()  # of a predecessor; anything else that is there was not made by us
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as exc:
        raise Unavailable(
            f"the socket {path.name} cannot be made: {exc.strerror or exc}", hint="Choose a shorter --socket path."
        ) from exc
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener, None, str(path)


async def _only_worker(path: Path) -> Any:
    """Hold the lock of this worker's folder; a predecessor that is on its way out is waited for."""
    handle = path.open("a")
    deadline = time.monotonic() + WORKER_LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.monotonic() > deadline:
                handle.close()
                raise Unavailable(
                    "another worker runs in this data directory", hint="Stop it, or choose another --data-dir."
                ) from None
            await asyncio.sleep(0.05)


async def _parent_gone() -> None:
    """Ends when standard input does: the process that started this one is no more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    log.info("parent_gone")


# shared


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


def _server(app: Any, tls: ssl.SSLContext | None = None) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http=Http, loop="none", ws="websockets-sansio",
        ws_max_size=MAX_FRAME, ws_ping_interval=None, ws_per_message_deflate=False, server_header=False, proxy_headers=False, date_header=False,
        timeout_graceful_shutdown=GRACE_S, h11_max_incomplete_event_size=65536, backlog=4096,
    )  # fmt: skip
    return _Server(config, tls)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Any:
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


def _url(host: str, listener: socket.socket, *, tls: bool = False) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}"


def _settle_memory() -> None:
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
