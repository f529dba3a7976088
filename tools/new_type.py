"""
Begins a connection type: `make type NAME=redis`.

    python -m tools.new_type NAME

Makes the room `src/mooring/types/<name>/`, which passes every check from the first minute and speaks a protocol of
one line to and fro. What a person has to write in its place says so with TODO.
"""

from __future__ import annotations

import importlib
import json
import keyword
import re
import subprocess
import sys
from pathlib import Path

from mooring.plugin.card import ConnectionType
from mooring.plugin.reference import fill_readme
from mooring.plugin.registry import Registry
from tools import docs

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ROOT / "src" / "mooring" / "types"
SNAPSHOTS = ROOT / "tests" / "plugin" / "snapshots"
MAX_LENGTH = 40
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", re.ASCII)


class Refused(Exception):
    """No room can be made under that name; the message says why."""


def check_name(name: str) -> str:
    """The folder of the type *name*. Raises `Refused`."""
    if not _NAME.fullmatch(name) or len(name) > MAX_LENGTH:
        raise Refused(
            f"a name has lower-case letters and digits, in words with - or _ between them, at most {MAX_LENGTH}"
            " characters, such as redis or my-queue"
        )
    room = name.replace("-", "_")
    if keyword.iskeyword(room) or keyword.issoftkeyword(room) or room == "tests":
        raise Refused(f"{name} is a word that Python keeps for itself")
    registry = Registry()
    taken = {spelling.lower(): card for card in registry for spelling in (card.name, *card.aliases, card.folder.name)}
    for spelling in (name, room, room.replace("_", "")):
        if spelling in taken:
            raise Refused(f"there is a connection type {taken[spelling].name} already")
    if (ROOMS / room).exists():
        raise Refused(f"there is a folder {room} already")
    return room


def make(name: str) -> Path:
    """Write the room of the type *name*, its stored schema, and its lines in the documentation. Raises `Refused`."""
    room = check_name(name)
    words = re.split("[-_]", name)
    tokens = {
        "@name@": name,
        "@room@": room,
        "@Class@": "".join(word.capitalize() for word in words),
        "@Title@": " ".join(words).capitalize(),
    }
    folder = ROOMS / room
    for file, text in FILES.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, tokens), "utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "--fix", str(folder)], cwd=ROOT, check=False)
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(folder)], cwd=ROOT, check=False)
    importlib.invalidate_caches()
    card: ConnectionType = importlib.import_module(f"mooring.types.{room}").TYPE
    fill_readme(card)
    schema = json.dumps(card.schema, indent=2, ensure_ascii=False) + "\n"
    (SNAPSHOTS / f"{name}.json").write_text(schema, "utf-8")
    docs.main([])
    return folder


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("make type NAME=redis", file=sys.stderr)
        return 2
    try:
        folder = make(arguments[0])
    except Refused as exc:
        print(f"new type: {exc}", file=sys.stderr)
        return 1
    place = folder.relative_to(ROOT)
    print(f"{place} is there. Next: the fields in model.py, the driver in connector.py, then README.md.")
    print("  a driver       one line under optional-dependencies in pyproject.toml, and `extra` in __init__.py")
    print(f"  its tests      make test ARGS={place}")
    print(f"  all facts      make test ARGS='tests/plugin -k {arguments[0]}'")
    print("  its schema     MOORING_UPDATE_SNAPSHOTS=1, with the line above, when the fields have changed")
    print("  its tables     make fix")
    return 0


def _filled(text: str, tokens: dict[str, str]) -> str:
    for token, value in tokens.items():
        text = text.replace(token, value)
    return text


FILES = {
    "__init__.py": '''"""TODO: what this is, in a few words."""

from mooring.plugin.card import ConnectionType
from mooring.types.@room@.model import @Class@Config

TYPE = ConnectionType(
    name="@name@",
    title="@Title@",
    group="Other",
    config=@Class@Config,
    connector="mooring.types.@room@.connector:@Class@Connector",
    operations=("send",),
)
''',
    "model.py": '''"""What a @Title@ connection is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, OrReference, Port, field

Host = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=255), OrReference]


class @Class@Config(ConnectionConfig):
    """TODO: what a connection of this type stands for."""

    host: Host = field(
        description="Server name or address.", example="@name@.example.com", group="Server", destination=True
    )
    port: Port = field(7, description="Server port.", example=7, group="Server", destination=True)
    # A secret is `password: Secret | None = field(None, description="Login password.", group="Login")`.
    # Rules between fields go into `rules`, what is allowed and probably not meant into `warnings`.
''',
    "connector.py": '''"""TODO: how it is used. This one sends a line and reads a line; put the driver in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pydantic import Field

from mooring.errors import ConnectorError, Misconfigured
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.@room@.model import @Class@Config


class Line(Request):
    """What to send."""

    text: str = Field(description="One line of text.", max_length=1000, pattern=r"^[^\\r\\n]*$", examples=["hello"])


class Said(Answer):
    """What came back."""

    text: str = Field(description="The line that the server answered.")


class @Class@Connector(Connector[@Class@Config]):
    """One connection, begun with the first use, used by one caller at a time."""

    def __init__(self, config: @Class@Config, context: Context) -> None:
        super().__init__(config, context)
        self._address = f"{config.host}:{config.port}"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        # Build what needs no network: TLS contexts, the driver's settings. Nothing here may wait for anybody.
        pass

    def hosts(self) -> Iterable[str]:
        return (self.config.host,)

    async def start(self) -> None:
        # Nothing else may dial: the network of the context asks the worker's egress policy.
        self._streams = await self.context.network.open_connection(self.config.host, int(self.config.port))

    async def stop(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()

    @operation
    async def send(self, request: Line) -> Said:
        """Send a line, and hand back the line that is answered."""
        async with self._turn:
            try:
                return Said(text=await self._exchange(request.text))
            except BaseException:
                # Half an exchange may be on the wire: the next use begins with a new connection.
                await self.stop()
                raise

    async def probe(self, probe: Probe) -> None:
        async with probe.step("resolve"):
            await self.context.network.resolve(self.config.host, int(self.config.port))
        async with probe.step("connect"):
            await self.context.network.dial(self.config.host, int(self.config.port))

    def native(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._streams is not None, "the guard starts it first"
        return self._streams

    def translate(self, error: BaseException) -> ConnectorError | None:
        # The driver's exceptions become ours here: Unreachable, Rejected, Misconfigured.
        if isinstance(error, ValueError):  # no text, or a line without an end
            return Misconfigured(
                f"{self._address} did not answer with a line of text", hint="Check that this is the right port."
            )
        return network_error(error, self._address) if isinstance(error, OSError | EOFError) else None

    async def _exchange(self, text: str) -> str:
        if self._streams is None:
            await self.start()
        reader, writer = self.native()
        writer.write(text.encode() + b"\\n")
        await writer.drain()
        line = await reader.readline()
        if not line.endswith(b"\\n"):
            raise EOFError
        answer = line.decode().rstrip("\\r\\n")
        if not answer.isprintable():
            raise ValueError
        return answer
''',
    "README.md": """# @Title@

TODO: what it is for, and when to use it.

The smallest body:

```json
{"type": "@name@", "name": "a-@name@", "host": "@name@.example.com"}
```

## Fields

<!-- fields -->
<!-- /fields -->

## Secrets and where they go

There are none yet.

## Operations

### `send`

| Request | Means |
|---|---|
| `text` | one line of text |

| Answer | Means |
|---|---|
| `text` | the line that the server answered |

The native client is the pair of streams (`asyncio.StreamReader`, `asyncio.StreamWriter`).

A probe resolves the name and connects.

## When it fails

| You see | Why | What to do |
|---|---|---|
| `unreachable`: refused the connection | nobody listens on that port | check `port`, and that the server runs |
| `unreachable`: the host name ... does not resolve | misspelt, or unknown to the worker's name servers | correct `host` |
| `unreachable`: no answer within 30 s | the server is busy, or the port is another service's | check `port` |
| `misconfigured`: did not answer with a line of text | another service listens there | check `port` |
""",
    "example.json": """{
  "type": "@name@",
  "name": "a-@name@",
  "description": "TODO",
  "deployToWorker": true,
  "enabled": true,
  "host": "@name@.example.com",
  "port": 7
}
""",
    "tests/__init__.py": "",
    "tests/target.py": '''"""What the conformance suite needs to know of this room."""

from __future__ import annotations

from typing import Any


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "host": host, "port": port}


FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"text": "hello"})
''',
    "tests/test_model.py": '''"""What a @Title@ config accepts and refuses."""

from __future__ import annotations

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import read_config
from mooring.types.@room@.model import @Class@Config


def test_a_host_is_enough() -> None:
    """Everything else has a default."""
    config = read_config(@Class@Config, {"host": "@name@.example.com"})

    assert config.wire() == {"host": "@name@.example.com", "port": 7}


@pytest.mark.parametrize(
    ("fields", "path"),
    [({}, "/host"), ({"host": ""}, "/host"), ({"host": "a", "port": 0}, "/port"), ({"host": "a", "hots": "b"}, "/hots")],
)
def test_what_is_wrong_is_told_at_its_field(fields: dict[str, object], path: str) -> None:
    """Each problem points at the field that is wrong."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(@Class@Config, dict(fields))

    assert [problem.path for problem in caught.value.problems] == [path]
''',
    "tests/test_connector.py": '''"""Sending to a real server on this machine, in good weather and in bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mooring.errors import Misconfigured, Unreachable
from mooring.testing.conformance import babble, closed_port, serving
from mooring.testing.live import connected


def body(port: int) -> dict[str, Any]:
    return {"type": "@name@", "name": "test", "host": "127.0.0.1", "port": port}


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says back what it hears; to `bye` it hangs up."""
    while (line := await reader.readline()) not in (b"", b"bye\\n"):
        writer.write(line)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of such a server."""
    async with serving(repeat) as port:
        yield port


async def test_a_line_comes_back(port: int) -> None:
    """What is sent is answered, to many callers at a time, each with its own."""
    async with connected(body(port)) as guard:
        answers = await asyncio.gather(*(guard.use("send", {"text": f"hello {number}"}) for number in range(20)))

    assert [answer.model_dump()["text"] for answer in answers] == [f"hello {number}" for number in range(20)]


async def test_it_comes_back_after_the_server_hung_up(port: int) -> None:
    """A connection that broke is told of once; the next use has a new one."""
    async with connected(body(port)) as guard:
        with pytest.raises(Unreachable):
            await guard.use("send", {"text": "bye"})
        answer = await guard.use("send", {"text": "again"})

    assert answer.model_dump()["text"] == "again"


async def test_a_closed_port_is_unreachable() -> None:
    """The address is named, and what to check."""
    port = closed_port()
    async with connected(body(port)) as guard:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} refused the connection"):
            await guard.use("send", {"text": "hello"})


async def test_another_service_is_misconfigured() -> None:
    """What is no text is not taken for an answer."""
    async with serving(babble) as port, connected(body(port)) as guard:
        with pytest.raises(Misconfigured):
            await guard.use("send", {"text": "hello"})


async def test_a_probe_says_how_far_it_came(port: int) -> None:
    """Each step by name; a closed port stops it at the connection."""
    async with connected(body(port)) as guard:
        good = await guard.probe()
    async with connected(body(closed_port())) as guard:
        bad = await guard.probe()

    assert [(step.name, step.state) for step in good.steps] == [("resolve", "passed"), ("connect", "passed")]
    assert [(step.name, step.state) for step in bad.steps] == [("resolve", "passed"), ("connect", "failed")]
''',
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
