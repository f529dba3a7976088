"""One worker."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mooring.errors import Unavailable
from mooring.kit.files import write_private
from mooring.kit.log import log
from mooring.kit.settings import Settings
from mooring.kit.tls import check_url
from mooring.plugin.connector import Allowed
from mooring.plugin.registry import Registry
from mooring.serve.server import GRACE_S, server_of, settle_memory
from mooring.worker.breaker import BreakerSettings
from mooring.worker.elsewhere import Elsewhere
from mooring.worker.identity import Identity, enrol, read_identity
from mooring.worker.local import local_app
from mooring.worker.loop import Loop, tidying
from mooring.worker.pool import Pool
from mooring.worker.vault import Vault, VaultSettings

WORKER_LOCK_S = 10.0
MIN_LOCAL_TOKEN = 16


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
        listener, token, where = local_listener(settings, options)
        server = server_of(local_app(pool, loop, token=token))
        tasks = [
            asyncio.create_task(loop.run()),
            asyncio.create_task(server.serve(sockets=[listener])),
            asyncio.create_task(tidying(pool)),
        ]
        if options.with_parent:
            tasks.append(asyncio.create_task(_parent_gone()))
        announce(identity, where)
        log.info("egress_policy", egress=str(settings.egress))
        settle_memory()
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


def local_listener(settings: Settings, options: WorkerOptions) -> tuple[socket.socket, str | None, str]:
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
