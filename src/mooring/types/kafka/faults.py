"""
What the driver's errors mean: the network's, the credential owner's, or the author's move.

The driver tells the reason of a failed connection only in passing, to its error callback, and what fails in
the end is a record that timed out. `Troubles` remembers the reason until then.
"""

from __future__ import annotations

import re
import threading
from typing import Any, Protocol

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable

_LONGEST = 300
_LOGIN = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED")
_ADDRESS = re.compile(r"^(?:\w+://)?(\S+?)/(?:\d+|bootstrap): ")
_NOISE = re.compile(r" ?\(after \d+ms in state [^()]*(?:\(s\)[^()]*)?\)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class DriverError(Protocol):
    """The part of the driver's error that is read here."""

    def name(self) -> str: ...
    def str(self) -> str: ...
    def code(self) -> int: ...
    def retriable(self) -> bool: ...
    def fatal(self) -> bool: ...


class Troubles:
    """The latest reason why *brokers* could not be reached, as the driver's threads tell it."""

    def __init__(self, brokers: str) -> None:
        self.brokers = brokers
        self._lock = threading.Lock()
        self._reason: ConnectorError | None = None
        self._all_down = False
        self._turned_away = False
        self.fatal = False

    def note(self, error: DriverError) -> None:
        """Called by the driver with what went wrong on the way."""
        reason = explain_connection(error)
        with self._lock:
            if error.name() == "_ALL_BROKERS_DOWN":
                self._all_down = True
            elif error.fatal():
                self.fatal = True
            elif reason is not None:
                self._reason = reason
                self._turned_away = error.name() in _LOGIN

    def hope(self) -> None:
        """Another attempt begins: only fresh reasons count, save for a refused login, which nobody repeats."""
        with self._lock:
            self._all_down = False
            if not self._turned_away:
                self._reason = None

    def forget(self) -> None:
        """It works again."""
        with self._lock:
            self._reason, self._all_down, self._turned_away = None, False, False

    @property
    def reason(self) -> ConnectorError | None:
        """Why no broker can be reached, where that is known."""
        with self._lock:
            return self._reason or (_no_broker(self.brokers) if self._all_down else None)

    @property
    def hopeless(self) -> bool:
        """Whether waiting is in vain: the login was refused, or every broker was tried and failed."""
        with self._lock:
            return self._turned_away or self._all_down


def explain_connection(error: DriverError) -> ConnectorError | None:
    """What an error of the callback says about reaching brokers; None where it says nothing."""
    address, text = _told(error)
    match error.name():
        case name if name in _LOGIN:
            return _login_refused(address, text)
        case "_SSL":
            return tls_failed(address, text)
        case "_TRANSPORT" if "SSL" in text and "in state UP" not in error.str():
            # How the library words a failed handshake depends on who ended it first; a session that was up is another thing.
            return tls_failed(address, text)
        case "_RESOLVE":
            return Unreachable(
                f"the host name of {address} does not resolve",
                hint="Check the spelling, and the worker's name servers.",
            )
        case "_TRANSPORT":
            return Unreachable(
                f"{address} could not be reached: {text}",
                hint="Check the address, and that the broker is running and listening there.",
            )
    return None


def explain(error: DriverError, topic: str, reason: ConnectorError | None = None) -> ConnectorError | None:
    """
    What a failed request means for somebody who uses *topic*.

    *reason* is why brokers cannot be reached, where that is known; it is told in place of a mere time-out.
    """
    name = error.name()
    if name in _WAITED:
        return reason or Unreachable(
            f"Kafka did not take or answer the request for topic {topic} in time ({name})",
            hint="Retry. A record may have been written all the same: its answer can be lost on the way back.",
        )
    if name in _REFUSED:
        return Rejected(
            f"Kafka does not allow this user to {_REFUSED[name].format(topic=topic)} ({name})",
            hint="Ask the owner of the cluster for the permission, or log in as another user.",
        )
    if name in _WRONG:
        sentence, hint = _WRONG[name]
        return Misconfigured(f"{sentence.format(topic=topic)} ({name})", hint=hint)
    return explain_connection(error) or _other(error, topic)


def _other(error: DriverError, topic: str) -> ConnectorError | None:
    name, (_, text) = error.name(), _told(error)
    if error.retriable():
        return Unreachable(f"Kafka could not serve topic {topic} now: {text}", hint="Retry.")
    if error.code() > 0:
        return Misconfigured(
            f"Kafka refused the request for topic {topic}: {text} ({name})",
            hint="Look the name of the error up in Kafka's documentation.",
        )
    return None


def tls_failed(address: str, text: str) -> ConnectorError:
    """A TLS handshake that failed, in the driver's words."""
    if "verif" in text:
        return Misconfigured(
            f"{address}: the broker's certificate was not accepted",
            hint="Check that the host is the name in the certificate, and that its issuer is in the truststore.",
        )
    return Misconfigured(
        f"{address}: the TLS handshake failed: {text}",
        hint="Check that this port speaks TLS, and that the broker accepts the keystore's certificate.",
    )


def _login_refused(address: str, text: str) -> ConnectorError:
    if "handshake failed" in text or ("mechanism" in text.lower() and "nsupported" in text):
        return Misconfigured(
            f"{address} does not offer this SASL mechanism: {text}", hint="Choose one that it offers in sasl.mechanism."
        )
    if "token" in text.lower() and "OAUTHBEARER" in text:
        return Unreachable(text, hint="Check sasl.oauthbearer.token.endpoint.url, and that the token server is up.")
    return Rejected(
        f"{address} refused the login: {text}",
        hint="Check the user and the password in sasl.jaas.config, and sasl.mechanism.",
    )


def silence(brokers: str, waited_s: float) -> ConnectorError:
    """Nobody said anything."""
    return Unreachable(
        f"no broker of {brokers} answered within {waited_s:g} s",
        hint="Check the addresses, and that no firewall drops the packets silently; max.block.ms says how long to wait.",
    )


def _no_broker(brokers: str) -> ConnectorError:
    return Unreachable(
        f"no broker of {brokers} could be reached: each one closed the connection or did not answer",
        hint="Check the addresses, that the brokers are up, and that security.protocol is what this listener speaks.",
    )


def _told(error: DriverError) -> tuple[str, str]:
    """The broker that an error is about, and what is left of its text for a person."""
    text = _CONTROL.sub(" ", error.str())
    found = _ADDRESS.match(text)
    if found is not None:
        text = text[found.end() :]
    return (found[1] if found else "the broker"), _NOISE.sub("", text)[:_LONGEST]


_WAITED = frozenset(
    {
        "_MSG_TIMED_OUT", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_WAIT_COORD", "_PURGE_QUEUE",
        "_PURGE_INFLIGHT", "_DESTROY", "_FATAL", "REQUEST_TIMED_OUT", "NETWORK_EXCEPTION",
    }
)  # fmt: skip
_REFUSED: dict[str, str] = {
    "TOPIC_AUTHORIZATION_FAILED": "use the topic {topic}",
    "GROUP_AUTHORIZATION_FAILED": "use this consumer group",
    "CLUSTER_AUTHORIZATION_FAILED": "do this in the cluster",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "write with idempotence",
}
_CHECK_TOPIC = "Create the topic, correct topicName, or let the brokers create topics."
_WRONG: dict[str, tuple[str, str]] = {
    "UNKNOWN_TOPIC_OR_PART": ("the topic {topic} does not exist", _CHECK_TOPIC),
    "_UNKNOWN_TOPIC": ("the topic {topic} does not exist", _CHECK_TOPIC),
    "TOPIC_EXCEPTION": ("Kafka does not allow the topic name {topic}", "Use letters, digits, '.', '_' and '-'."),
    "_UNKNOWN_PARTITION": (
        "the topic {topic} has no such partition",
        "Leave the partition to Kafka, or name one that exists.",
    ),
    "MSG_SIZE_TOO_LARGE": (
        "the record is larger than is allowed for topic {topic}",
        "Send less, or raise max.request.size here and max.message.bytes of the topic.",
    ),
    "_INVALID_ARG": (
        "the driver does not take these settings or this record",
        "Check the properties in propertiesMap.",
    ),
    "INVALID_REQUIRED_ACKS": ("Kafka does not take this value of acks", "Use 0, 1 or all."),
    "INVALID_GROUP_ID": ("Kafka does not allow this consumer group name", "Choose another name."),
    "POLICY_VIOLATION": (
        "a policy of the cluster refuses the request for topic {topic}",
        "Ask the owner of the cluster.",
    ),
    "INVALID_RECORD": ("Kafka refused the record for topic {topic}", "A compacted topic needs a key in each record."),
}


def driver_error(exception: BaseException) -> Any:
    """The driver's error inside its exception, or None."""
    first = exception.args[0] if exception.args else None
    return first if hasattr(first, "retriable") and hasattr(first, "name") else None
