"""MariaDB as Debian packages it, standing in for MySQL: passwords, TLS, one database."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_OWNER = "mysql"

_CONFIG = """\
[mariadbd]
datadir = {data}
bind-address = 127.0.0.1,127.0.0.2
port = {port}
socket = {folder}/socket
pid-file = {folder}/pid
skip-name-resolve
ssl-ca = {ca}
ssl-cert = {certificate}
ssl-key = {key}
character-set-server = utf8mb4
max-connections = 100
# Tests look whether the port answers and hang up; that must not lock them out.
max-connect-errors = 1000000000
performance-schema = OFF
innodb-buffer-pool-size = 32M
innodb-log-file-size = 16M
# The data is thrown away: nothing needs to survive a crash of the machine.
innodb-flush-log-at-trx-commit = 0
innodb-doublewrite = 0
init-file = {init}
"""

# Read by the server when it starts; one statement a line.
_INIT = """\
CREATE OR REPLACE USER '{admin_user}'@'%' IDENTIFIED BY '{admin_password}';
GRANT ALL ON *.* TO '{admin_user}'@'%' WITH GRANT OPTION;
DROP USER IF EXISTS 'root'@'localhost';
"""


class MariaDB(Server):
    """
    One server with the database that tests use, and an administrator that they may use too.

    `prepare` gives the ordinary user its password back, so a test that died
    between changing and restoring it spoils only its own run.
    """

    name: ClassVar[str] = "mariadb"
    packages: ClassVar[Mapping[str, str]] = {
        "mariadb-server": "/usr/sbin/mariadbd",
        "mariadb-client": "/usr/bin/mariadb",
    }

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name, owner=_OWNER)
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
            "admin_user": "admin",
            "admin_password": secrets.token_urlsafe(12),
            "log": str(context.log(self.name)),
            "version": run(["/usr/sbin/mariadbd", "--version"]).split()[2].partition("-")[0],
        }
        config = self._configure(context, folder, entry)
        context.run(
            self.name,
            ["/usr/bin/mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            user=_OWNER,
        )  # fmt: skip
        context.spawn(self.name, ["/usr/sbin/mariadbd", f"--defaults-file={config}"], user=_OWNER)
        return entry

    def ask(self, entry: Entry) -> None:
        if _query(entry, "SELECT 1").strip() != "1":
            raise NotReady("SELECT 1 did not return 1")

    def prepare(self, entry: Entry) -> None:
        user, database = entry["user"], entry["database"]
        _query(
            entry,
            f"CREATE DATABASE IF NOT EXISTS {database};"
            f"CREATE USER IF NOT EXISTS '{user}'@'%';"
            f"ALTER USER '{user}'@'%' IDENTIFIED BY '{entry['password']}' ACCOUNT UNLOCK;"
            f"GRANT ALL ON {database}.* TO '{user}'@'%';",
        )

    def _configure(self, context: Context, folder: Path, entry: Entry) -> Path:
        data = folder / "data"
        data.mkdir(mode=0o700)
        context.give(data, _OWNER)
        issued = context.certificates
        config = _CONFIG.format(
            data=data,
            folder=folder,
            port=entry["port"],
            ca=context.write(folder / "ca.pem", issued.ca.read_bytes(), _OWNER),
            certificate=context.write(folder / "server.pem", issued.server.read_bytes(), _OWNER),
            key=context.write(folder / "server-key.pem", issued.server_key.read_bytes(), _OWNER),
            init=context.write(folder / "init.sql", _INIT.format(**entry), _OWNER),
        )
        return context.write(folder / "server.cnf", config, _OWNER)


def _query(entry: Entry, sql: str) -> str:
    return run(
        ["/usr/bin/mariadb", "--no-defaults", "--protocol=tcp", f"--host={entry['host']}",
         f"--port={entry['port']}", f"--user={entry['admin_user']}", "--batch",
         "--skip-column-names", "--connect-timeout=5"],
        environment={**os.environ, "MYSQL_PWD": entry["admin_password"]},
        text=sql,
    )  # fmt: skip


SERVER = MariaDB()
