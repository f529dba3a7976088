"""One node of the control plane."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mooring.api.app import control_app
from mooring.api.limits import Limits
from mooring.control.plane import Plane
from mooring.errors import Unavailable
from mooring.kit.addresses import is_loopback, parse_networks
from mooring.kit.log import log
from mooring.kit.rates import parse_rate
from mooring.kit.settings import Settings
from mooring.kit.tls_server import ServerIdentity
from mooring.seal.choosing import key_file_of
from mooring.serve.opening import opened_plane
from mooring.serve.server import listening, server_of, settle_memory, url_of


@dataclass(frozen=True)
class Started:
    """What a start has to say: where it listens, and the administrator's token where this was the first start."""

    url: str
    data_dir: Path
    first_token: str | None
    locked: str | None


async def control_plane(settings: Settings, announce: Any) -> None:
    """One node, until it is told to stop. *announce* is called with `Started` when it listens."""
    identity = _tls(settings)
    with listening(settings.host, settings.port) as listener:
        async with opened_plane(settings) as (plane, token):
            url = url_of(settings.host, listener, tls=identity is not None)
            path = key_file_of(settings)
            if path is not None and path.resolve().is_relative_to(settings.data_dir.resolve()):
                log.warning(
                    "master_key_beside_data",
                    hint="Keep the master key elsewhere: MOORING_MASTER_KEY, MOORING_KEY_FILE on another disk, a key service.",
                )
            server = server_of(app_of(plane, settings, identity), identity.context if identity else None)
            announce(Started(url, settings.data_dir, token, plane.ring.locked.message if plane.ring.locked else None))
            settle_memory()
            watching = [asyncio.create_task(identity.watch())] if identity else []
            try:
                await server.serve(sockets=[listener])
            finally:
                for task in watching:
                    task.cancel()


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


def app_of(
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
