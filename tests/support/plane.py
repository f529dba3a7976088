"""
A control plane for tests: in this process, or `mooring dev` with its worker as real processes.

`plane` and `http` are quick and new for every test; `dev` is started once; `fresh_dev` may be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from mooring.api.app import control_app
from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.kit.settings import Settings
from mooring.serve import DEV_ENVIRONMENT, DEV_PROJECT, opened_plane
from mooring.wire.frames import LEASE_S
from tests.canary.sinks import in_folder, in_processes
from tests.canary.words import Search, canary
from tests.support.services import service_state

START_S = 45.0
STOP_S = 20.0
ANSWER_S = LEASE_S + 5.0
LOG_TAIL = 60

HOOK_SECRET = canary("hook")
"""What the bodies of `webhook` hold: it must come to light nowhere."""

CONNECTIONS = f"/apiops/projects/{DEV_PROJECT}/connections/"


def connection_path(name: str, project: str = DEV_PROJECT) -> str:
    """The path of a connection, whatever its name is made of."""
    return f"/apiops/projects/{quote(project, safe='')}/connections/{quote(name, safe='')}/"


def webhook(name: str, **more: Any) -> dict[str, Any]:
    """A small body that POST accepts, with one secret."""
    return {
        "type": "webhook", "name": name, "fullUrl": "https://hooks.example.com/in", "httpMethod": "POST",
        "headerList": [{"name": "Authorization", "value": f"Bearer {HOOK_SECRET}"}], **more,
    }  # fmt: skip


def email(name: str, **more: Any) -> dict[str, Any]:
    """Another small body that POST accepts."""
    return {"type": "email", "name": name, "host": "smtp.example.com", "port": 587, **more}


# in this process


@dataclass(frozen=True)
class Opened:
    """A control plane in this process, the administrator's token, and its folder."""

    plane: Plane
    token: str
    data_dir: Path


@contextlib.asynccontextmanager
async def opened_here(data_dir: Path, **settings: Any) -> AsyncIterator[Opened]:
    """A control plane on *data_dir* with the project and the environment that `mooring dev` makes."""
    async with opened_plane(Settings(data_dir=data_dir, **settings)) as (plane, _):
        actor = system_actor()
        if await plane.store.project(DEV_PROJECT) is None:
            await plane.projects.create(actor, DEV_PROJECT, "The first project")
            await plane.environments.create(actor, DEV_ENVIRONMENT, description="This machine", type_name="TEST")
        yield Opened(plane, (data_dir / "admin-token").read_text().strip(), data_dir)


@contextlib.asynccontextmanager
async def client_of(plane: Plane, token: str | None, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application around *plane*, with *token* in its headers; *options* are those of the application."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app=control_app(plane, **options))
    async with httpx2.AsyncClient(transport=transport, base_url="http://mooring.test", headers=headers) as client:
        yield client


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """A control plane in this process, on a temporary folder."""
    async with opened_here(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def plane(opened: Opened) -> Plane:
    """An opened control plane with project MyProject and environment development, and no worker."""
    return opened.plane


@pytest.fixture
async def http(opened: Opened) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of `plane` in this process, with the administrator's token."""
    async with client_of(opened.plane, opened.token) as client:
        yield client


@pytest.fixture
def token_with(plane: Plane) -> Callable[..., Any]:
    """Makes a token with the given grants, for the project of that name where one is given."""

    async def make(*grants: str, project_name: str | None = None) -> str:
        _, text = await plane.tokens.create(system_actor(), "for a test", grants=grants, project_name=project_name)
        return text

    return make


# as processes


class Dev:
    """
    `mooring dev` on a free port with a folder of its own, and its worker.

    `api` is a client with the administrator's token. Whatever it does ends by a deadline.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        # A Unix socket's path must be short, so this does not live under pytest's own folders.
        self.data_dir = Path(tempfile.mkdtemp(prefix="mooring-dev-"))
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.url, self.token, self.api = "", "", httpx2.Client()

    @property
    def socket(self) -> Path:
        """The worker's own API."""
        return self.data_dir / "worker.sock"

    @property
    def log_file(self) -> Path:
        """What the processes printed, all starts one after the other."""
        return self.data_dir / "dev.log"

    @property
    def pid(self) -> int:
        """The control plane's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for tests that speak bytes."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def start(self) -> None:
        """Returns when it answers, which is when its worker is connected."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        environment |= {
            "MOORING_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1",
            # All tests share it, and many fail to authenticate on purpose.
            "MOORING_FAILED_LOGINS_PER_MINUTE": "1000000", **self._settings,
        }  # fmt: skip
        with self.log_file.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mooring", "dev", "--port", "0", "--data-dir", str(self.data_dir)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        self.url = self._wait_for_url(before)
        self.token = (self.data_dir / "admin-token").read_text().strip()
        self.api.close()
        self.api = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=ANSWER_S)
        self.api.get("/healthz").raise_for_status()

    def _wait_for_url(self, before: int) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = self.log_file.read_bytes()[before:].decode(errors="replace")
            found = re.search(r"^Mooring listens on (http://\S+)", text, re.MULTILINE)
            if found:
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"mooring dev did not start:\n{self.log_tail()}")

    def kill(self) -> None:
        """kill -9 of the control plane; its worker notices and ends by itself."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)

    def stop(self) -> None:
        """As an operator stops it; what does not end is killed."""
        self.api.close()
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_S)

    def restart(self) -> None:
        """Start again on the same folder; the port is another one."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STOP_S)
        self.start()

    def use(
        self, project: str, connection: str, operation: str, body: Mapping[str, Any], *, timeout_s: float = 30
    ) -> httpx2.Response:
        """What the worker answers on its own API."""
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(self.socket)), timeout=timeout_s) as client:
            path = "/".join(quote(part, safe="") for part in (project, connection, operation))
            return client.post(f"http://worker/v1/{path}", json=dict(body))

    def keeps_its_secrets(self) -> None:
        """No canary lies in its folder, its log, or the arguments and environments of its processes."""
        search, findings = Search(), []
        if self._process is not None and self._process.poll() is None:
            findings += in_processes(search, self._process.pid)
        findings += in_folder(search, self.data_dir)
        assert not findings, f"a canary came to light: {findings}"

    def log_tail(self, lines: int = LOG_TAIL) -> str:
        """The last lines of the log, without the administrator's token."""
        if not self.log_file.exists():
            return "(no log)"
        text = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        return text.replace(self.token, "<token>") if self.token else text


@contextlib.contextmanager
def running_dev(settings: Mapping[str, str] | None = None) -> Iterator[Dev]:
    """A started `Dev`, stopped and cleared away afterwards; with the CA of the live servers trusted."""
    ca = service_state().get("ca")
    running = Dev({**({"MOORING_CA_FILE": ca} if ca else {}), **(settings or {})})
    try:
        running.start()
        yield running
        running.keeps_its_secrets()
    finally:
        running.stop()
        shutil.rmtree(running.data_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def dev() -> Iterator[Dev]:
    """`mooring dev` with its worker, shared by all tests: use names of your own, and leave it running."""
    with running_dev() as running:
        yield running


@pytest.fixture
def fresh_dev() -> Iterator[Dev]:
    """`mooring dev` with its worker for this test alone: kill it, restart it."""
    with running_dev() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """A failed test shows what the processes that it used had printed."""
    report = yield
    if report.failed:
        for name in ("dev", "fresh_dev"):
            running = getattr(item, "funcargs", {}).get(name)
            if isinstance(running, Dev):
                report.sections.append((f"log of {name}", running.log_tail()))
    return report


def same_json(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, where 1, 1.0 and true are three different things."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
