"""The databases' own clients, to look at what was done from the other side."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from tests.support.services import ProgramFailed, Service, service, service_state


def trino_cli(server: Service, sql: str) -> list[list[str]]:
    """The rows of *sql* by Trino's own command line, over verified TLS. Raises `ProgramFailed`."""
    command = [
        server["java"], "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", server["cli"],
        "--server", f"https://localhost:{server['tls_port']}", "--truststore-path", server.ca,
        "--user", server["user"], "--password", "--catalog", server["catalog"], "--schema", server["schema"],
        "--output-format", "TSV", "--execute", sql,
    ]  # fmt: skip
    environment = {**os.environ, "TRINO_PASSWORD": server["password"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ProgramFailed(f"trino-cli ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return [line.split("\t") for line in done.stdout.splitlines()]


@contextlib.contextmanager
def mongo(server: Service) -> Iterator[pymongo.database.Database[dict[str, Any]]]:
    """The database by MongoDB's own client, as the administrator."""
    with pymongo.MongoClient(
        server["host"], server["port"], username=server["admin_user"], password=server["admin_password"],
        authSource="admin", authMechanism="SCRAM-SHA-256", serverSelectionTimeoutMS=5000, directConnection=True,
    ) as client:  # fmt: skip
        yield client[server["database"]]


def hive_server() -> Service:
    """The optional HiveServer2; the test is skipped where it was not started by name."""
    if "hive" not in service_state():
        pytest.skip("hive is not running: python -m tools.services start hive")
    return service("hive")
