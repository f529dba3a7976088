"""What lies on the disk of the file servers, and who may log in there."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tools.services.servers.sshd import set_password

from tests.support.services import Service

__all__ = ["children_of", "end_sessions", "files_of", "set_password"]


def files_of(server: Service) -> Path:
    """The folder on disk that the user of *server* may write to: `/files` there, or the home of an SSH user."""
    return Path(server["home"]) if "home" in server else Path(server["root"], "files")


def end_sessions(server: Service) -> None:
    """Kill the processes that serve the sessions of *server* at the moment; the server itself goes on."""
    for process in children_of(server):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def children_of(server: Service) -> list[int]:
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
