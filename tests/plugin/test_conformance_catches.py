"""The conformance suite proves itself: a good type passes every fact, and each seeded fault is caught by its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mooring.plugin import registry
from mooring.plugin.card import ConnectionType
from mooring.testing.conformance import UPDATE_SNAPSHOTS, Conformance

INIT = """
from mooring.plugin.card import ConnectionType
from PACKAGE.model import TinyConfig

TYPE = ConnectionType(
    name="tiny", title="Tiny", group="Tests", config=TinyConfig, connector="PACKAGE.connector:TinyConnector", extra="tiny"
)
"""
MODEL = """
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NonEmpty, Port, Secret, Text, field

class TinyConfig(ConnectionConfig):
    host: NonEmpty = field(description="Where it is.", destination=True)
    port: Port = field(7, description="Which port.", destination=True)
    password: Secret | None = field(None, description="What lets it in.")
    trust_store_name: Text | None = field(None, description="Whom it trusts.", destination=True, reference="truststore")
"""
CONNECTOR = '''
import asyncio, base64, smtplib, socket, sys, threading
from mooring.errors import Misconfigured, Rejected
from mooring.plugin.connector import Answer, Connector, Request, operation
from mooring.plugin.network import network_error

class Said(Request):
    text: str = "hello"

class Heard(Answer):
    text: str

class TinyConnector(Connector):
    async def open(self):
        self.secret = self.config.password.get_secret_value() if self.config.password else ""
        for name in self.config.references().values():
            self.context.materials.store(name)

    @operation
    async def send(self, request: Said) -> Heard:
        """Say something."""
        reader, writer = await asyncio.open_connection(self.config.host, self.config.port)
        try:
            writer.write(self.secret.encode() + b" " + request.text.encode() + b"\\n")
            answer = await reader.readline()
        finally:
            writer.close()
        if not answer.startswith(b"ok"):
            raise Rejected(f"the server said {answer[:200]!r}")
        return Heard(text=answer.decode())

    async def probe(self, probe):
        async with probe.step("connect"):
            await self.context.network.dial(self.config.host, self.config.port)

    def translate(self, error):
        return network_error(error, f"{self.config.host}:{self.config.port}") if isinstance(error, OSError) else None
'''
README = "# Tiny\n\n`host`, `port`, `password`, `trustStoreName`\n"
EXAMPLE = '{"type": "tiny", "name": "a-tiny-one", "host": "tiny.example.com", "port": 7, "password": "not-a-real-one"}'
TARGET = """
def aimed(body, host, port):
    return {**body, "host": host, "port": port}

FIRST_USE = ("send", {"text": "hello"})
"""
TEST = "with pytest.raises(Rejected): pass\n"
FILES = {
    "__init__.py": INIT, "model.py": MODEL, "connector.py": CONNECTOR, "README.md": README, "example.json": EXAMPLE,
    "tests/__init__.py": "", "tests/target.py": TARGET, "tests/test_connector.py": TEST,
}  # fmt: skip

OPEN = "    async def open(self):\n"
SEND_END = '            raise Rejected(f"the server said {answer[:200]!r}")\n'
FACTS = [name for name in vars(Conformance) if name.startswith("test_")]
SEEDED = [
    ("test_01", "example.json", '"type": "tiny"', '"type": "email"'),
    ("test_01", "model.py", "class TinyConfig(ConnectionConfig):\n", "class TinyConfig(ConnectionConfig):\n    def wire(self):\n        return {k: v for k, v in super().wire().items() if k != 'port'}\n\n"),
    ("test_02", "README.md", "`port`", ""),
    ("test_03", "model.py", "    port:", '    api_token: Text | None = field(None, description="A token.")\n    port:'),
    ("test_04", "__init__.py", "\nTYPE", "\nimport smtplib\n\nTYPE"),
    ("test_04", "__init__.py", "\nTYPE", "\nimport PACKAGE.connector\n\nTYPE"),
    ("test_04", "connector.py", " smtplib,", ""),
    ("test_05", "connector.py", OPEN, OPEN + "        await asyncio.to_thread(socket.getaddrinfo, 'localhost', 7)\n"),
    ("test_05", "connector.py", OPEN, OPEN + "        self.kept = socket.socket()\n"),
    ("test_05", "connector.py", OPEN, OPEN + "        self.stopped = threading.Event()\n        threading.Thread(target=self.stopped.wait, args=(2,), daemon=True).start()\n"),
    ("test_06", "connector.py", OPEN, "    async def close(self):\n        del self.secret\n\n" + OPEN),
    ("test_07", "connector.py", "return network_error(error", "return Misconfigured('no') or (error"),
    ("test_08", "tests/test_connector.py", "Rejected", "Exception"),
    ("test_09_a_model", "model.py", "class TinyConfig(ConnectionConfig):\n", "class TinyConfig(ConnectionConfig):\n    def __repr__(self):\n        return str(self.wire())\n\n"),
    ("test_09_a_connector", "connector.py", SEND_END, "            raise Rejected(base64.b64encode(b'key=' + self.secret.encode()).decode())\n"),
    ("test_09_a_connector", "connector.py", "        try:\n            writer.write", "        print(self.secret, file=sys.stderr)\n        try:\n            writer.write"),
    ("test_11", "model.py", '"Where it is.", destination=True', '"Where it is."'),
]  # fmt: skip

_numbers = count()
Make = Callable[..., ConnectionType]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Writes the tiny type as a package of its own, with one text in one file replaced, and gives its card."""
    packages: list[str] = []

    def _make(file: str = "", old: str = "", new: str = "") -> ConnectionType:
        package = f"tiny_type_{next(_numbers)}"
        packages.append(package)
        for name, text in FILES.items():
            assert name != file or old in text
            source = text.replace(old, new) if name == file else text
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.replace("PACKAGE", package))
        card: ConnectionType = importlib.import_module(package).TYPE
        monkeypatch.setattr(registry, "_found", lambda: iter([card]))
        return card

    monkeypatch.syspath_prepend(tmp_path)
    yield _make
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def ask(fact: str, card: ConnectionType, request: pytest.FixtureRequest) -> None:
    """Run the facts whose names begin with *fact*, on *card*."""
    suite = Conformance()
    for name in (name for name in FACTS if name.startswith(fact)):
        needed: dict[str, Any] = {"card": card}
        if name.startswith("test_09_a_connector"):
            needed |= {"caplog": request.getfixturevalue("caplog"), "capfd": request.getfixturevalue("capfd")}
        getattr(suite, name)(**needed)


@pytest.mark.parametrize("fact", [name for name in FACTS if not name.startswith("test_10")])
def test_a_good_type_passes(fact: str, make: Make, request: pytest.FixtureRequest) -> None:
    """A type without a fault passes every fact."""
    ask(fact, make(), request)


@pytest.mark.parametrize(
    ("fact", "file", "old", "new"), SEEDED, ids=[f"{seed[0]}-{number}" for number, seed in enumerate(SEEDED)]
)
def test_a_seeded_fault_is_caught(
    fact: str, file: str, old: str, new: str, make: Make, request: pytest.FixtureRequest
) -> None:
    """Each fault makes its own fact fail."""
    card = make(file, old, new)

    with pytest.raises((AssertionError, AttributeError)):
        ask(fact, card, request)


def test_a_changed_schema_is_seen(make: Make, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A missing or different snapshot fails, and is written only where that is asked for."""
    card = make()
    with pytest.raises(AssertionError, match="has no stored schema"):
        ask("test_10", card, request)

    monkeypatch.setenv(UPDATE_SNAPSHOTS, "1")
    ask("test_10", card, request)
    monkeypatch.delenv(UPDATE_SNAPSHOTS)
    ask("test_10", card, request)

    stored = card.folder / "tests" / "snapshots" / "tiny.json"
    stored.write_text(stored.read_text().replace("Which port.", "Another sentence."))
    with pytest.raises(AssertionError, match="Another sentence"):
        ask("test_10", card, request)


def test_a_type_without_connector_is_skipped_by_name(make: Make, request: pytest.FixtureRequest) -> None:
    """What needs a connector is reported as not asked, with the type's name."""
    card = make("__init__.py", 'connector="PACKAGE.connector:TinyConnector", extra="tiny"', "")

    with pytest.raises(pytest.skip.Exception, match="tiny: no connector yet"):
        ask("test_07", card, request)


def test_a_connector_without_target_fails(make: Make, request: pytest.FixtureRequest) -> None:
    """A type with a connector has a tests/target.py."""
    card = make()
    (card.folder / "tests" / "target.py").unlink()

    with pytest.raises(AssertionError, match=r"no tests/target\.py"):
        ask("test_07", card, request)


def test_an_exemption_is_reported_with_its_reason(make: Make, request: pytest.FixtureRequest) -> None:
    """A fact that cannot hold is skipped with the reason that the type gives."""
    card = make("tests/target.py", "FIRST_USE", 'EXEMPT = {"closed_port": "a datagram is not answered"}\nFIRST_USE')

    with pytest.raises(pytest.skip.Exception, match="tiny: a datagram is not answered"):
        ask("test_07", card, request)
