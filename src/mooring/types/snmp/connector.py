"""Sending SNMP notifications: traps, of which nobody says whether they arrived, and informs, which are acknowledged."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NoReturn

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.kit.ber import Unintelligible
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.oneway import Datagrams, Line, Outbox, oneway_error
from mooring.plugin.probe import Probe
from mooring.types.snmp.exchange import Exchange, Unanswered
from mooring.types.snmp.messages import ENCODERS, MAX_MESSAGE, SYS_UPTIME, variable
from mooring.types.snmp.model import SnmpConfig
from mooring.types.snmp.notice import Notice, Sent
from mooring.types.snmp.sender import (
    ENGINE,
    NOT_IN_TIME,
    UNDECIPHERABLE,
    UNKNOWN_USER,
    UNSUPPORTED_LEVEL,
    WRONG_DIGEST,
    CommunitySender,
    Notification,
    Refused,
    Sender,
    TooLarge,
    UserSender,
)
from mooring.types.snmp.usm import User

TIMEOUT_MS = 5000
RETRIES = 2
MAX_USER_BYTES = 32
PROBE_TEXT = "Test of a connection by Mooring"
_STARTED = time.monotonic()
_NO_ACCESS = (6, 16)
_REFUSALS: dict[str, tuple[type[ConnectorError], str, str]] = {
    UNKNOWN_USER: (
        Rejected,
        "does not know the user",
        "Check the user's name, and that the receiver has it for its own engine.",
    ),
    WRONG_DIGEST: (
        Rejected,
        "does not take the user's passphrase",
        "Check authPassphrase and usmUserAuthenticationProtocol.",
    ),
    UNDECIPHERABLE: (
        Rejected,
        "cannot decrypt what this user sends",
        "Check privPassphrase and usmUserPrivacyProtocol.",
    ),
    UNSUPPORTED_LEVEL: (
        Misconfigured,
        "does not offer this user that security level",
        "Check securityLevel, and what the receiver has for the user.",
    ),
    NOT_IN_TIME: (
        Unreachable,
        "cannot agree with this worker on its time",
        "Look at the receiver; its engine may have been copied or reset.",
    ),
}


class SnmpConnector(Connector[SnmpConfig]):
    """
    Sends notifications to one receiver, over one socket, many at once.

    The engine, its time and the keys belong to this connection alone.
    """

    def __init__(self, config: SnmpConfig, context: Context) -> None:
        super().__init__(config, context)
        self._exchange: Exchange[Any] | None = None
        self._datagrams: Datagrams | None = None
        self._outbox: Outbox | None = None

    async def open(self) -> None:
        config = self.config
        transport, _, rest = config.connection_string.partition(":")
        host, _, port = rest.rpartition("/")
        self._udp = transport == "udp"
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._address = f"{transport}:{host}/{port}"
        self._informs = config.message_type == "INFORM" and config.version != "V1"
        self._timeout_s = int(config.timeout or TIMEOUT_MS) / 1000
        self._retries = RETRIES if config.retry_count is None else int(config.retry_count)
        self._message_oid = config.pdu_oid_for_message.lstrip(".")
        self._time_oid = (config.pdu_oid_for_time or "").lstrip(".")
        self._fixed = [variable(name, ENCODERS["string"](value)) for name, value in config.pdu_variable_map.items()]
        self._sender = self._new_sender()

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def stop(self) -> None:
        exchange, self._exchange = self._exchange, None
        datagrams, self._datagrams = self._datagrams, None
        outbox, self._outbox = self._outbox, None
        if exchange is not None:
            await exchange.close()
        if outbox is not None:
            await outbox.close()
        if datagrams is not None:
            datagrams.close()

    @operation
    async def send(self, request: Notice) -> Sent:
        """Send one trap or inform, as `messageType` says."""
        notification = self._notification(request)
        if self._informs:
            if self._exchange is None:
                self._exchange = self._new_exchange(self._sender)
            await self._sender.inform(self._exchange, notification, self._timeout_s, self._retries)
            engine = self._sender.engine
            return Sent(proof="acknowledged", engine_id=engine.hex() if engine else None)
        engine_id = ENGINE.hex() if self.config.version == "V3" else None
        message = await self._sender.trap(notification)
        if self._udp:
            if self._datagrams is None:
                self._datagrams = Datagrams(self.context.network, self._host, self._port)
            await self._datagrams.send(message)
            return Sent(proof="none", engine_id=engine_id)
        if self._outbox is None:
            self._outbox = Outbox(self._line(), self._explain)
        return Sent(proof="delivered" if await self._outbox.put(message) else "written", engine_id=engine_id)

    def native(self) -> NoReturn:
        raise Misconfigured("there is no driver's client to hand out", hint="Use the operation send.")

    async def probe(self, probe: Probe) -> None:
        if not self._informs and not self._udp:
            await self._line().probe(probe, "SNMP has no TLS; with V3 each message can be encrypted")
            return
        async with probe.step("resolve"):
            await self.context.network.resolve(self._host, self._port)
        if not self._informs:
            async with probe.step("sent"):
                probe.unknown("nobody says whether a trap arrives, so none was sent; only an INFORM proves the way")
            return
        sender = self._new_sender()
        exchange = self._new_exchange(sender)
        try:
            if not self._udp:
                async with probe.step("connect"):
                    await exchange.connect()
            async with probe.step("acknowledged"):
                await sender.inform(exchange, self._notification(Notice(message=PROBE_TEXT)), self._timeout_s, 0)
        finally:
            await exchange.close()

    def translate(self, error: BaseException) -> ConnectorError | None:
        match error:
            case Unanswered():
                return self._unanswered(error.rubbish)
            case Unintelligible():
                return self._unanswered(True)
            case Refused():
                return self._refusal(error)
            case TooLarge():
                return Misconfigured(
                    f"the notification has {error.size} bytes, and one message may have {MAX_MESSAGE}",
                    hint="Send less.",
                )
        return oneway_error(error, self._address, "receiver of traps")

    def _explain(self, error: BaseException) -> ConnectorError:
        return self.translate(error) or Misconfigured(f"{self._address} could not be used: {type(error).__name__}")

    def _line(self) -> Line:
        return Line(self.context.network, self._host, self._port, connect_s=self._timeout_s)

    def _new_exchange(self, sender: Sender) -> Exchange[Any]:
        return sender.exchange(self.context.network, self._host, self._port, datagrams=self._udp)

    def _new_sender(self) -> Sender:
        config = self.config
        if config.version != "V3":
            return CommunitySender(0 if config.version == "V1" else 1, config.security_or_community_name)
        by_name = config.security_name if config.enable_user_authentication else None
        user = User(by_name or config.security_or_community_name)
        if len(user.name.encode()) > MAX_USER_BYTES:
            raise Misconfigured(
                f"the user's name has more than {MAX_USER_BYTES} bytes, which no receiver takes",
                hint="Shorten it, here and at the receiver.",
            )
        if config.security_level in ("AUTH_NOPRIV", "AUTH_PRIV"):
            assert config.auth_passphrase is not None
            encrypts = config.security_level == "AUTH_PRIV" and config.priv_passphrase is not None
            user = User(
                user.name,
                config.usm_user_authentication_protocol,
                config.auth_passphrase.get_secret_value(),
                config.usm_user_privacy_protocol if encrypts else None,
                config.priv_passphrase.get_secret_value() if encrypts and config.priv_passphrase else "",
            )
        return UserSender(user)

    def _notification(self, request: Notice) -> Notification:
        variables = [variable(self._message_oid, ENCODERS["string"](request.message))]
        # The uptime's place is the head of the message, where it is a number of hundredths.
        if self._time_oid and self._time_oid != SYS_UPTIME:
            variables.append(variable(self._time_oid, ENCODERS["string"](request.moment)))
        return Notification(
            trap=(request.trap or self._message_oid).lstrip("."),
            ticks=int((time.monotonic() - _STARTED) * 100) % 2**32,
            variables=[*variables, *self._fixed, *(one.encoded() for one in request.variables)],
        )

    def _unanswered(self, rubbish: bool) -> ConnectorError:
        if rubbish:
            return Unreachable(
                f"{self._address} answered with something that is no acknowledgement",
                hint="Check the port: another service seems to listen there.",
            )
        return Unreachable(
            f"{self._address} did not acknowledge the inform in time",
            hint="Check the address, and that no firewall drops the packets silently. A receiver does not answer either "
            + (
                "when it cannot decrypt: check privPassphrase and usmUserPrivacyProtocol; or when the user may not"
                " notify it."
                if self.config.version == "V3"
                else "to a community that it does not know: check it too."
            ),
        )

    def _refusal(self, error: Refused) -> ConnectorError:
        if error.report:
            kind, what, hint = _REFUSALS.get(
                error.report,
                (Misconfigured, f"reports {error.report}", "Look at the receiver's own log for the reason."),
            )
            return kind(f"{self._address} {what}", hint=hint)
        kind = Rejected if error.error in _NO_ACCESS else Misconfigured
        return kind(
            f"{self._address} answered the inform with the error {error.error}",
            hint="Look at the receiver's own log for the reason.",
        )
