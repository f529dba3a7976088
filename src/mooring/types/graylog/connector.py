"""Sending GELF messages: over one TCP connection, with TLS or without, or as datagrams."""

from __future__ import annotations

import base64
import binascii
import socket
import ssl
from collections.abc import Iterable

from pydantic import Field

from mooring.errors import ConnectorBug, ConnectorError, Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.oneway import Datagrams, Line, Option, Outbox, Sent, oneway_error, probe_datagrams
from mooring.plugin.probe import Probe
from mooring.types.graylog.message import Entry, compressed, datagrams, spelled
from mooring.types.graylog.model import GraylogConfig


class Logged(Sent):
    """A message that went out."""

    chunks: int = Field(1, description="Datagrams that it was cut into; 1 over TCP.")


class GraylogConnector(Connector[GraylogConfig]):
    """Sends messages in the order in which they came; those that wait go out together."""

    def __init__(self, config: GraylogConfig, context: Context) -> None:
        super().__init__(config, context)
        self._host = config.hostname.removeprefix("[").removesuffix("]")
        self._port = int(config.port)
        self._address = f"{config.hostname}:{config.port}"
        self._own_name = socket.gethostname()
        self._tls: ssl.SSLContext | None = None
        self._outbox: Outbox | None = None
        self._datagrams: Datagrams | None = None

    async def open(self) -> None:
        if self.config.tls_enabled and not self._is_udp:
            self._tls = self._tls_context()

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def start(self) -> None:
        if self._is_udp:
            self._datagrams = Datagrams(self.context.network, self._host, self._port, self._options())
        else:
            self._outbox = Outbox(
                self._line(),
                self._explain,
                capacity=int(self.config.queue_size),
                batch=int(self.config.max_inflight_sends),
                pause_s=int(self.config.reconnect_delay) / 1000,
            )

    async def stop(self) -> None:
        outbox, self._outbox = self._outbox, None
        ways, self._datagrams = self._datagrams, None
        if outbox is not None:
            await outbox.close()
        if ways is not None:
            ways.close()

    @operation
    async def send(self, request: Entry) -> Logged:
        """Send one message."""
        config = self.config
        message = spelled(
            request,
            host=self._own_name,
            level=config.gelf_message_level,
            in_fields=config.append_to_attributes,
            in_text=config.append_to_message,
        )
        if self._datagrams is not None:
            parts = datagrams(compressed(message, config.compression_type))
            await self._datagrams.send(*parts)
            return Logged(proof="none", size=sum(len(part) for part in parts), chunks=len(parts))
        assert self._outbox is not None
        frame = message + b"\0"
        acknowledged = await self._outbox.put(frame)
        return Logged(proof="acknowledged" if acknowledged else "written", size=len(frame))

    async def probe(self, probe: Probe) -> None:
        if self._is_udp:
            await probe_datagrams(probe, self.context.network, self._host, self._port)
        else:
            await self._line().probe(probe, "tlsEnabled is off: messages go in the clear")

    def translate(self, error: BaseException) -> ConnectorError | None:
        return oneway_error(error, self._address, "GELF input")

    @property
    def _is_udp(self) -> bool:
        return self.config.transport_type == "UDP"

    def _explain(self, error: BaseException) -> ConnectorError:
        return self.translate(error) or ConnectorBug(f"sending to {self._address} raised {type(error).__name__}")

    def _options(self) -> tuple[Option, ...]:
        size = int(self.config.send_buffer_size)
        buffer = ((socket.SOL_SOCKET, socket.SO_SNDBUF, size),) if size > 0 else ()
        if self._is_udp:
            return buffer
        return (
            *buffer,
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, int(self.config.tcp_no_delay)),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.config.tcp_keep_alive)),
        )

    def _line(self) -> Line:
        return Line(
            self.context.network,
            self._host,
            self._port,
            self._tls,
            int(self.config.connect_timeout) / 1000 or None,
            self._options(),
        )

    def _tls_context(self) -> ssl.SSLContext:
        config, find = self.config, self.context.materials.store
        verify = config.tls_cert_verification_enabled
        try:
            return client_context(
                verify=verify,
                verify_hostname=config.verify_hostname,
                ca_file=self.context.ca_file,
                trusted_pem=self._trusted() if verify else None,
                identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
                purpose="oneway",
            )
        except (ssl.SSLError, ValueError) as exc:
            raise Misconfigured(
                "the certificates of this connection cannot be used for TLS",
                hint="Check tlsTrustCertChainFile (PEM in base64), or the truststore, and the keystore.",
            ) from exc

    def _trusted(self) -> str:
        """The certificates to trust: those of the truststore, or else of the file. Raises `Misconfigured`, `ValueError`."""
        name, file = self.config.trust_store_name, self.config.tls_trust_cert_chain_file
        if name:
            trusted = self.context.materials.store(name).trusted
            if not trusted:
                raise Misconfigured(
                    "the chosen truststore holds no certificate to trust",
                    hint="Add the issuer of the server's certificate.",
                )
            return trusted
        text = file.get_secret_value() if file else ""
        if "-----BEGIN" in text:
            return text
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise Misconfigured(
                "tlsTrustCertChainFile does not hold PEM certificates in base64",
                hint="Encode the file with its BEGIN and END lines in base64, and send it again.",
            ) from None
