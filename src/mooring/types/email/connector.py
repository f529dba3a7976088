"""Sending mail: SMTP sessions, of which one that just served waits a moment for the next message."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib import SMTP
from pydantic import Field

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.connector import Answer, Connector, Context, operation
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.email.message import Finished, Mail, Mailbox, finish, mailbox
from mooring.types.email.model import EmailConfig
from mooring.types.email.sessions import Sessions, abort, leave

SESSIONS = 8
_DEFAULT_MS = {"mail.smtp.connectiontimeout": 10_000, "mail.smtp.timeout": 20_000, "mail.smtp.writetimeout": 20_000}
_PERMANENT = 500
_UNINTELLIGIBLE = -1
_NOT_THIS_METHOD = (500, 502, 504)
_ENCRYPT_FIRST = (523, 530, 538)
_REFUSALS: dict[type[aiosmtplib.SMTPResponseException], tuple[str, str]] = {
    aiosmtplib.SMTPConnectResponseError: (
        "turned this worker away",
        "Check that the server accepts connections from here.",
    ),
    aiosmtplib.SMTPHeloError: (
        "did not accept the greeting",
        "Set the property mail.smtp.localhost to a name it knows.",
    ),
    aiosmtplib.SMTPSenderRefused: (
        "did not accept the sender",
        "Check `from`, and that the login may send for that address.",
    ),
    aiosmtplib.SMTPDataError: ("did not accept the message", "Check its size and content against the server's rules."),
    aiosmtplib.SMTPResponseException: ("refused", "Look at the server's own log for the reason."),
}
"""What a refusal means, by the command that was refused; the most general one stands last."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\udc80-\udcff]+")


class Refused(Answer):
    """A recipient that the server did not accept."""

    recipient: str = Field(description="The address.")
    code: int = Field(description="The server's reply code; from 400 for now, from 500 for good.")
    reason: str = Field(description="What the server said.")


class Sent(Answer):
    """What became of a message. At least one recipient was accepted; otherwise the operation fails."""

    message_id: str = Field(description="The Message-ID that the mail carries.")
    accepted: list[str] = Field(description="Recipients that the server took responsibility for.")
    refused: list[Refused] = Field(description="Recipients that it did not accept.")
    reply: str = Field(description="What the server said when it took the message; often its queue id.")


@dataclass(frozen=True)
class _Waits:
    """How long to wait for what, in seconds; None where only the caller's deadline counts."""

    connect: float | None
    answer: float | None
    message: float | None

    @classmethod
    def of(cls, config: EmailConfig) -> _Waits:
        connect, answer, write = (
            int(config.property(key) or default) / 1000 or None for key, default in _DEFAULT_MS.items()
        )
        return cls(connect, answer, None if answer is None or write is None else answer + write)


class EmailConnector(Connector[EmailConfig]):
    """Sends mail. At most eight sessions are open at a time, further sends wait; unused ones end after seconds."""

    def __init__(self, config: EmailConfig, context: Context) -> None:
        super().__init__(config, context)
        self._host = config.host.removeprefix("[").removesuffix("]")
        self._address = f"{config.host}:{config.port}"
        self._places = asyncio.Semaphore(SESSIONS)
        self._sessions = Sessions()
        self._tls: ssl.SSLContext | None = None

    async def open(self) -> None:
        self._waits = _Waits.of(self.config)
        if self.config.uses_tls:
            self._tls = self._tls_context()

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def stop(self) -> None:
        await self._sessions.stop()

    @operation
    async def send(self, request: Mail) -> Sent:
        """Send one message."""
        sender = self._sender(request)
        finished = finish(request, sender, self.config.default_encoding)
        envelope_sender = self.config.property("mail.smtp.from") or sender.envelope
        async with self.session() as smtp:
            return await self._deliver(smtp, finished, envelope_sender, request.recipients)

    def native(self) -> Callable[[], AbstractAsyncContextManager[SMTP]]:
        return self.session

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SMTP]:
        """A session as the config describes it: connected, encrypted, logged in; nobody else uses it meanwhile."""
        async with self._places:
            smtp = None
            try:
                smtp = await self._sessions.take(self._begin)
                yield smtp
            except BaseException as exc:
                if smtp is not None:
                    self._sessions.drop(smtp)
                if not isinstance(exc, Exception) or isinstance(exc, ConnectorError):
                    raise
                # The driver's time-outs are TimeoutErrors too, and must not pass for the caller's deadline.
                raise self.translate(exc) or exc from exc
            self._sessions.keep(smtp)

    async def _begin(self) -> SMTP:
        smtp = self._client()
        self._sessions.began(smtp)
        try:
            await self._connect(smtp, await self._dial())
            await self._encrypt(smtp)
            await self._login(smtp)
        except BaseException:
            self._sessions.drop(smtp)
            raise
        return smtp

    async def probe(self, probe: Probe) -> None:
        smtp = self._client()
        try:
            async with probe.step("resolve"):
                await self.context.network.resolve(self._host, self._port)
            async with probe.step("connect"):
                sock = await self._dial()
                if not self.config.use_ssl:
                    await self._connect(smtp, sock)
            if self.config.use_ssl:
                async with probe.step("tls"):
                    await self._connect(smtp, sock)
            elif self.config.enable_start_tls:
                async with probe.step("starttls"):
                    await self._encrypt(smtp)
            else:
                probe.skip("starttls", "enableStartTls is off: the session is not encrypted")
            if self.config.auth:
                async with probe.step("login"):
                    await self._login(smtp)
            else:
                probe.skip("login", "auth is off")
            await leave(smtp)
        finally:
            abort(smtp)

    def translate(self, error: BaseException) -> ConnectorError | None:
        match error:
            case aiosmtplib.SMTPResponseException():
                return self._refusal(error)
            case aiosmtplib.SMTPTimeoutError():
                return self._silent()
            case aiosmtplib.SMTPConnectError() if isinstance(error.__cause__, OSError):
                return self.translate(error.__cause__)
            case aiosmtplib.SMTPServerDisconnected() | aiosmtplib.SMTPConnectError():
                return network_error(ConnectionError(), self._address)
            case OSError() | EOFError():
                return network_error(error, self._address)
        return None

    def secret_values(self) -> set[str]:
        """The password as the SMTP dialogue spells it, which a server's answer might repeat."""
        if self.config.password is None:
            return set()
        password = self.config.password.get_secret_value()
        login = f"\0{self.config.username or ''}\0{password}"
        return {base64.b64encode(text.encode()).decode() for text in (password, login)}

    @property
    def _port(self) -> int:
        return int(self.config.port)

    def _client(self) -> SMTP:
        return SMTP(
            hostname=self._host,
            timeout=self._waits.answer,
            use_tls=self.config.use_ssl,
            start_tls=False,
            tls_context=self._tls,
            local_hostname=self.config.property("mail.smtp.localhost") or _own_name(),
        )

    async def _connect(self, smtp: SMTP, sock: socket.socket) -> None:
        """Begin the SMTP dialogue on *sock*, in TLS where the config says so."""
        try:
            await smtp.connect(sock=sock, port=None)
        except BaseException:
            sock.close()
            raise
        await _greet(smtp)

    async def _dial(self) -> socket.socket:
        """A TCP connection to the first address of the host that takes one."""
        try:
            async with asyncio.timeout(self._waits.connect):
                return await self.context.network.connect(self._host, self._port)
        except TimeoutError:
            raise network_error(TimeoutError(), self._address) from None
        except OSError as exc:
            raise network_error(exc, self._address) from exc

    async def _encrypt(self, smtp: SMTP) -> None:
        if self.config.use_ssl or not self.config.enable_start_tls:
            return
        if not smtp.supports_extension("starttls"):
            raise Misconfigured(
                f"{self._address} does not offer STARTTLS; nothing was sent",
                hint="Use the port where it does (usually 587), or TLS from the first byte (useSsl, usually port 465).",
            )
        await smtp.starttls()
        await _greet(smtp)

    async def _login(self, smtp: SMTP) -> None:
        if not self.config.auth:
            return
        methods = smtp.supported_auth_methods
        if self.config.uses_tls:
            methods.sort(key=["plain", "login", "cram-md5"].index)
        if not methods:
            raise Misconfigured(
                f"{self._address} offers no login that is supported here (PLAIN, LOGIN, CRAM-MD5)",
                hint="Switch `auth` off, or use another port."
                if self.config.uses_tls
                else "Many servers offer it only after encryption: turn on enableStartTls or useSsl.",
            )
        username = self.config.username or ""
        password = self.config.password.get_secret_value() if self.config.password else ""
        for method in methods:
            try:
                # One attempt with a wrong password is enough: several would lock the account sooner.
                await getattr(smtp, "auth_" + method.replace("-", ""))(username, password)
                return
            except aiosmtplib.SMTPAuthenticationError as exc:
                if exc.code not in _NOT_THIS_METHOD or method == methods[-1]:
                    raise
            except (ValueError, UnicodeError) as exc:
                raise Unreachable(
                    f"{self._address} answered the login with something unintelligible", hint="Look at the server."
                ) from exc

    async def _deliver(self, smtp: SMTP, mail: Finished, sender: str, recipients: list[str]) -> Sent:
        self._check_abilities(smtp, mail)
        encoding = "utf-8" if mail.utf8 else "ascii"
        options = [f"SIZE={len(mail.raw)}"] if smtp.supports_extension("size") else []
        await smtp.mail(sender, options=[*options, "SMTPUTF8"] if mail.utf8 else options, encoding=encoding)
        accepted, refused = [], []
        for recipient in recipients:
            try:
                await smtp.rcpt(recipient, encoding=encoding)
                accepted.append(recipient)
            except aiosmtplib.SMTPRecipientRefused as exc:
                refused.append(Refused(recipient=recipient, code=exc.code, reason=_clean(exc.message)))
        if not accepted:
            raise self._nobody(refused)
        try:
            response = await smtp.data(mail.raw, timeout=self._waits.message)
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError) as exc:
            raise Unreachable(
                f"{self._address} was lost while it took the message; it may or may not have kept it",
                hint="Look in the server's log, or at the recipient, before sending it again.",
            ) from exc
        return Sent(message_id=mail.message_id, accepted=accepted, refused=refused, reply=_clean(response.message))

    def _check_abilities(self, smtp: SMTP, mail: Finished) -> None:
        limit = smtp.esmtp_extensions.get("size", "")
        if limit.isdigit() and 0 < int(limit) < len(mail.raw):
            raise Misconfigured(
                f"{self._address} takes messages of up to {limit} bytes, and this one has {len(mail.raw)}",
                hint="Send less, or send a link.",
            )
        if mail.utf8 and not smtp.supports_extension("smtputf8"):
            raise Misconfigured(
                f"{self._address} does not understand addresses with other letters than ASCII before the @",
                hint="Use an ASCII address.",
            )

    def _sender(self, request: Mail) -> Mailbox:
        given = request.from_ or self.config.from_
        if given is None:
            raise Misconfigured(
                "the message has no sender", hint="Set `from` in the connection, or give it with the message."
            )
        return mailbox(given)

    def _tls_context(self) -> ssl.SSLContext:
        config, find = self.config, self.context.materials.store
        stores = [find(name) for name in (config.certificate_name, config.trust_store_name) if name]
        trusted = "\n".join(store.trusted for store in stores if store.trusted)
        if stores and not trusted:
            raise Misconfigured(
                "the chosen truststore holds no certificate to trust",
                hint="Add the issuer of the server's certificate.",
            )
        try:
            return client_context(
                verify_hostname=config.verify_hostname,
                ca_file=self.context.ca_file,
                trusted_pem=trusted or None,
                versions=(config.property("mail.smtp.ssl.protocols") or "").split(),
                identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
                purpose="smtp",
            )
        except (ssl.SSLError, ValueError) as exc:
            raise Misconfigured(
                "the certificates of this connection cannot be used for TLS",
                hint="Check the truststore and the keystore.",
            ) from exc

    def _refusal(self, error: aiosmtplib.SMTPResponseException) -> ConnectorError:
        if error.code == _UNINTELLIGIBLE:
            return Misconfigured(
                f"{self._address} did not answer as a mail server does",
                hint="Check the port, and whether it wants TLS from the first byte (useSsl).",
            )
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            return self._login_refused(error)
        what, hint = next(words for kind, words in _REFUSALS.items() if isinstance(error, kind))
        return self._answered(error, what, hint)

    def _login_refused(self, error: aiosmtplib.SMTPAuthenticationError) -> ConnectorError:
        if error.code in _ENCRYPT_FIRST:
            return self._answered(error, "wants encryption before a login", "Turn on enableStartTls or useSsl.")
        if error.code in _NOT_THIS_METHOD or error.code < _PERMANENT:
            return self._answered(
                error, "cannot check the login", "Look at the server's own log for the reason; then retry."
            )
        return Rejected(
            f"{self._address} refused the login as {self.config.username}: {_said(error)}",
            hint="Check user name and password, and that the account may send mail this way (some want an app password).",
        )

    def _answered(self, error: aiosmtplib.SMTPResponseException, what: str, hint: str) -> ConnectorError:
        """The server said no: for now (4xx, wait) or for good (5xx, somebody must change something)."""
        kind = Misconfigured if error.code >= _PERMANENT else Unreachable
        return kind(
            f"{self._address} {what}: {_said(error)}",
            hint=hint if kind is Misconfigured else f"Wait, then retry. {hint}",
        )

    def _nobody(self, refused: list[Refused]) -> ConnectorError:
        kind = Misconfigured if any(one.code >= _PERMANENT for one in refused) else Unreachable
        shown = "; ".join(f"{one.recipient}: {one.code} {one.reason}" for one in refused[:3])
        return kind(
            f"{self._address} accepted no recipient: {shown}",
            hint="Check the addresses, and that this login may send to them."
            if kind is Misconfigured
            else "Wait, then retry.",
        )

    def _silent(self) -> ConnectorError:
        return Unreachable(
            f"{self._address} did not answer in time",
            hint="Check the server."
            if self.config.use_ssl
            else "Check the server; if this port wants TLS from the first byte, turn on useSsl.",
        )


async def _greet(smtp: SMTP) -> None:
    try:
        await smtp.ehlo()
    except aiosmtplib.SMTPHeloError:
        await smtp.helo()


def _own_name() -> str:
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]{1,255}", name) else "localhost"


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {_clean(error.message)}"


def _clean(text: str) -> str:
    """A server's words on one line, of a bearable length."""
    return _CONTROL.sub(" ", text)[:300].strip()
