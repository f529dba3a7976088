"""A connector for files over FTP, FTPS and SFTP."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from mooring.errors import ConnectorError, DriverMissing, Misconfigured, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.connector import Connector, operation
from mooring.plugin.probe import Probe
from mooring.types.ftp.line import Address
from mooring.types.ftp.messages import (
    Deleted,
    DeleteRequest,
    GetRequest,
    Listing,
    ListRequest,
    Piece,
    PutRequest,
    Stored,
)
from mooring.types.ftp.model import FtpConfig
from mooring.types.ftp.paths import new_token, partial_path
from mooring.types.ftp.sessions import Files, FtpServer, Server
from mooring.types.ftp.streams import Remote, pauses
from mooring.types.ftp.transfers import Upload, read, remove

_ANY_VERSION = ("TLS", "SSL")
_VERSIONS = {"TLSV1": "TLSv1", "TLSV1.0": "TLSv1", "TLSV1.1": "TLSv1.1", "TLSV1.2": "TLSv1.2", "TLSV1.3": "TLSv1.3"}

T = TypeVar("T")


class FtpConnector(Connector[FtpConfig]):
    """Sessions with one server, opened when they are needed, and used again."""

    _remote: Remote | None = None
    _context: ssl.SSLContext | None = None
    _host_key: Any = None

    async def open(self) -> None:
        self._remote = Remote(self._build(), int(self.config.retry_count))

    def hosts(self) -> Iterable[str]:
        return (self.config.host,)

    async def stop(self) -> None:
        if self._remote is not None:
            await self._remote.server.rest()

    async def close(self) -> None:
        if self._remote is not None:
            await self._remote.server.end()

    @operation
    async def list(self, request: ListRequest) -> Listing:
        """List what is in a directory."""
        entries, truncated = await self._use(lambda files: files.entries(request.path, request.limit))
        return Listing(entries=sorted(entries, key=lambda entry: entry.name), truncated=truncated)

    @operation
    async def get(self, request: GetRequest) -> Piece:
        """Fetch a file, or a part of it."""
        return await self._use(lambda files: read(files, request))

    @operation
    async def put(self, request: PutRequest) -> Stored:
        """Store a file, at once or in parts; it appears under its name when all of it is there."""
        upload = Upload(request, request.upload or new_token())
        try:
            return await self._use(upload.into, upload.is_repeatable)
        except ConnectorError:
            if upload.begun and upload.is_whole:
                await self._live().tidy(upload.partial)
            raise

    @operation
    async def delete(self, request: DeleteRequest) -> Deleted:
        """Delete a file, or give up an unfinished upload."""
        path = partial_path(request.path, request.upload) if request.upload else request.path
        return await self._use(lambda files: remove(files, path, request.missing_ok), repeatable=False)

    def native(self) -> Remote:
        return self._live()

    async def probe(self, probe: Probe) -> None:
        await self._build().probe(probe)

    def translate(self, error: BaseException) -> ConnectorError | None:
        return self._remote.server.explain(error) if self._remote is not None else None

    def _live(self) -> Remote:
        if self._remote is None:
            raise Misconfigured("the connection is not open")
        return self._remote

    async def _use(self, work: Callable[[Files], Awaitable[T]], repeatable: bool = True) -> T:
        """
        Do *work* in a session; as often as `retryCount` says where the server was not reached or was lost.

        What is not *repeatable* is begun once only: then only the way to the server is tried again.
        """
        pauses_s = pauses(int(self.config.retry_count))
        while True:
            begun = False
            try:
                async with self._live().server.session() as files:
                    begun = True
                    return await work(files)
            except Unreachable:
                pause_s = None if begun and not repeatable else next(pauses_s, None)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    def _build(self) -> Server:
        """The server as the config describes it; no network."""
        config = self.config
        timeout_s = int(config.timeout) / 1000 or None
        login = (config.username, config.password.get_secret_value(), config.working_dir or "/", timeout_s)
        if config.protocol == "SFTP":
            return self._sftp(*login)
        tls = self._tls() if config.protocol == "FTPS" else None
        where = Address(self.context.network, config.host, int(config.port), tls, implicit=config.use_implicit)
        return FtpServer(where, *login)

    def _sftp(self, *login: Any) -> Server:
        try:
            module = importlib.import_module("mooring.types.ftp.sftp_server")
        except ModuleNotFoundError as exc:
            if exc.name != "asyncssh":
                raise
            raise DriverMissing(
                "the driver for SFTP is not installed (asyncssh)", hint='pip install "mooring[ftp]"'
            ) from exc
        config = self.config
        if self._host_key is None:
            self._host_key = module.host_key(f"{config.host}:{config.port}", config.host_key_fingerprint)
        return module.SftpServer(self.context.network, config.host, int(config.port), self._host_key, *login)  # type: ignore[no-any-return]  # imported late

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            config, find = self.config, self.context.materials.store
            trusted = find(config.trust_store_name).trusted if config.trust_store_name else None
            if config.trust_store_name and not trusted:
                raise Misconfigured(
                    "the chosen truststore holds no certificate to trust",
                    hint="Add the issuer of the server's certificate.",
                )
            try:
                self._context = client_context(
                    verify_hostname=config.verify_hostname,
                    ca_file=self.context.ca_file,
                    trusted_pem=trusted,
                    versions=_versions(config.ssl_protocol),
                    identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
                    purpose="ftp",
                )
            except (ssl.SSLError, ValueError) as exc:
                raise Misconfigured(
                    "the certificates of this connection cannot be used for TLS",
                    hint="Check the truststore and the keystore.",
                ) from exc
        return self._context


def _versions(text: str | None) -> tuple[str, ...]:
    """The TLS version that `sslProtocol` asks for, however it is spelled; none where it leaves the choice."""
    asked = (text or "TLS").strip().upper()
    if asked in _ANY_VERSION:
        return ()
    found = _VERSIONS.get(asked.replace("TLS", "TLSV", 1) if asked.startswith("TLS1") else asked)
    if found is None:
        raise Misconfigured(
            "sslProtocol is no version of TLS that is known here",
            hint="Write TLSv1.2 or TLSv1.3, or leave it out for the newest that both sides know.",
        )
    return (found,)
