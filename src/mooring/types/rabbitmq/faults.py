"""What a broker's refusals and the driver's exceptions mean: the network's, the credential owner's, or the author's move."""

from __future__ import annotations

import re
import ssl
import struct

from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionClosed,
    ConnectionNotImplemented,
    DeliveryError,
    ProtocolSyntaxError,
    PublishError,
)
from pamqp.exceptions import PAMQPException

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error

LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\udc80-\udcff]+")
_FOR_NOW = re.compile(r"limit \(\d+\) is reached|is down$")
_LOGIN_REFUSED, _FRAME_ERROR, _NOT_ALLOWED = 403, 501, 530

UNINTELLIGIBLE = (PAMQPException, ProtocolSyntaxError, struct.error, ValueError, LookupError, TypeError, AttributeError)
"""What the driver raises over bytes that are no AMQP."""


class Refused(Exception):
    """The broker ended the handshake; `code` and `text` are its own words, `stage` is `login` or `vhost`."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        super().__init__(code, text)
        self.stage, self.code, self.text = stage, code, text


class TooLong(Exception):
    """The other side announced more than is read here."""


def explain_handshake(error: BaseException, address: str, user: str, vhost: str) -> ConnectorError | None:
    """Why there is no connection to the broker at *address*."""
    match error:
        case ConnectorError():
            return error
        case Refused(stage="login", code=code) if code == _LOGIN_REFUSED:
            return Rejected(
                f"{address} refused the login as {user}: {clean(error.text)}",
                hint="Check user name and password; the user guest may usually log in from the broker's own machine only.",
            )
        case Refused(code=code) if code == _NOT_ALLOWED:
            return _vhost_refused(error, address, user, vhost)
        case Refused(code=code) if code == _FRAME_ERROR:
            return Misconfigured(
                f"{address} did not accept the connection: {clean(error.text)}",
                hint="Announce less in connectionFactoryClientProperties.",
            )
        case Refused():
            return Unreachable(
                f"{address} did not accept the connection: {clean(error.text)}", hint="Look at the broker's log; retry."
            )
        case AuthenticationError():
            return Misconfigured(
                f"{address} does not offer the login that is supported here (PLAIN)",
                hint="Allow PLAIN in the broker's auth_mechanisms, or use a listener where it is.",
            )
        case TooLong():
            return unintelligible(address)
        case AMQPConnectionError():
            return _lost(error, address)
    if isinstance(error, OSError | EOFError):
        return network_error(error, address)
    return unintelligible(address) if isinstance(error, UNINTELLIGIBLE) else None


def explain_use(error: BaseException, address: str, doing: str) -> ConnectorError | None:
    """Why an operation on a connection to *address* failed; *doing* says what it did: `took the message`."""
    match error:
        case ConnectorError():
            return error
        case PublishError():
            return Misconfigured(
                f"{address} has no queue for the message, and kept nothing: {clean(error.args[0])}"
                f" for the routing key '{clean(error.args[1])}'",
                hint="Check the routing key, and that a queue is bound to the exchange with it.",
            )
        case DeliveryError():
            return Unreachable(
                f"{address} did not take the message",
                hint="The queue may be full, or unavailable for the moment: look at it; then retry.",
            )
        case ChannelNotFoundEntity():
            return Misconfigured(
                f"{address}: {_words(error)}", hint="Check the name and the virtual host, or create it on the broker."
            )
        case ChannelAccessRefused():
            return Rejected(
                f"{address}: {_words(error)}", hint="Let the user have that permission in this virtual host."
            )
        case ChannelLockedResource():
            return Misconfigured(
                f"{address}: {_words(error)}", hint="Another client has it to itself: use another queue."
            )
        case ChannelClosed():
            return Misconfigured(
                f"{address}: {_words(error)}", hint="Correct what the broker names; its log says more."
            )
        case TooLong():
            return Misconfigured(f"{address}: {error}", hint="Read this queue with a client of its own.")
        case ConnectionNotImplemented():
            return Misconfigured(f"{address}: {_words(error)}", hint="Use a queue of another type.")
        case ConnectionClosed():
            return Unreachable(
                f"{address} closed the connection while it {doing}: {_words(error)}",
                hint="Look at the broker's own log for the reason; then retry.",
            )
        case ChannelInvalidStateError() | AMQPError() | OSError() | EOFError():
            return Unreachable(
                f"{address} was lost while it {doing}",
                hint="Look whether the broker runs, and at its log; then retry.",
            )
    return unintelligible(address) if isinstance(error, PAMQPException) else None


def unintelligible(address: str) -> Unreachable:
    """Somebody listens at *address*, and is no RabbitMQ."""
    return Unreachable(
        f"{address} did not answer as a RabbitMQ broker does",
        hint="Check the port, and whether it wants TLS (connectionFactoryUseSslProtocol, usually port 5671).",
    )


def clean(text: object) -> str:
    """A broker's words on one line, of a bearable length."""
    return _CONTROL.sub(" ", str(text))[:LONGEST].strip()


def _vhost_refused(error: Refused, address: str, user: str, vhost: str) -> ConnectorError:
    said = f"{address} refused the virtual host '{vhost}' to {user}: {clean(error.text)}"
    if _FOR_NOW.search(error.text):
        return Unreachable(said, hint="Wait, then retry; or raise the limit on the broker.")
    if "refused for user" in error.text:
        return Rejected(said, hint="Let the user have permissions in this virtual host.")
    return Misconfigured(said, hint="Check connectionFactoryVirtualHost, or create the virtual host on the broker.")


def _lost(error: AMQPConnectionError, address: str) -> ConnectorError:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return Misconfigured(
            f"{address} ended the TLS session: {cause.reason or 'no reason given'}",
            hint="It may want another client certificate: check keyStoreName.",
        )
    # Where it resets the connection over a certificate that it does not accept, its reason may get lost on the way.
    return Unreachable(
        f"{address} closed the connection",
        hint="Look at the broker's own log for the reason, such as a client certificate that it does not accept; then retry.",
    )


def _words(error: AMQPError) -> str:
    return clean(error.args[-1]) if error.args and error.args[-1] else "no reason given"
