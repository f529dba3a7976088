"""For the suites that all rooms share: the same connection aimed elsewhere, its first use, and real databases."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store
from mooring.types.database.address import Endpoint
from mooring.types.database.jdbc import parse, render

Body = dict[str, Any]


def aimed(body: Body, host: str, port: int) -> Body:
    """*body* pointed at another address."""
    moved = {**body, "host": host, "port": port}
    if body.get("jdbcUrl"):
        moved["jdbcUrl"] = render(replace(parse(body["jdbcUrl"]), hosts=(Endpoint(host, port),)))
    return moved


FIRST_USE: tuple[str, Body] = ("query", {"sql": "select 1"})

UNVERIFIED = {
    "Oracle": "no server could be had: refusals of a listener are imitated, logins and statements were never tried",
    "SQL Server": "no server could be had: greeting, TLS, login and simple statements are imitated",
    "Impala": "no server could be had: the same client and protocol as Hive, which is verified",
    "DB2": "no server could be had: only what its client says of closed ports",
    "Sybase": "no server could be had: only what its client says of closed ports",
    "MySQL 8, caching_sha2_password": "no MySQL 8 could be had; MariaDB is verified",
}
"""What could never be met for real, and why."""

TABLE = "id int, name varchar(100)"
_IN_TLS = {"black_hole": (Unreachable, "tls"), "endless": (Misconfigured, "tls"), "garbage": (Misconfigured, "tls")}
"""Where TLS comes first, what speaks no TLS is met there."""


@contextlib.contextmanager
def _sql(name: str, url: str, tls: str, *, stores: tuple[str, ...] = ()) -> Iterator[Any]:
    """PostgreSQL or MariaDB; *url* is what stands after the database."""
    from tests.support.services import mysql, psql, service
    from tests.support.targets import Ends, Target

    server = service(name)
    ask = psql if name == "postgres" else mysql
    scheme = "postgresql" if name == "postgres" else "mysql"
    table = f"e2e_{secrets.token_hex(5)}"
    ask(server, f"create table {table} ({TABLE})")
    body: Body = {
        "type": "database",
        "jdbcUrl": f"jdbc:{scheme}://{server['host']}:{server['port']}/{server['database']}{url}",
        "username": server["user"],
        "password": server["password"],
    }
    kept = {
        "trust": Store(trusted=Path(server.ca).read_text()),
        "identity": Store(
            chain=Path(server.certificates["client"]).read_text(),
            key=Path(server.certificates["client_key"]).read_text(),
        ),
    }
    body |= {
        field: store for field, store in (("trustStoreName", "trust"), ("keyStoreName", "identity")) if store in stores
    }
    ends: dict[str, Any] = {}
    spoiled: dict[str, Any] = {}
    if tls:
        ends = {weather: Ends(*end) for weather, end in _IN_TLS.items()}
        if name == "mariadb":
            # Its server speaks first: a greeting that makes no sense is no server's.
            ends["garbage"] = ends["endless"] = Ends(Unreachable, "tls")
    if stores:
        spoiled = {
            weather: partial(_shown, body, _GREETINGS[name], weather)
            for weather in ("wrong_ca", "wrong_name", "expired")
        }
    elif tls:
        ends |= dict.fromkeys(("wrong_ca", "wrong_name", "expired"), "this mode looks at no certificate")
    try:
        yield Target(
            body=body,
            operation="execute",
            request={"sql": f"insert into {table} values (?, ?)", "parameters": [1, table]},
            seen=lambda answer: answer["rowCount"] == 1 and table in ask(server, f"select name from {table}"),
            server=f"{'PostgreSQL' if name == 'postgres' else 'MariaDB'} {server['version']}",
            tls=tls,
            stores={store: kept[store] for store in stores},
            aimed=aimed,
            with_login=_with_login,
            ends=ends,
            spoiled=spoiled,
        )
    finally:
        ask(server, f"drop table {table}")


def _with_login(body: Body, user: str | None, password: str | None) -> Body:
    return {**body, "username": user or body["username"], "password": password or body["password"]}


@contextlib.contextmanager
def _shown(body: Body, greet: Callable[[socket.socket], None], weather: str) -> Iterator[Body]:
    """A server that agrees to TLS in its product's own way, and shows a certificate that it should not."""
    from tests.support.services import service_state
    from tests.weather import peers

    show = peers.showing(*peers.certificate_of(weather, service_state()["certificates"]))

    def treat(client: socket.socket) -> None:
        greet(client)
        show(client)

    with peers.serving(treat) as port:
        yield aimed(body, "localhost", port)


def _postgres_agrees(client: socket.socket) -> None:
    client.recv(8)
    client.sendall(b"S")


def _mysql_agrees(client: socket.socket) -> None:
    flags = 0x0001 | 0x0200 | 0x0800 | 0x8000 | 0x00080000
    body = b"\x0a8.0.0\0" + struct.pack("<I", 1) + b"12345678\0"
    body += struct.pack("<HBHHB", flags & 0xFFFF, 45, 2, flags >> 16, 21)
    body += b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
    client.sendall(len(body).to_bytes(3, "little") + b"\0" + body)
    wanted = 36
    while wanted:
        wanted -= len(client.recv(wanted)) or wanted


_GREETINGS: dict[str, Callable[[socket.socket], None]] = {"postgres": _postgres_agrees, "mariadb": _mysql_agrees}


@contextlib.contextmanager
def _trino(*, tls: bool) -> Iterator[Any]:
    from tests.support.databases import trino_cli
    from tests.support.services import service
    from tests.support.targets import Ends, Target

    server = service("trino")
    table = f"e2e_{secrets.token_hex(5)}"
    trino_cli(server, f"create table {table} (id integer, name varchar)")
    place = f"{server['catalog']}/{server['schema']}"
    body: Body = {"type": "database"}
    if tls:
        body["jdbcUrl"] = f"jdbc:trino://localhost:{server['tls_port']}/{place}?SSL=true"
        body |= {"username": server["user"], "password": server["password"]}
    else:
        body["jdbcUrl"] = f"jdbc:trino://localhost:{server['port']}/{place}?user={server['user']}"
        body["useCredentials"] = False
    try:
        yield Target(
            body=body,
            operation="execute",
            request={"sql": f"insert into {table} values (?, ?)", "parameters": [1, table]},
            seen=lambda answer: [table] in trino_cli(server, f"select name from {table}"),
            server=f"Trino {server['version']}",
            tls="TLS, verified" if tls else "",
            aimed=aimed,
            with_login=_with_login if tls else None,
            ends={weather: Ends(*end) for weather, end in _IN_TLS.items()} if tls else {},
        )
    finally:
        trino_cli(server, f"drop table {table}")


@contextlib.contextmanager
def _mongodb(*, tls: bool) -> Iterator[Any]:
    from tests.support.databases import mongo
    from tests.support.services import service
    from tests.support.targets import Ends, Target

    server = service("ferretdb")
    collection = f"e2e_{secrets.token_hex(5)}"
    port = server["tls_port"] if tls else server["port"]
    query = "authMechanism=SCRAM-SHA-256" + ("&tls=true" if tls else "")

    def seen(answer: Body) -> bool:
        with mongo(server) as database:
            return bool(answer["rowCount"] == 1 and database[collection].find_one({"name": collection}))

    try:
        yield Target(
            body={
                "type": "database",
                "jdbcUrl": f"mongodb://localhost:{port}/{server['database']}?{query}",
                "username": server["user"],
                "password": server["password"],
            },
            operation="execute",
            request={"command": {"insert": collection, "documents": [{"name": collection}]}},
            seen=seen,
            server=f"FerretDB {server['version']} (MongoDB's protocol)",
            tls="TLS, verified" if tls else "",
            aimed=aimed,
            with_login=_with_login,
            ends={weather: Ends(*end) for weather, end in _IN_TLS.items()} if tls else {},
        )
    finally:
        with mongo(server) as database:
            database.drop_collection(collection)


@contextlib.contextmanager
def _hive(*, https: bool) -> Iterator[Any]:
    from tests.support.databases import hive_server
    from tests.support.targets import Ends, Target

    server = hive_server()
    name = f"e2e_{secrets.token_hex(5)}"
    table = Path(server["tables"], name)
    address = f"localhost:{server['https_port' if https else 'port']}/default"
    switches = ";ssl=true;transportMode=http;httpPath=cliservice" if https else ""
    yield Target(
        body={
            "type": "database",
            "jdbcUrl": f"jdbc:hive2://{address}{switches}",
            "username": server["user"],
            "password": server["password"],
        },
        operation="execute",
        request={
            "sql": f"create table if not exists {name} using json location '{table}' as select ? as name",
            "parameters": [name],
        },
        # A table is a folder of files.
        seen=lambda answer: any(name in file.read_text() for file in table.glob("*.json")),
        server=f"HiveServer2 of {server['version']}",
        tls="TLS, verified" if https else "",
        aimed=aimed,
        with_login=_with_login,
        ends={weather: Ends(*end) for weather, end in _IN_TLS.items()} if https else {},
    )


TARGETS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "PostgreSQL": partial(_sql, "postgres", "?sslmode=disable", ""),
    "PostgreSQL, TLS": partial(_sql, "postgres", "?sslmode=require", "TLS, unverified"),
    "PostgreSQL, TLS with a truststore": partial(_sql, "postgres", "", "TLS, verified", stores=("trust",)),
    "PostgreSQL, mutual TLS": partial(_sql, "postgres", "", "mutual TLS", stores=("trust", "identity")),
    "MariaDB": partial(_sql, "mariadb", "?sslMode=DISABLED", ""),
    "MariaDB, TLS": partial(_sql, "mariadb", "?sslMode=REQUIRED", "TLS, unverified"),
    "MariaDB, TLS with a truststore": partial(_sql, "mariadb", "", "TLS, verified", stores=("trust",)),
    "MariaDB, mutual TLS": partial(_sql, "mariadb", "", "mutual TLS", stores=("trust", "identity")),
    "Trino": partial(_trino, tls=False),
    "Trino, TLS": partial(_trino, tls=True),
    "MongoDB": partial(_mongodb, tls=False),
    "MongoDB, TLS": partial(_mongodb, tls=True),
    "Hive": partial(_hive, https=False),
    "Hive, HTTPS": partial(_hive, https=True),
}
