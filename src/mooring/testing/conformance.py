"""
The suite that any connection type inherits: twelve facts that a stranger would have missed.

    class TestRedis(Conformance):
        @pytest.fixture
        def card(self) -> ConnectionType:
            return TYPE

Facts about a live connector need `tests/target.py` in the type's folder, with

- `aimed(body, host, port)`: the same body, pointed at another address;
- `FIRST_USE`: an operation and a request for it, such as `("send", {"text": "hello"})`;
- where a fact cannot hold, `EXEMPT`: its name (`closed_port`, `black_hole`) with the reason.

A type without a connector is reported by name as skipped: "no connector yet".
"""

from __future__ import annotations

import asyncio
import base64
import difflib
import importlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, get_args

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mooring.errors import ConnectorError, DriverMissing, InvalidConfig, Unreachable
from mooring.kit.egress import ANYWHERE_HERE
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import (
    ConnectionConfig,
    join,
    read_config,
    secret_fields,
    secret_sites,
    split,
    wire_name,
)
from mooring.plugin.connector import Allowed, Connector, Context
from mooring.plugin.materials import Materials, NoMaterials, Store

COMMON_KEYS = ("type", "name", "description", "deployToWorker", "enabled")
UPDATE_SNAPSHOTS = "MOORING_UPDATE_SNAPSHOTS"

DRIVERS: frozenset[str] = frozenset(
    {
        "aio_pika", "aioftp", "aiokafka", "aiomysql", "aiormq", "aiosmtplib", "anyldap", "asyncpg", "asyncssh",
        "confluent_kafka", "elasticsearch", "ftplib", "httpx2", "ibm_db", "impala", "jaydebeapi", "ldap3", "mssql_python",
        "oracledb", "pamqp", "proton", "psycopg", "pymongo", "pymysql", "pyodbc", "pysnmp", "pytds", "smtplib", "trino",
    }
)  # fmt: skip
"""Top-level modules of client libraries. A type may not import one before its connector is needed."""

SECRET_WORDS = frozenset(
    {
        "apikey", "community", "credential", "credentials", "jaas", "key", "pass", "passphrase", "passwd", "password",
        "pwd", "secret", "signature", "token",
    }
)  # fmt: skip
"""Words in a field's name that say secret."""

DESTINATION_WORDS = frozenset(
    {
        "bootstrap", "broker", "brokers", "endpoint", "host", "hostname", "hosts", "port", "proxy", "scheme", "server",
        "servers", "ssl", "tls", "uri", "url", "verification", "verify",
    }
)  # fmt: skip
"""Words in a field's name that say where something goes, or how safely."""

USE_S = 3.0
CLOSED_PORT_S = 10.0
MARGIN_S = 5.0
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class FieldOfType(NamedTuple):
    """A field, and the way to it from the top: `headerList.name`."""

    path: str
    model: type[BaseModel]
    info: FieldInfo

    @property
    def words(self) -> set[str]:
        """The words that the field's own name is made of."""
        return {word.lower() for word in _WORDS.findall(self.path.rpartition(".")[2])}

    @property
    def extra(self) -> dict[str, Any]:
        """What `mooring.plugin.fields.field` noted."""
        return self.info.json_schema_extra if isinstance(self.info.json_schema_extra, dict) else {}


class Conformance:
    """
    Inherit it, give it a fixture (or parameter) `card`, and run it with pytest.

    Attributes:
        WAIVERS: `type/path.of.field` with the reason why a field that looks like a secret, or like a destination,
            is none.
        SNAPSHOTS: The folder of the stored schemas; by default `tests/snapshots` in the type's own folder.
    """

    WAIVERS: ClassVar[Mapping[str, str]] = {}
    SNAPSHOTS: ClassVar[Path | None] = None

    def test_01_the_example_comes_back(self, card: ConnectionType) -> None:
        """`example.json` is accepted, and comes back with the same wire names."""
        body = example(card)

        config = read_config(card.config, typed(body))

        assert body["type"] == card.name, f"example.json of {card.name} has another type"
        assert body.get("name"), f"example.json of {card.name} has no name"
        lost = list(missing_names(typed(body), config.wire()))
        assert not lost, f"{card.name}: sent and not given back: {', '.join(lost)}"
        assert card.config.from_wire(config.wire()) == config, (
            f"{card.name}: what was stored reads back as something else"
        )

    def test_02_the_readme_mentions_every_field(self, card: ConnectionType) -> None:
        """The README mentions every field."""
        readme = (card.folder / "README.md").read_text(encoding="utf-8")

        names = {field.path.rpartition(".")[2] for field in fields_of(card.config)}
        absent = sorted(
            name for name in names if not re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", readme)
        )

        assert not absent, (
            f"the README of {card.name} lacks {', '.join(absent)}; its field table is generated between the markers"
        )

    def test_03_what_looks_like_a_secret_is_one(self, card: ConnectionType) -> None:
        """A field that looks like a secret is one, or a waiver says why not."""
        plain = [field.path for field in secret_looking(card.config) if not is_kept_secret(card, field)]
        unwaived = [path for path in plain if f"{card.name}/{path}" not in self.WAIVERS]

        assert not unwaived, f"{card.name}: looks like a secret and is none: {', '.join(unwaived)}"

    def test_04_importing_the_type_imports_no_driver(self, card: ConnectionType) -> None:
        """Importing the type imports neither a driver nor the connector, and a missing driver names its extra."""
        seen = import_without_drivers(card)

        assert not seen["drivers"], f"importing {card.name} imports {', '.join(seen['drivers'])}"
        assert not seen["connector"], f"importing {card.name} imports its connector"
        if card.extra and card.connector:
            assert seen["missing"], (
                f"{card.name} names the extra {card.extra}, and its connector does without every driver"
            )
        if seen["missing"] and card.connector:
            assert "mooring[" in (seen["hint"] or ""), (
                f"{card.name}: a missing driver does not say which extra to install"
            )

    def test_05_opening_does_no_network(self, card: ConnectionType) -> None:
        """Constructing and opening a connector touches no network, and starts no thread or process."""
        connector = built(card)

        async def opened() -> list[str]:
            before = held()
            with watched() as events:
                await connector.open()
            after = held()
            await connector.close()
            return events + [
                f"{what}: {before[what]} before, {after[what]} after" for what in before if after[what] > before[what]
            ]

        assert not (seen := asyncio.run(opened())), f"opening {card.name} did: {'; '.join(seen)}"

    def test_06_close_is_safe_twice(self, card: ConnectionType) -> None:
        """`close` is safe twice: after `open`, without it, and after it failed."""

        async def close_twice(connector: Connector[Any], open_first: bool) -> None:
            if open_first:
                await connector.open()
            await connector.close()
            await connector.close()

        asyncio.run(close_twice(built(card), open_first=True))
        asyncio.run(close_twice(built(card), open_first=False))
        unopenable = without_materials(card)
        if unopenable is not None:
            with pytest.raises(ConnectorError):
                asyncio.run(unopenable.open())
            asyncio.run(close_twice(unopenable, open_first=False))

    def test_07_a_closed_port_is_unreachable(self, card: ConnectionType) -> None:
        """A closed port gives `Unreachable` within the deadline."""
        target = target_of(card, "closed_port")

        error, took = asyncio.run(use_at(card, target, example(card), closed_port(), CLOSED_PORT_S))

        assert isinstance(error, Unreachable), f"{card.name}: a closed port gave {type(error).__name__}: {error}"
        assert took < CLOSED_PORT_S + MARGIN_S, f"{card.name}: it took {took:.1f} s to notice a closed port"

    def test_08_a_wrong_credential_is_rejected(self, card: ConnectionType) -> None:
        """A wrong credential gives `Rejected`: shown by the type's own tests, which have the system to be refused by."""
        target_of(card, "wrong_credential")
        if not secret_sites(card.config):
            pytest.skip(f"{card.name}: has no credential")

        tests = [path.read_text(encoding="utf-8") for path in (card.folder / "tests").glob("test_*.py")]

        assert any(re.search(r"raises\(\s*Rejected", text) for text in tests), f"{card.name}: no test expects Rejected"

    def test_09_a_model_never_shows_a_secret(self, card: ConnectionType) -> None:
        """A canary in any field never appears in a config's representation, or in what is said about a broken body."""
        body, canaries = with_canaries(card)
        config = read_config(card.config, typed(body))
        public, _ = split(card.config, config.wire())

        said = [repr(config), str(config), f"{config}", json.dumps(public)]
        for field in fields_of(card.config):
            if "." not in field.path:
                said += broken(card, typed(body), field.path)

        leaked = leaks(" ".join(said), [*canaries.values(), "canary-wrong-value"])
        assert not leaked, f"{card.name}: shown: {', '.join(leaked)}"

    def test_09_a_connector_never_shows_a_secret(
        self, card: ConnectionType, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A canary never appears in an error, log line, representation or probe report, whatever the other side says."""
        target = target_of(card, "canary")
        body, canaries = with_canaries(card)

        async def bad_weather() -> list[str]:
            said = await attempts(card, target, body, closed_port())
            for peer in (silent, echo, babble):
                async with serving(peer) as port:
                    said += await attempts(card, target, body, port)
            return said

        said = asyncio.run(bad_weather())
        printed = capfd.readouterr()

        leaked = leaks(" ".join([*said, caplog.text, printed.out, printed.err]), canaries.values())
        names = {canary: key for key, canary in canaries.items()}
        assert not leaked, f"{card.name}: shown: {', '.join(names[canary] for canary in leaked)}"

    def test_10_the_schema_is_the_stored_one(self, card: ConnectionType) -> None:
        """The JSON Schema equals its stored snapshot, so that a change of it is seen in review."""
        stored = (self.SNAPSHOTS or card.folder / "tests" / "snapshots") / f"{card.name}.json"
        now = json.dumps(card.schema, indent=2, ensure_ascii=False) + "\n"
        if os.environ.get(UPDATE_SNAPSHOTS) == "1":
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(now, encoding="utf-8")

        assert stored.exists(), f"{card.name} has no stored schema; run this test once with {UPDATE_SNAPSHOTS}=1"
        before = stored.read_text(encoding="utf-8")
        difference = "\n".join(
            difflib.unified_diff(before.splitlines(), now.splitlines(), "stored", "now", lineterm="", n=1)
        )
        assert not difference, (
            f"the schema of {card.name} changed; if meant, run with {UPDATE_SNAPSHOTS}=1\n{difference[:4000]}"
        )

    def test_11_every_destination_field_is_declared(self, card: ConnectionType) -> None:
        """A field that looks like a destination is declared as one, or a waiver says why not."""
        if not secret_sites(card.config):
            pytest.skip(f"{card.name}: has no secret that could follow a destination")
        found = read_config(card.config, typed(example(card))).destination()

        declared = {field.path for field in fields_of(card.config) if field.extra.get("x-destination")}
        undeclared = [
            field.path for field in destination_looking(card.config) if field.path.partition(".")[0] not in found
        ]
        unwaived = [path for path in undeclared if f"{card.name}/{path}" not in self.WAIVERS]

        assert found, f"{card.name} keeps secrets and declares no destination"
        assert not (declared - set(found)), (
            f"{card.name}: declared and left out of destination(): {', '.join(declared - set(found))}"
        )
        assert not unwaived, f"{card.name}: looks like a destination and is not declared: {', '.join(unwaived)}"

    def test_12_a_black_hole_ends_by_the_deadline(self, card: ConnectionType) -> None:
        """A host that accepts and says nothing gives `Unreachable` by the deadline; the probe and `close` end too."""
        target = target_of(card, "black_hole")

        async def fall_in() -> tuple[ConnectorError | None, float]:
            async with serving(silent) as port:
                error, took = await use_at(card, target, example(card), port, USE_S)
                await probe_at(card, target, example(card), port, USE_S)
                return error, took

        started = time.monotonic()
        error, took = asyncio.run(fall_in())

        assert isinstance(error, Unreachable), f"{card.name}: a silent host gave {type(error).__name__}: {error}"
        assert took < USE_S + MARGIN_S, f"{card.name}: it took {took:.1f} s to give up on a silent host"
        assert time.monotonic() - started < 2 * (USE_S + MARGIN_S), (
            f"{card.name}: the probe, or closing, did not end in time"
        )


# Reading a type


def example(card: ConnectionType) -> dict[str, Any]:
    """The body in `example.json`."""
    found: dict[str, Any] = json.loads((card.folder / "example.json").read_text(encoding="utf-8"))
    return found


def typed(body: Mapping[str, Any]) -> dict[str, Any]:
    """*body* without the fields that all types share."""
    return {key: value for key, value in body.items() if key not in COMMON_KEYS}


def fields_of(model: type[BaseModel], above: str = "", seen: tuple[type[BaseModel], ...] = ()) -> Iterator[FieldOfType]:
    """Every field of *model*, and of the objects inside it."""
    for name, info in model.model_fields.items():
        path = f"{above}{wire_name(model, name)}"
        yield FieldOfType(path, model, info)
        for inner in models_in(info.annotation):
            if inner not in seen:
                yield from fields_of(inner, f"{path}.", (*seen, model))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this annotation may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def missing_names(sent: Any, given: Any, path: str = "") -> Iterator[str]:
    """The keys of *sent* that *given* lacks, at any depth."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if not isinstance(given, dict) or key not in given:
                yield f"{path}{key}"
            else:
                yield from missing_names(value, given[key], f"{path}{key}.")
    elif isinstance(sent, list):
        for index, value in enumerate(sent):
            if not isinstance(given, list) or index >= len(given):
                yield f"{path}{index}"
            else:
                yield from missing_names(value, given[index], f"{path}{index}.")


def secret_looking(model: type[BaseModel]) -> Iterator[FieldOfType]:
    """Fields whose name says secret and that hold text; a reference names material and holds none."""
    for field in fields_of(model):
        if field.words & SECRET_WORDS and not field.extra.get("x-reference") and _holds_text(field.info.annotation):
            yield field


def destination_looking(model: type[ConnectionConfig]) -> Iterator[FieldOfType]:
    """Fields whose name says where something goes, or that name a store or certificate; secrets are none."""
    for field in fields_of(model):
        if "SecretStr" not in str(field.info.annotation) and (
            field.words & DESTINATION_WORDS or field.extra.get("x-reference")
        ):
            yield field


def is_kept_secret(card: ConnectionType, field: FieldOfType) -> bool:
    """Whether the value of *field* is taken out of the public half: tried, not read from a declaration."""
    if field.path in secret_fields(card.config):
        return True
    canary = "canary-" + field.path
    # In the example, and with every other field at its default: some fields are secrets in some configs only.
    for values in (read_config(card.config, typed(example(card))).wire(), {}):
        if _put(values, field.path.split("."), canary):
            public, secrets = split(card.config, values)
            if canary in secrets.values() and canary not in json.dumps(public):
                return True
    return False


def _put(values: Any, path: list[str], value: str) -> bool:
    first, *rest = path
    if not rest:
        values[first] = value
        return True
    inner = values.get(first)
    return any(
        isinstance(item, dict) and _put(item, rest, value) for item in (inner if isinstance(inner, list) else [inner])
    )


def _holds_text(annotation: Any) -> bool:
    """Whether free text may stand there: not for a number, a flag, or one of a few words."""
    if get_args(annotation):
        return any(_holds_text(argument) for argument in get_args(annotation))
    return annotation in (str, SecretStr, Any, dict)


# Importing it somewhere else

_IMPORT = """
import asyncio, importlib, json, sys
from mooring.errors import ConnectorError, DriverMissing
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import read_config
from mooring.plugin.connector import Context

package, name, drivers = sys.argv[1], sys.argv[2], set(sys.argv[3].split(","))
already = set(sys.modules)
room = importlib.import_module(package)
card = next(found for found in vars(room).values() if isinstance(found, ConnectionType) and found.name == name)
seen = {
    "drivers": sorted(drivers & {module.partition(".")[0] for module in set(sys.modules) - already}),
    "connector": bool(card.connector) and card.connector.partition(":")[0] in sys.modules,
    "missing": False, "hint": None,
}

class Without:
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in drivers:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

for module in [module for module in sys.modules if module.partition(".")[0] in drivers]:
    del sys.modules[module]
sys.meta_path.insert(0, Without())
try:
    kind = card.load_connector()
    if card.extra:
        # A type with several drivers imports the one that it needs when it is opened.
        asyncio.run(kind(read_config(card.config, json.loads(sys.argv[4])), Context(name)).open())
except DriverMissing as error:
    seen["missing"], seen["hint"] = True, error.hint
except ConnectorError:
    pass
print(json.dumps(seen))
"""


def import_without_drivers(card: ConnectionType) -> dict[str, Any]:
    """What a fresh interpreter loads for the type, and what its connector says where no driver is installed."""
    package, values = card.config.__module__.rpartition(".")[0], json.dumps(typed(example(card)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORT, package, card.name, ",".join(sorted(DRIVERS)), values],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{card.name} could not be imported by itself:\n{done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# Building a connector


class SomeMaterials:
    """A self-signed certificate under every name, so that examples with stores open."""

    def store(self, name: str) -> Store:
        certificate, key = _certificate()
        return Store(trusted=certificate, chain=certificate, key=key)


@cache
def _certificate() -> tuple[str, str]:
    from datetime import datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "conformance")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def built(
    card: ConnectionType, values: Mapping[str, Any] | None = None, materials: Materials | None = None
) -> Connector[Any]:
    """A connector for the example (or *values*), not opened. Skips where the type has none, or its driver is missing."""
    kind = connector_of(card)
    config = read_config(card.config, dict(values) if values is not None else typed(example(card)))
    return kind(
        config,
        Context(
            f"conformance/{card.name}", materials=materials or SomeMaterials(), allowed=Allowed(egress=ANYWHERE_HERE)
        ),
    )


def connector_of(card: ConnectionType) -> type[Connector[Any]]:
    """The type's connector, or a skip that says why there is none."""
    if card.connector is None:
        pytest.skip(f"{card.name}: no connector yet")
    try:
        return card.load_connector()
    except DriverMissing as exc:
        pytest.skip(f"{card.name}: {exc.message}")


def without_materials(card: ConnectionType) -> Connector[Any] | None:
    """A connector whose config really uses a store that does not exist; None where the example uses none."""
    values = typed(example(card))
    names = [wire_name(card.config, name) for name, info in card.config.model_fields.items() if _is_reference(info)]
    config = read_config(card.config, {**values, **dict.fromkeys(names, "missing")})
    return built(card, {**values, **dict.fromkeys(names, "missing")}, NoMaterials()) if config.references() else None


def _is_reference(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and "x-reference" in info.json_schema_extra


# Watching it open

_NETWORK = frozenset(
    {
        "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname",
        "socket.sendmsg", "socket.sendto", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system",
    }
)  # fmt: skip
_watching: list[list[str]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in _NETWORK:
        for events in _watching:
            events.append(event)


@cache
def _install_hook() -> None:
    # An audit hook cannot be taken out again; this one does nothing unless somebody watches.
    sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The look-ups, connections and processes that Python code begins inside."""
    _install_hook()
    events: list[str] = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.remove(events)


def held() -> dict[str, int]:
    """The sockets and threads of this process, those of native code included where the system shows them."""
    helpers = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    counts = {"threads": threading.active_count() - helpers}
    system = Path("/proc/self")
    if (system / "fd").is_dir():
        counts["sockets"] = sum(_is_socket(entry) for entry in (system / "fd").iterdir())
        counts["threads"] = sum(1 for _ in (system / "task").iterdir()) - helpers
    return counts


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:
        return False


# Pointing it at bad weather

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def target_of(card: ConnectionType, fact: str) -> ModuleType:
    """The type's `tests/target.py`. Skips, by name and with the reason, where the fact cannot be asked."""
    connector_of(card)
    assert (card.folder / "tests" / "target.py").exists(), (
        f"{card.name} has a connector and no tests/target.py; mooring.testing.conformance says what it holds"
    )
    target = importlib.import_module(f"{card.config.__module__.rpartition('.')[0]}.tests.target")
    reason = getattr(target, "EXEMPT", {}).get(fact)
    if reason:
        pytest.skip(f"{card.name}: {reason}")
    return target


async def use_at(
    card: ConnectionType, target: ModuleType, body: dict[str, Any], port: int, timeout_s: float
) -> tuple[ConnectorError | None, float]:
    """How the type's first use ends at a port of this machine, and after how many seconds."""
    from mooring.testing.live import connected

    operation, request = target.FIRST_USE
    started = time.monotonic()
    try:
        async with connected(target.aimed(body, "127.0.0.1", port), materials=SomeMaterials()) as guard:
            await guard.use(operation, request, timeout_s)
    except ConnectorError as exc:
        return exc, time.monotonic() - started
    return None, time.monotonic() - started


async def probe_at(card: ConnectionType, target: ModuleType, body: dict[str, Any], port: int, timeout_s: float) -> str:
    """What a probe reports about a port of this machine."""
    from mooring.testing.live import connected

    async with connected(target.aimed(body, "127.0.0.1", port), materials=SomeMaterials()) as guard:
        report = await guard.probe(timeout_s)
        return json.dumps([step.wire() for step in report.steps]) + repr(report) + repr(guard.connector) + repr(guard)


async def attempts(card: ConnectionType, target: ModuleType, body: dict[str, Any], port: int) -> list[str]:
    """Everything that is said when the type is used and probed at that port."""
    error, _ = await use_at(card, target, body, port, 1.0)
    said = [str(error), repr(error), repr(getattr(error, "args", ())), str(getattr(error, "hint", ""))]
    try:
        said.append(await probe_at(card, target, body, port, 1.0))
    except ConnectorError as exc:
        said += [str(exc), repr(exc), str(exc.hint)]
    return said


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[int]:
    """The port of a server that treats every client as *peer* does."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await peer(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what it gets and says nothing."""
    while await reader.read(65536):
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says back whatever it gets, so that an error that quotes the other side would quote a secret."""
    writer.write(b"220 hello\r\n")
    while data := await reader.read(65536):
        writer.write(b"535 refused " + data)
        await writer.drain()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what no protocol says, and hangs up."""
    writer.write(bytes(range(256)) * 16)
    await writer.drain()


# Canaries


def with_canaries(card: ConnectionType) -> tuple[dict[str, Any], dict[str, str]]:
    """The example with a canary for every secret, and for every secret field that it leaves empty; the canaries by key."""
    body = example(card)
    public, secrets = split(card.config, read_config(card.config, typed(body)).wire())
    keys = list(secrets) + [name for name in secret_fields(card.config) if name not in secrets]
    canaries = {key: f"canary{index:04d}zq7wx" for index, key in enumerate(keys)}
    values = join(card.config, public, canaries)[0]
    for name in secret_fields(card.config):
        try:
            read_config(card.config, values)
            break
        except InvalidConfig:
            # A field that the example leaves empty may not go with the others; then it stays empty.
            if name not in secrets:
                values[name] = None
                canaries.pop(name)
    return {**{key: body[key] for key in COMMON_KEYS if key in body}, **values}, canaries


def broken(card: ConnectionType, values: dict[str, Any], name: str) -> list[str]:
    """What is said about *values* with something wrong in the field *name*, several times over."""
    wrong = "canary-wrong-value"
    said = []
    for value in (
        [wrong],
        {"a": wrong},
        [{"a": wrong}],
        wrong,
        f"{wrong}\n\0",
        f"{wrong}://{wrong}@{wrong}?{wrong}",
        2**70,
    ):
        try:
            read_config(card.config, {**values, name: value})
        except InvalidConfig as exc:
            said += [str(exc), repr(exc), *(f"{problem.path} {problem.message}" for problem in exc.problems)]
    return said


def leaks(text: str, canaries: Any) -> list[str]:
    """Those of *canaries* that stand in *text*, plainly, in hexadecimal, or in base64 at any offset."""
    return [canary for canary in canaries if any(form in text for form in forms(canary))]


def forms(canary: str) -> list[str]:
    """The ways in which *canary* may be written."""
    raw = canary.encode()
    found = [canary, raw.hex(), raw.hex().upper()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        # The first and last characters also depend on the neighbours.
        found.append(encoded[(offset * 8 + 5) // 6 : -1])
    return found
