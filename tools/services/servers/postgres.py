"""PostgreSQL as Debian packages it: SCRAM passwords, TLS with a certificate of the test CA."""

import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_BINARIES = "/usr/lib/postgresql/*/bin/"

# Any loopback source, and nothing without a password.
_WHO_MAY_LOG_IN = """\
local all all scram-sha-256
host  all all 127.0.0.0/8 scram-sha-256
"""

_CONFIG = """\
listen_addresses = '127.0.0.1, 127.0.0.2'
port = {port}
unix_socket_directories = '{folder}'
max_connections = 100
password_encryption = scram-sha-256
ssl = on
ssl_cert_file = '{certificate}'
ssl_key_file = '{key}'
ssl_ca_file = '{ca}'
shared_buffers = 32MB
# The data is thrown away: nothing needs to survive a crash of the machine.
fsync = off
synchronous_commit = off
full_page_writes = off
log_connections = off
"""


class Postgres(Server):
    """
    One cluster with the database that tests use, and a superuser that they may use too.

    `prepare` gives the ordinary user its password back, so a test that died
    between changing and restoring it spoils only its own run.
    """

    name: ClassVar[str] = "postgres"
    packages: ClassVar[Mapping[str, str]] = {
        "postgresql": _BINARIES + "postgres",
        "postgresql-client": _BINARIES + "psql",
    }

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name, owner="postgres")
        port = context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "127.0.0.1",
            "port": port,
            # It listens there too, and its certificate does not name that address.
            "wrong_name_host": "127.0.0.2",
            "database": "mooring",
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "admin_user": "postgres",
            "admin_password": secrets.token_urlsafe(12),
            "log": str(context.log(self.name)),
        }
        self._make_cluster(context, folder, entry)
        postgres = _program("postgres")
        entry["version"] = run([postgres, "--version"]).split()[2]
        context.spawn(self.name, [postgres, "-D", str(folder / "data")], user="postgres")
        return entry

    def ask(self, entry: Entry) -> None:
        if _psql(entry, "postgres", "SELECT 1").strip() != "1":
            raise NotReady("SELECT 1 did not return 1")

    def prepare(self, entry: Entry) -> None:
        user, database = entry["user"], entry["database"]
        if not _psql(entry, "postgres", f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'"):
            _psql(entry, "postgres", f"CREATE ROLE {user}")
        _psql(entry, "postgres", f"ALTER ROLE {user} LOGIN PASSWORD '{entry['password']}'")
        if not _psql(entry, "postgres", f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):
            _psql(entry, "postgres", f"CREATE DATABASE {database} OWNER {user}")

    def stop(self, context: Context) -> None:
        # Its "fast" shutdown; SIGTERM would wait for clients to leave.
        context.stop(self.name, by=signal.SIGINT)

    def _make_cluster(self, context: Context, folder: Path, entry: Entry) -> None:
        owner, data = "postgres", folder / "data"
        password = context.write(folder / "password", entry["admin_password"], owner)
        context.run(
            self.name,
            [_program("initdb"), "-D", str(data), "-A", "scram-sha-256", "-E", "UTF8",
             "--locale=C.UTF-8", "-U", entry["admin_user"], f"--pwfile={password}", "--no-sync"],
            user=owner,
        )  # fmt: skip
        password.unlink()
        issued = context.certificates
        certificate = context.write(folder / "server.pem", issued.server.read_bytes(), owner)
        key = context.write(folder / "server-key.pem", issued.server_key.read_bytes(), owner)
        ca = context.write(folder / "ca.pem", issued.ca.read_bytes(), owner)
        config = _CONFIG.format(port=entry["port"], folder=folder, certificate=certificate, key=key, ca=ca)
        context.write(data / "postgresql.conf", config, owner)
        context.write(data / "pg_hba.conf", _WHO_MAY_LOG_IN, owner)


def _program(name: str) -> str:
    program = find_program(_BINARIES + name)
    if program is None:
        raise NotReady(f"{name} is not installed")
    return program


def _psql(entry: Entry, database: str, sql: str) -> str:
    return run(
        [_program("psql"), "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
         "-h", entry["host"], "-p", str(entry["port"]), "-U", entry["admin_user"], "-d", database],
        environment={**os.environ, "PGPASSWORD": entry["admin_password"], "PGCONNECT_TIMEOUT": "5"},
        text=sql,
    )  # fmt: skip


SERVER = Postgres()
