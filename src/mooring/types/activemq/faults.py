"""What a broker's refusals and a lost connection mean: the network's, the credential owner's, or the author's move."""

from __future__ import annotations

import re
import ssl

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error

LONGEST = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class Refused(Exception):
    """
    The broker said no.

    `kind` is the Java class of its exception, without the package, or AMQP's condition; `text` is its own words.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text


class LoginRefused(Refused):
    """The broker said no to who we are."""


class Lost(Exception):
    """The connection ended; `text` is what the broker said before it did, if anything."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text


class Unheard(Exception):
    """The other side said nothing for longer than was agreed."""


class Silent(Exception):
    """No answer came within the time that a field of the connection allows; `field` is its name."""

    def __init__(self, field: str, seconds: float) -> None:
        super().__init__(field)
        self.field, self.seconds = field, seconds


class Garbled(Exception):
    """What came is not what the protocol says."""


class TooLong(Exception):
    """A frame, or a message, is longer than what is read here; the text says how long."""


_UNAUTHORIZED = frozenset({"SecurityException", "JMSSecurityException", "amqp:unauthorized-access"})
_FOR_NOW = frozenset(
    {
        "ResourceAllocationException", "TransactionRolledBackException", "BrokerStoppedException",
        "ConnectionFailedException", "amqp:resource-limit-exceeded", "amqp:connection:forced", "amqp:link:detach-forced",
        "amqp:internal-error", "amqp:resource-locked", "amqp:session:window-violation", "released", "modified",
        "amqp:transaction:rollback", "amqp:transaction:timeout", "closed",
    }
)  # fmt: skip
_WRONG_PORT = (
    "Check the port, whether activeMqConnectionProtocolType fits it (OpenWire usually 61616, AMQP 5672),"
    " and whether it wants TLS (ssl:, amqps:); the broker's log may say more."
)
_CORRECTIONS = {
    "InvalidClientIDException": "Another client uses that clientID: choose another, or wait until it has gone.",
    "InvalidSelectorException": "Correct the selector.",
    "amqp:invalid-field": "Correct the selector.",
    "InvalidDestinationException": "Check destinationName and destinationType, or create it on the broker.",
    "amqp:not-found": "Check destinationName and destinationType, or create it on the broker.",
}
"""What helps, by the kind of refusal."""


def explain(error: BaseException, address: str, user: str | None, doing: str) -> ConnectorError | None:
    """What *error* means for the broker at *address*; *doing* continues "... was lost while it": `took the message`."""
    match error:
        case ConnectorError():
            return error
        case LoginRefused():
            return _login_refused(error, address, user)
        case Refused(kind=kind) if kind in _UNAUTHORIZED:
            return Rejected(f"{address}: {clean(error.text)}", hint="Let the user have that right on the destination.")
        case Refused(kind=kind) if kind in _FOR_NOW:
            return Unreachable(
                f"{address} did not do it for now: {_words(error)}",
                hint="Look at the broker's memory, limits and log; then retry.",
            )
        case Refused(kind=kind):
            return Misconfigured(
                f"{address} refused: {_words(error)}",
                hint=_CORRECTIONS.get(kind, "Correct what the broker names; its log says more."),
            )
        case Silent(field=field, seconds=seconds):
            return Unreachable(
                f"{address} did not answer within {seconds:g} s ({field})",
                hint="Look whether the broker is overloaded or holds producers back; or allow more time.",
            )
        case Unheard():
            return Unreachable(
                f"{address} has not been heard of for longer than agreed",
                hint="Look whether the broker runs; then retry.",
            )
        case Lost():
            said = f": {clean(error.text)}" if error.text else ""
            return Unreachable(
                f"{address} was lost while it {doing}{said}",
                hint="Look whether the broker runs, and at its log; then retry.",
            )
        case TooLong():
            return Misconfigured(f"{address}: {error}", hint="Read this destination with a client of its own.")
        case Garbled():
            return unintelligible(address)
        case ssl.SSLError():
            return Misconfigured(
                f"{address} ended the TLS session: {error.reason or 'no reason given'}",
                hint="It may want another client certificate: check keyStoreName.",
            )
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def unintelligible(address: str) -> Unreachable:
    """Somebody listens at *address*, and does not speak what is expected."""
    return Unreachable(f"{address} did not answer as an ActiveMQ broker does on that port", hint=_WRONG_PORT)


def hung_up(address: str, text: str) -> Unreachable:
    """Who listens at *address* ended the connection before anybody was logged in."""
    said = f": {clean(text)}" if text else ""
    return Unreachable(f"{address} hung up before anybody was logged in{said}", hint=_WRONG_PORT)


def clean(text: str) -> str:
    """A broker's words on one line, of a bearable length."""
    return _CONTROL.sub(" ", text)[:LONGEST].strip()


def _words(error: Refused) -> str:
    return clean(f"{error.kind}: {error.text}" if error.text else error.kind)


def _login_refused(error: LoginRefused, address: str, user: str | None) -> ConnectorError:
    if error.kind in ("InvalidClientIDException", "amqp:invalid-field"):
        return Misconfigured(
            f"{address} refused the client id: {_words(error)}", hint=_CORRECTIONS["InvalidClientIDException"]
        )
    if error.kind in _FOR_NOW:
        return Unreachable(
            f"{address} did not let anybody in for now: {_words(error)}", hint="Look at the broker's log; then retry."
        )
    who = f"as {clean(user)}" if user else "without a user name"
    return Rejected(
        f"{address} refused the login {who}: {clean(error.text) or error.kind}",
        hint="Check user name and password, and that the account is not locked.",
    )
