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
def baseline(folder: Path) -> Iterator[Running]:
    """The bare baseline of `bench.baseline`."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = "baseline-token"
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


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _resident(pid: int) -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0
