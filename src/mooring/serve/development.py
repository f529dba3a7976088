"""A control plane and a worker on one machine, for whoever tries it out or develops with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import Any

from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.errors import AlreadyExists, Unavailable
from mooring.kit.addresses import is_loopback
from mooring.kit.log import log
from mooring.kit.settings import Settings
from mooring.serve.node import Started, app_of
from mooring.serve.opening import opened_plane
from mooring.serve.server import GRACE_S, listening, server_of, settle_memory, url_of
from mooring.worker.identity import read_identity

DEV_PROJECT = "MyProject"
DEV_ENVIRONMENT = "development"
_NOT_FOR_WORKERS = (
    "MOORING_MASTER_KEY", "MOORING_NEW_MASTER_KEY", "MOORING_KMS_SECRET_ACCESS_KEY", "MOORING_KMS_SESSION_TOKEN",
)  # fmt: skip


async def dev(settings: Settings, announce: Any) -> None:
    """A control plane and one worker, for one machine; answers its first request when the worker's stream is open."""
    if settings.tls_certificate is not None or not is_loopback(settings.host):
        raise Unavailable(
            "mooring dev is for one machine: it speaks plain HTTP on loopback", hint="mooring serve speaks TLS."
        )
    with listening(settings.host, settings.port) as listener:
        async with opened_plane(settings) as (plane, token):
            if plane.ring.locked is not None:
                raise plane.ring.locked
            await _dev_nouns(plane)
            url = url_of(settings.host, listener)
            server = server_of(app_of(plane, settings, ready=plane.fleet.connected))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            keeping = asyncio.create_task(_keep_worker(plane, settings, url))
            try:
                connected = asyncio.create_task(plane.fleet.connected.wait())
                await asyncio.wait([connected, serving, keeping], return_when=asyncio.FIRST_COMPLETED)
                if connected.done():
                    announce(Started(url, settings.data_dir, token, None))
                    settle_memory()
                connected.cancel()
                await asyncio.wait([serving, keeping], return_when=asyncio.FIRST_COMPLETED)
                if keeping.done():
                    keeping.result()
            finally:
                server.should_exit = True
                keeping.cancel()
                await asyncio.gather(keeping, serving, return_exceptions=True)


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
