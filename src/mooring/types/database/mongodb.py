"""
MongoDB, through pymongo: commands in place of statements.

The client library has a pool of its own, so a session here is a place in ours and nothing more: as many commands
run at a time as sessions are lent, and the client library opens no more connections than that, beside the one or
two that watch each server. The client is begun with the first session and closed with the last.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import dns.asyncresolver
import dns.exception
import pymongo
from bson import json_util
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo import errors as mongo
from pymongo.asynchronous.pool import Pool

from mooring.errors import ConnectorError, EgressDenied, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import Network, network_error
from mooring.types.database.port import Collector, Done, Driver, Parameters, Rows, Settings
from mooring.types.database.values import plain

T = TypeVar("T")
CONNECT_S: Final = 10.0
SELECT_S: Final = 5.0
CURSORS: Final = frozenset({"find", "aggregate", "listCollections", "listIndexes"})
"""Commands whose answer is a cursor, of which more can be fetched."""

_NO_REPLY: Final = frozenset({"ok", "$clusterTime", "operationTime", "$configServerState", "lastCommittedOpTime"})
_OPTIONS: Final[Mapping[str, str]] = {
    "authSource": "text", "replicaSet": "text", "appName": "text", "readPreference": "text",
    "readConcernLevel": "text", "uuidRepresentation": "text", "directConnection": "flag", "loadBalanced": "flag",
    "journal": "flag", "retryReads": "flag", "retryWrites": "flag", "heartbeatFrequencyMS": "number",
    "localThresholdMS": "number", "maxStalenessSeconds": "number", "wtimeoutMS": "number",
    "zlibCompressionLevel": "number", "maxConnecting": "number", "w": "acknowledgement", "compressors": "compressors",
}  # fmt: skip
"""Parameters of an address that the client library is given, and as what."""


@dataclass(eq=False)
class Client:
    """A client of the library, and how many sessions use it."""

    client: AsyncMongoClient[Any]
    born: float
    users: int = 0


@dataclass(eq=False)
class Session:
    """A place for one command at a time."""

    shared: Client
    is_over: bool = False


def pool_of(network: Network) -> type[Pool]:
    """
    The client library's pool of connections to one server, which dials only where the policy allows.

    It judges every server, also those that another one told of. The library looks the name up again after that.
    """

    class Judged(Pool):
        async def connect(self, handler: Any = None) -> Any:
            await network.resolve(self.address[0], self.address[1] or 0)
            return await super().connect(handler)

    return Judged


class MongoDriver(Driver[Session]):
    """Sessions that share one client, which is replaced when it is older than maxConnectionAge."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.address
        self._database = settings.target.database or "admin"
        self._tls = settings.tls
        self._connect_s = settings.seconds("connectTimeoutMS", milli=True) or CONNECT_S
        self._arguments = _arguments(settings)
        self._current: Client | None = None

    async def endpoints(self) -> list[tuple[str, int]]:
        if self.settings.target.form != "srv":
            return self.settings.target.endpoints
        host = self.settings.target.host
        try:
            found = await dns.asyncresolver.resolve(f"_mongodb._tcp.{host}", "SRV", lifetime=self._connect_s)
        except dns.exception.DNSException as exc:
            raise _srv(host) from exc
        return [(str(entry.target).rstrip("."), int(entry.port)) for entry in found]

    async def connect(self) -> Session:
        shared = await self._shared()
        shared.users += 1
        session = Session(shared)
        try:
            await self._ask(session, shared.client[self._database].command("ping"))
        except BaseException:
            await self.close(session)
            raise
        return session

    async def _ask(self, session: Session, question: Awaitable[T]) -> T:
        try:
            return await question
        except mongo.ServerSelectionTimeoutError as exc:
            seen = session.shared.client.topology_description.server_descriptions()
            raise _not_selected([*(server.error for server in seen.values()), exc], self.address) from exc

    async def _greet(self) -> None:
        """Dial one of the servers. The client library would go on trying for as long as it may, and not say why."""
        endpoints = await self.endpoints()
        for host, port in endpoints:
            try:
                async with asyncio.timeout(self._connect_s):
                    await (
                        self.settings.network.dial(host, port)
                        if self._tls.context is None
                        else self.handshake(host, port)
                    )
                return
            except (ConnectorError, TimeoutError) as exc:
                if (host, port) == endpoints[-1]:
                    raise (exc if isinstance(exc, ConnectorError) else network_error(exc, f"{host}:{port}")) from None

    async def _shared(self) -> Client:
        current, most_s = self._current, self.settings.limits.max_age_s
        if current is None or (most_s and time.monotonic() - current.born > most_s):
            await self._greet()
            try:
                client: AsyncMongoClient[Any] = AsyncMongoClient(
                    **self._arguments, _pool_class=pool_of(self.settings.network)
                )
            except mongo.ConfigurationError as exc:
                raise Misconfigured(
                    "the client library refuses what jdbcUrl says together", hint="Leave out parameters of jdbcUrl."
                ) from exc
            if self._tls.context is not None:
                _encrypt(client, self._tls.context)
            current = self._current = Client(client, time.monotonic())
        return current

    async def close(self, session: Session) -> None:
        if session.is_over:
            return
        session.is_over = True
        shared = session.shared
        shared.users -= 1
        if shared.users == 0:
            if self._current is shared:
                self._current = None
            await shared.client.close()

    def abort(self, session: Session) -> None:
        if not session.is_over:
            task = asyncio.ensure_future(self.close(session))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)

    def is_alive(self, session: Session) -> bool:
        return not session.is_over

    async def ping(self, session: Session) -> None:
        # The client library tests its connections itself, and replaces those that are gone before it uses them.
        pass

    async def ask(self, session: Session) -> None:
        await self._ask(session, session.shared.client[self._database].command("ping"))

    async def tidy(self, session: Session, *, lent: bool) -> None:
        pass

    def native(self, session: Session) -> AsyncMongoClient[Any]:
        return session.shared.client

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        command = _command(sql)
        database = session.shared.client[self._database]
        found = Collector(max_rows)
        if next(iter(command)) not in CURSORS:
            reply = await self._ask(session, database.command(command, codec_options=database.codec_options))
            found.add([{key: plain(value) for key, value in reply.items() if key not in _NO_REPLY}])
            return found.result(["document"])
        # A batch holds 16 MB at most, whatever is asked for; fewer are asked for where fewer are wanted.
        if command.get("cursor") is None and "pipeline" in command:
            command["cursor"] = {}
        if "find" in command and "batchSize" not in command:
            command["batchSize"] = max_rows + 1
        async with await self._ask(session, _followed(database, command)) as cursor:
            async for document in cursor:
                found.add([plain(document)])
                if found.is_full:
                    break
        return found.result(["document"])

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        command = _command(sql)
        if next(iter(command)) in CURSORS:
            return Done(len((await self.fetch(session, sql, parameters, 10_000)).rows))
        reply = await self._ask(session, session.shared.client[self._database].command(command))
        failed = reply.get("writeErrors") or ()
        if failed:
            raise _write_error(failed[0], self.address, int(reply.get("n", 0)))
        if reply.get("writeConcernError"):
            raise mongo.WriteConcernError("write concern", int(reply["writeConcernError"].get("code", 0)))
        return Done(int(reply.get("n", 0)))

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls.context is None:
            return "TLS is off in jdbcUrl"
        await self.settings.network.handshake(host, port, self._tls.context)
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address, self._database)


_tasks: set[asyncio.Task[None]] = set()


def _followed(database: Any, command: dict[str, Any]) -> Awaitable[Any]:
    """The cursor that *command* answers, read as the address prefers."""
    asked: Awaitable[Any] = database.cursor_command(
        command, read_preference=database.read_preference, codec_options=database.codec_options
    )
    return asked


def _arguments(settings: Settings) -> dict[str, Any]:
    """What the client is made from: the parts of the address that are known, and the pool's limits."""
    target, parameters, limits = settings.target, settings.target.parameters, settings.limits
    scheme = "mongodb+srv" if target.form == "srv" else "mongodb"
    arguments: dict[str, Any] = {
        "host": f"{scheme}://" + ",".join(map(str, target.hosts)),
        "connect": False,
        "tz_aware": True,
        # Ours are made elsewhere and put in place of what this makes.
        "tls": settings.tls.context is not None,
        "tlsInsecure": True if settings.tls.context is not None else None,
        "maxPoolSize": limits.maximum,
        "minPoolSize": 0,
        "maxIdleTimeMS": int(limits.max_idle_s * 1000) or None,
        "waitQueueTimeoutMS": int(limits.wait_s * 1000) or None,
        "connectTimeoutMS": int((settings.seconds("connectTimeoutMS", milli=True) or CONNECT_S) * 1000),
        "socketTimeoutMS": int((settings.seconds("socketTimeoutMS", milli=True) or 0) * 1000) or None,
        # A closed port is tried again until this is over.
        "serverSelectionTimeoutMS": int(
            (settings.seconds("serverSelectionTimeoutMS", milli=True) or min(limits.wait_s or SELECT_S, SELECT_S))
            * 1000
        ),
        "appName": f"mooring:{settings.name}"[:100],
        # A statement that was cut off is reported, not repeated.
        "retryWrites": False,
    }
    for name, kind in _OPTIONS.items():
        if name in parameters:
            arguments[name] = _option(kind, parameters[name], settings.is_on(name))
    mechanism = parameters.get("authMechanism", "DEFAULT")
    if settings.user or mechanism == "MONGODB-X509":
        arguments["username"] = settings.user
        arguments["authMechanism"] = mechanism
        if mechanism != "MONGODB-X509":
            arguments["password"] = settings.password or ""
            arguments.setdefault("authSource", target.database or "admin")
    return {name: value for name, value in arguments.items() if value is not None}


def _option(kind: str, value: str, on: bool) -> Any:
    if kind == "flag":
        return on
    if kind == "number" or (kind == "acknowledgement" and value.isdigit()):
        return int(value)
    if kind == "compressors":
        # Of those that may be named, the one that needs no other library.
        return [name for name in value.split(",") if name == "zlib"] or None
    return value


def _encrypt(client: AsyncMongoClient[Any], context: Any) -> None:
    """Use our TLS context. The client library makes its own from files, and offers no other way in."""
    options = client.options.pool_options
    options._PoolOptions__ssl_context = context  # type: ignore[attr-defined]  # a private slot, checked below
    if options._ssl_context is not context:
        raise Misconfigured(
            f"TLS cannot be set in pymongo {pymongo.version}",
            hint="Install the version that this worker was tested with.",
        )


def _command(text: str) -> dict[str, Any]:
    """The command, with extended JSON (`{"$oid": ...}`) as the types that it stands for."""
    try:
        command = json_util.loads(text)
    except (ValueError, TypeError, KeyError, BSONError, OverflowError):
        raise Misconfigured(
            "command holds something that is no extended JSON",
            hint='An object id is {"$oid": "..."}, a date {"$date": "2026-01-31T10:30:00Z"}, bytes {"$binary": ...}.',
        ) from None
    if not isinstance(command, dict) or not command or next(iter(command)).startswith("$"):
        raise Misconfigured(
            "command must begin with the name of a command", hint='For example {"find": "orders", "filter": {}}.'
        )
    return command


def written(command: Mapping[str, Any]) -> str:
    """A command as the text that a driver takes."""
    return json.dumps(command)


# --- errors ----------------------------------------------------------------------------------------------------

_UNKNOWN_OUTCOME: Final = "Whether the command took effect is not known; look before repeating it."
_LOGIN, _RIGHTS, _DUPLICATE = {18, 8000, 11}, {13}, {11000, 11001, 12582}
_BUSY: Final = {112, 24, 46, 251}
_STOPPED: Final = {50, 11601, 202, 262}
_NOT_THERE: Final = {26, 73}
_UNSAID: Final = {2, 9, 14, 22, 121, 11000, 11001, 12582}
"""Codes whose messages repeat what was sent."""


def translated(error: BaseException, address: str, database: str) -> ConnectorError | None:
    """The client library's exception as one of ours."""
    if isinstance(error, mongo.WaitQueueTimeoutError):
        return Unreachable(f"{address} gave no connection in time", hint="Raise maxPoolSize or connectionTimeout.")
    if isinstance(error, mongo.WriteConcernError):
        return Unreachable(f"{address} did not confirm the write in time", hint=_UNKNOWN_OUTCOME)
    if isinstance(error, mongo.OperationFailure):
        return _refused(error, address, database)
    if isinstance(error, mongo.ServerSelectionTimeoutError):
        return _not_selected([error], address)
    if isinstance(error, mongo.NetworkTimeout):
        return Unreachable(f"{address} did not answer in time", hint=_UNKNOWN_OUTCOME)
    if isinstance(error, mongo.ConnectionFailure):
        return _lost(address)
    if isinstance(error, mongo.ConfigurationError):
        return _srv(address) if "DNS" in str(error) or "SRV" in str(error) else _login_refused(address, "")
    if isinstance(error, mongo.PyMongoError | BSONError):
        return Misconfigured(
            "the client library refused the command", hint="Correct the command: names, sizes and types in it."
        )
    if isinstance(error, UnicodeError | OverflowError):
        return Misconfigured("the command holds a value that cannot be encoded", hint="Correct the value.")
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def _lost(address: str) -> Unreachable:
    return Unreachable(f"the connection to {address} was lost", hint=_UNKNOWN_OUTCOME)


def _srv(host: str) -> Unreachable:
    return Unreachable(
        f"there is no SRV record that names the servers of {host}",
        hint="Check the spelling and the worker's name servers, or name the servers: mongodb://host1,host2/...",
    )


def _login_refused(address: str, code: Any) -> Rejected:
    return Rejected(
        f"{address} refused the login{f' ({code})' if code else ''}",
        hint="Correct username and password; name the database that holds the user by authSource in jdbcUrl.",
    )


def _network(error: BaseException) -> OSError | None:
    """What the network said, below the client library's wrappings."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return None


def _not_selected(causes: Sequence[BaseException | None], address: str) -> ConnectorError:
    """No server could be chosen: by what the last attempt at one of them came to."""
    denied = next((cause for cause in causes if isinstance(cause, EgressDenied)), None)
    if denied is not None:
        return denied
    for cause in causes:
        if cause is not None and (network := _network(cause)) is not None:
            return network_error(network, address)
    text = " ".join(map(str, causes))
    if "timed out" in text:
        return network_error(TimeoutError(), address)
    if "replica set" in text:
        return Misconfigured(
            f"none of {address} has the part in the replica set that is asked for",
            hint="Correct replicaSet and readPreference in jdbcUrl; directConnection=true takes a server as it is.",
        )
    return Unreachable(
        f"{address} does not speak MongoDB's protocol, or is no server that may be used",
        hint="Check host, port and TLS; directConnection=true uses a server whatever part it plays.",
    )


def _refused(error: mongo.OperationFailure, address: str, database: str) -> ConnectorError:
    code = error.code or 0
    if code in _LOGIN or "uthentication failed" in str(error):
        return _login_refused(address, code)
    details = error.details if isinstance(error.details, Mapping) else {}
    name = str(details.get("codeName") or "")[:60] or str(code)
    text = "" if code in _UNSAID else str(details.get("errmsg") or "").splitlines()[:1]
    said = f": {_without_data(text[0])}" if text else ""
    if code in _RIGHTS:
        return Misconfigured(
            f"{address} does not let the login do that in {database} ({name})",
            hint="Grant the right to the user, or use another login.",
        )
    if code in _BUSY:
        return Unreachable(f"{address} stopped the command ({name})", hint="Somebody else changed the same; repeat it.")
    if code in _STOPPED or isinstance(error, mongo.ExecutionTimeout):
        return Unreachable(f"{address} stopped the command ({name})", hint="Make it lighter, or allow more time.")
    if code in _DUPLICATE:
        return Misconfigured(
            f"{address} refused the command: duplicate key ({code})", hint="Such a document is there already."
        )
    if code in _NOT_THERE:
        return Misconfigured(
            f"{address}: no such collection or database ({name})", hint="Correct the command or databaseName."
        )
    return Misconfigured(f"{address} refused the command{said} ({name})", hint="Correct the command.")


def _without_data(text: str) -> str:
    """The message up to the first quote or brace, behind which data may stand."""
    for sign in "{\"'":
        text = text.partition(sign)[0]
    return text.strip(" :")[:200]


def _write_error(failed: Mapping[str, Any], address: str, written_count: int) -> ConnectorError:
    code = int(failed.get("code", 0))
    why = "duplicate key" if code in _DUPLICATE else "a document was refused"
    return Misconfigured(
        f"{address} refused document {int(failed.get('index', 0)) + 1} of the command: {why} ({code})",
        hint=f"{written_count} before it were written; correct it and send the rest.",
    )
