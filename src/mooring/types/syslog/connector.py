"""Sending syslog messages: over one TCP connection, with TLS or without, or as datagrams."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable

from mooring.errors import ConnectorBug, ConnectorError, Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.oneway import Datagrams, Line, Outbox, Sent, oneway_error, probe_datagrams
from mooring.plugin.probe import Probe
from mooring.types.syslog.message import Entry, Label, newline_ended, octet_counted
from mooring.types.syslog.model import SyslogConfig


class SyslogConnector(Connector[SyslogConfig]):
    """Sends messages in the order in which they came; those that wait go out together."""

    def __init__(self, config: SyslogConfig, context: Context) -> None:
        super().__init__(config, context)
        self._host = config.syslog_server_hostname.removeprefix("[").removesuffix("]")
        self._port = int(config.syslog_port)
        self._address = f"{config.syslog_server_hostname}:{config.syslog_port}"
        self._tls: ssl.SSLContext | None = None
        self._outbox: Outbox | None = None
        self._datagrams: Datagrams | None = None

    async def open(self) -> None:
        config = self.config
        label = Label(
            config.syslog_app_name,
            config.syslog_message_hostname or socket.gethostname(),
            config.syslog_facility,
            config.syslog_severity,
        )
        self._spell = label.rfc3164 if config.syslog_message_format == "RFC_3164" else label.rfc5424
        self._frame: Callable[[bytes], bytes] = (
            octet_counted if config.syslog_message_format == "RFC_5425" else newline_ended
        )
        if config.uses_tls:
            self._tls = self._tls_context()

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def start(self) -> None:
        if self.config.syslog_protocol_type == "UDP":
            self._datagrams = Datagrams(self.context.network, self._host, self._port)
        else:
            self._outbox = Outbox(self._line(), self._explain)

    async def stop(self) -> None:
        outbox, self._outbox = self._outbox, None
        datagrams, self._datagrams = self._datagrams, None
        if outbox is not None:
            await outbox.close()
        if datagrams is not None:
            datagrams.close()

    @operation
    async def send(self, request: Entry) -> Sent:
        """Send one message."""
        message = self._spell(request)
        if self._datagrams is not None:
            await self._datagrams.send(message)
            return Sent(proof="none", size=len(message))
        assert self._outbox is not None
        frame = self._frame(message)
        acknowledged = await self._outbox.put(frame)
        return Sent(proof="acknowledged" if acknowledged else "written", size=len(frame))

    async def probe(self, probe: Probe) -> None:
        if self.config.syslog_protocol_type == "UDP":
            await probe_datagrams(probe, self.context.network, self._host, self._port)
        else:
            await self._line().probe(probe, "syslogSslEnabled is off: messages go in the clear")

    def translate(self, error: BaseException) -> ConnectorError | None:
        return oneway_error(error, self._address, "syslog server")

    def secret_values(self) -> set[str]:
        """The host name in the messages, which for some services is a token."""
        name = self.config.syslog_message_hostname
        return {name} if name and name != self.config.syslog_server_hostname else set()

    def _explain(self, error: BaseException) -> ConnectorError:
        return self.translate(error) or ConnectorBug(f"sending to {self._address} raised {type(error).__name__}")

    def _line(self) -> Line:
        return Line(
            self.context.network, self._host, self._port, self._tls, int(self.config.syslog_timeout) / 1000 or None
        )

    def _tls_context(self) -> ssl.SSLContext:
        config, find = self.config, self.context.materials.store
        trusted = find(config.trust_store_name).trusted if config.trust_store_name else None
        if config.trust_store_name and not trusted:
            raise Misconfigured(
                "the chosen truststore holds no certificate to trust",
                hint="Add the issuer of the server's certificate.",
            )
        try:
            return client_context(
                verify_hostname=config.verify_hostname,
                ca_file=self.context.ca_file,
                trusted_pem=trusted,
                identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
                purpose="oneway",
            )
        except (ssl.SSLError, ValueError) as exc:
            raise Misconfigured(
                "the certificates of this connection cannot be used for TLS",
                hint="Check the truststore and the keystore.",
            ) from exc
