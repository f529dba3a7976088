"""
The real servers for live tests: where they are, and what a test needs to look inside them.

`make services` starts them. A test that asks for one which does not answer is
skipped, and fails in CI, where a server that could not be started is a defect.
"""

import contextlib
import email
import email.policy
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tools.services.servers import find_servers
from tools.services.servers.mail import set_passwords

_REPOSITORY = Path(__file__).resolve().parents[2]


class Service(Mapping[str, Any]):
    """
    A server that answers: what the state file says about it, read like a dict.

    `ca` is the path of the CA certificate that its TLS certificate verifies
    against; `certificates` has the paths of all others by name: ``client`` and
    ``client_key``, ``wrong_name``, ``unknown_ca``, and so on.
    """

    def __init__(self, name: str, entry: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self.name = name
        self._state = state
        self.ca: str = state["ca"]
        self.certificates: Mapping[str, str] = state["certificates"]
        self._entry = dict(entry)

    def __getitem__(self, key: str) -> Any:
        return self._entry[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry)

    def __len__(self) -> int:
        return len(self._entry)

    def at(self, host: str) -> "Service":
        """The same server, to be reached as *host*."""
        return Service(self.name, {**self._entry, "host": host}, self._state)

    def __repr__(self) -> str:
        # Shown in the report of a failed test, where passwords have no business.
        return f"<Service {self.name} {self['version']} at {self['address']}>"


def service(name: str) -> Service:
    """The server *name*, or the end of the test when it does not answer."""
    state = service_state()
    entry = state.get(name)
    if entry is None or not _answers(entry["address"]):
        message = f"{name} is not running: make services"
        if os.environ.get("CI") and not find_servers()[name].optional:
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return Service(name, entry, state)


@pytest.fixture(scope="session")
def postgres() -> Service:
    """A real PostgreSQL."""
    return service("postgres")


@pytest.fixture(scope="session")
def mariadb() -> Service:
    """A real MariaDB."""
    return service("mariadb")


@pytest.fixture(scope="session")
def kafka() -> Service:
    """A real Kafka broker."""
    return service("kafka")


@pytest.fixture(scope="session")
def mail() -> Service:
    """A real SMTP server that keeps all mail in one maildir."""
    return service("mail")


class ProgramFailed(Exception):
    """A client program that ended with an error, and what it printed."""


def psql(
    service: Service,
    sql: str,
    *,
    admin: bool = False,
    user: str | None = None,
    password: str | None = None,
    sslmode: str = "verify-full",
) -> str:
    """
    What *sql* returns by PostgreSQL's own client: a line for each row, `|` between columns.

    Logs in as the ordinary user, the superuser when *admin*, or whom *user* and
    *password* name. Raises `ProgramFailed`.
    """
    who, word = _login(service, admin, user, password)
    command = ["psql", "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
    environment = {
        "PGHOST": service["host"],
        "PGPORT": str(service["port"]),
        "PGDATABASE": service["database"],
        "PGUSER": who,
        "PGPASSWORD": word,
        "PGSSLMODE": sslmode,
        "PGSSLROOTCERT": service.ca,
        "PGCONNECT_TIMEOUT": "10",
    }
    return _run(command, environment, sql).stdout


def mysql(
    service: Service,
    sql: str,
    *,
    admin: bool = False,
    user: str | None = None,
    password: str | None = None,
) -> str:
    """
    What *sql* returns by MariaDB's own client over verified TLS: a line for each row, tabs between.

    Logs in as the ordinary user, the administrator when *admin*, or whom *user*
    and *password* name. Raises `ProgramFailed`.
    """
    who, word = _login(service, admin, user, password)
    command = [
        "mariadb", "--no-defaults", "--protocol=tcp", f"--host={service['host']}",
        f"--port={service['port']}", f"--user={who}", "--batch", "--skip-column-names",
        "--connect-timeout=10", f"--ssl-ca={service.ca}", "--ssl-verify-server-cert",
        service["database"],
    ]  # fmt: skip
    return _run(command, {"MYSQL_PWD": word}, sql).stdout


@dataclass(frozen=True)
class Record:
    """A Kafka record as Kafka's own consumer printed it; None is Kafka's null."""

    value: str | None
    key: str | None
    headers: tuple[tuple[str, str | None], ...]
    partition: int


def console_consume(
    service: Service,
    topic: str,
    max_messages: int,
    timeout_s: float = 15,
    *,
    listener: str = "plaintext",
    mechanism: str = "SCRAM-SHA-512",
    user: str = "mooring",
    password: str | None = None,
) -> list[Record]:
    """
    The first *max_messages* records of *topic* by Kafka's own console consumer.

    Fewer when no further one comes for *timeout_s*. *listener* names a key of
    the service (``ssl``, ``sasl_plaintext``, ``sasl_ssl``); *mechanism*, *user*
    and *password* matter for SASL only. Raises `ProgramFailed`.
    """
    properties = _kafka_client_properties(service, listener, mechanism, user, password)
    # Errors go where `ProgramFailed` finds them, and not among the records.
    logging = {
        "status": "off", "rootLogger.level": "error", "rootLogger.appenderRef.err.ref": "err",
        "appender.err.type": "Console", "appender.err.name": "err",
        "appender.err.target": "SYSTEM_ERR",
    }  # fmt: skip
    # Characters that no test puts into a record; the program offers no quoting.
    field, header, line, null = "\x1f", "\x1d", "\x1e", "\x1c"
    shown = {
        "print.partition": "true", "print.headers": "true", "print.key": "true",
        "key.separator": field, "headers.separator": header, "line.separator": line,
        "null.literal": null,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        client_file = _write_properties(Path(folder, "client.properties"), properties)
        logging_file = _write_properties(Path(folder, "log4j2.properties"), logging)
        command = [
            service["java"], "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={logging_file}", "-cp", service["classpath"],
            service["console_consumer"],
            "--bootstrap-server", service[listener], "--topic", topic, "--from-beginning",
            "--max-messages", str(max_messages), "--timeout-ms", str(int(timeout_s * 1000)),
            "--command-config", str(client_file),
            *(f"--formatter-property={key}={value}" for key, value in shown.items()),
        ]  # fmt: skip
        done = _run(command, {}, timeout_s=timeout_s + 30)
    # It ends with 0 also when it was turned away, and calls a mere lack of records an error.
    errors = [text for text in done.stderr.splitlines() if "Exception: " in text]
    if errors and "TimeoutException" not in errors[0]:
        raise ProgramFailed(f"Kafka's console consumer: {' / '.join(errors)}")
    return [_record(text, field, header, null) for text in done.stdout.split(line) if text.strip()]


def read_maildir(
    service: Service, since: float | datetime | None = None, *, to: str | None = None
) -> list[EmailMessage]:
    """
    The messages delivered at or after *since* (all when None), the oldest first.

    A message appears once for each recipient of its envelope, whom its
    ``Envelope-to`` header names; *to* picks those of one recipient, so that
    tests which run side by side do not see each other's mail.
    """
    moment = since.timestamp() if isinstance(since, datetime) else since or 0.0
    folder = Path(service["maildir"])
    files = [file for part in ("new", "cur") for file in (folder / part).iterdir()]
    messages = []
    for file in sorted(files, key=_delivered_at):
        if _delivered_at(file) >= moment:
            message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            if to is None or message["Envelope-to"] == to:
                messages.append(message)
    return messages


def wait_for_mail(
    service: Service,
    since: float | datetime | None = None,
    *,
    to: str | None = None,
    count: int = 1,
    timeout_s: float = 20,
) -> list[EmailMessage]:
    """`read_maildir` once *count* messages are there, or what is there after *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while True:
        messages = read_maildir(service, since, to=to)
        if len(messages) >= count or time.monotonic() > deadline:
            return messages
        time.sleep(0.02)


def set_mail_passwords(service: Service, user: str, passwords: Sequence[str]) -> None:
    """
    From the next login on, *user* may log in with any of *passwords*; with none, not at all.

    Makes *user* when there is none of that name, so a test may have one of its own.
    """
    set_passwords(Path(service["users_file"]), user, passwords)


_closed: list[socket.socket] = []


def closed_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor will while the tests run."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    # Bound, it is given to nobody else; not listening, it refuses all connections.
    _closed.append(taken)
    port: int = taken.getsockname()[1]
    return port


@dataclass(frozen=True)
class BlackHole:
    """An address at which waiting never ends."""

    host: str
    port: int


@contextlib.contextmanager
def black_hole(*, connects: bool = True) -> Iterator[BlackHole]:
    """
    A loopback port that never answers.

    Connecting succeeds and reading hangs; with *connects* false, connecting hangs.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        listener.listen(128 if connects else 0)
        if not connects:
            # The kernel completes connections until the queue is full, and
            # ignores those after; nobody ever takes one off.
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((host, port))
        yield BlackHole(host, port)


def service_state() -> dict[str, Any]:
    """What `make services` wrote down; nothing where it never ran."""
    path = os.environ.get("MOORING_SERVICES_STATE") or _REPOSITORY / ".services" / "state.json"
    try:
        state: dict[str, Any] = json.loads(Path(path).read_text())
    except FileNotFoundError:
        return {}
    return state


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _login(service: Service, admin: bool, user: str | None, password: str | None) -> tuple[str, str]:
    kind = "admin_" if admin else ""
    word = service[kind + "password"] if password is None else password
    return user or service[kind + "user"], word


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    text: str | None = None,
    timeout_s: float = 30,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env={**os.environ, **environment}, input=text, timeout=timeout_s,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise ProgramFailed(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
    return done


def _kafka_client_properties(
    service: Service, listener: str, mechanism: str, user: str, password: str | None
) -> dict[str, str]:
    protocol = "SSL" if listener == "wrong_name" else listener.upper()
    properties = {"security.protocol": protocol}
    if protocol.endswith("SSL"):
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": service.ca}
    if protocol.startswith("SASL"):
        kind = "plain.Plain" if mechanism == "PLAIN" else "scram.Scram"
        word = service["users"][user] if password is None else password
        properties |= {
            "sasl.mechanism": mechanism,
            "sasl.jaas.config": f"org.apache.kafka.common.security.{kind}LoginModule required "
            f'username="{user}" password="{word}";',
        }
    return properties


def _write_properties(path: Path, properties: Mapping[str, str]) -> Path:
    path.touch(mode=0o600)
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    return path


def _record(text: str, field: str, header: str, null: str) -> Record:
    def nullable(part: str) -> str | None:
        return None if part == null else part

    partition, headers, key, value = text.split(field)
    pairs = []
    if headers != "NO_HEADERS":
        for part in headers.split(header):
            name, _, word = part.partition(":")
            pairs.append((name, nullable(word)))
    number = int(partition.removeprefix("Partition:"))
    return Record(nullable(value), nullable(key), tuple(pairs), number)


def _delivered_at(file: Path) -> float:
    """When the message came, from its name, which tells microseconds; a file's time may lag."""
    moment = re.match(r"(\d+)\.[HM](\d+)P", file.name)
    if moment is None:
        return file.stat().st_mtime
    return int(moment[1]) + int(moment[2]) / 1e6
