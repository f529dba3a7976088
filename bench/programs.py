"""Starting what is measured, as a user would: processes of their own, on free ports, with throw-away data."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

START_S = 30.0


@dataclass(frozen=True)
class Running:
    """A program that answers. `pids` are the control plane and, for `mooring dev`, its worker."""

    url: str
    token: str
    data_dir: Path
    pids: tuple[int, ...]

    def memory_mb(self) -> list[float]:
        """Resident memory of each process, in MB."""
        return [_resident(pid) for pid in self.pids]


@contextlib.contextmanager
def mooring_dev(folder: Path, **settings: str) -> Iterator[Running]:
    """`mooring dev` on a free port."""
    environment = {**os.environ, "MOORING_LOG_LEVEL": "warning", **settings}
    command = [sys.executable, "-m", "mooring", "dev", "--port", "0", "--data-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"mooring dev did not start: {line}")
        token = (folder / "admin-token").read_text().strip()
        yield Running(found[0], token, folder, (process.pid, *_children(process.pid)))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout and process.stdout.close()


@contextlib.contextmanager
def local_worker(dev: Running, folder: Path, **settings: str) -> Iterator[Running]:
    """A second worker beside *dev*, with its own API on loopback TCP: load generators speak no Unix sockets."""
    headers = {"Authorization": f"Bearer {dev.token}"}
    path = "/apiops/workers/enrolments/"
    with httpx2.Client(base_url=dev.url, headers=headers, trust_env=False) as client:
        enrolment = client.post(path, json={"environmentName": "development"}).json()["token"]
    port, token_file = _free_port(), folder / "local-token"
    command = [
        sys.executable, "-m", "mooring", "worker", "--url", dev.url, "--environment", "development",
        "--enrol-token", enrolment, "--data-dir", str(folder / "worker"), "--listen", f"127.0.0.1:{port}",
        "--local-token-file", str(token_file),
    ]  # fmt: skip
    environment = {**os.environ, "MOORING_LOG_LEVEL": "warning", "MOORING_EGRESS_LOOPBACK": "true", **settings}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not _holds(url, token_file):
            time.sleep(0.1)
        yield Running(url, token_file.read_text().strip(), folder, (process.pid,))
    finally:
        process.terminate()
        process.wait(30)


def _holds(url: str, token_file: Path) -> bool:
    """Whether the worker answers, and its stream is open."""
    if not token_file.exists():
        return False
    headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"}
    try:
        return bool(httpx2.get(f"{url}/v1/", headers=headers, trust_env=False).json()["connected"])
    except httpx2.HTTPError:
        return False


@contextlib.contextmanager
def baseline(folder: Path) -> Iterator[Running]:
    """The bare baseline of `bench.baseline`."""
    folder.mkdir(parents=True, exist_ok=True)
    port, token = _free_port(), "baseline-token"
    process = subprocess.Popen([sys.executable, "-m", "bench.baseline", str(folder), str(port), token])
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                httpx2.get(url, trust_env=False)
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield Running(url, token, folder, (process.pid,))
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _resident(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0
