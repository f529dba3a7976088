"""What lies on the disk of the file servers, and who may log in there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from tools.services.servers.sshd import set_password

from tests.support.services import Service

__all__ = ["end_sessions", "files_of", "serving_us", "set_password"]


def files_of(server: Service) -> Path:
    """The folder on disk that the user of *server* may write to: `/files` there, or the home of an SSH user."""
    return Path(server["home"]) if "home" in server else Path(server["root"], "files")


def end_sessions(server: Service) -> None:
    """
    Kill the processes that serve this process's sessions of *server*; the server itself goes on.

    Those of others stay: tests that run side by side share the server.
    """
    for process in serving_us(server):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def serving_us(server: Service) -> list[int]:
    """The processes that *server* began for connections of this process."""
    ours = _sockets_of(os.getpid())
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    our_ends = {row[1] for row in table if row[9] in ours}
    their_ends = {row[9] for row in table if row[2] in our_ends}
    return [process for process in _children_of(server) if their_ends & _sockets_of(process)]


def _sockets_of(process: int) -> set[str]:
    """The inodes of the sockets that *process* holds; none where it has just ended."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path("/proc", str(process), "fd").iterdir():
            with contextlib.suppress(OSError):
                link = str(entry.readlink())
                if link.startswith("socket:["):
                    found.add(link[8:-1])
    return found


def _children_of(server: Service) -> list[int]:
    """The processes that serve sessions of *server*: all that its listeners have begun."""
    run = Path(server["log"]).parent.parent / "run" / server.name
    listeners = {int(file.read_text().split()[0]) for file in run.glob("*.pid")}
    found, parents = list[int](), set(listeners)
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    while parents:
        parents = {pid for pid, parent in pairs if parent in parents}
        found += parents
    return found
