"""What can go wrong on a way on which only we speak."""

from __future__ import annotations

import ssl

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error


class Talks(Exception):
    """The other side said something, and no log server does."""


class Interrupted(Exception):
    """The connection was lost after the message was written, and before it was acknowledged."""


class TooLong(Exception):
    """The network does not carry datagrams of that size."""


def oneway_error(error: BaseException, address: str, peer: str) -> ConnectorError | None:
    """What *error* means on the way to *address*, where a *peer* (`syslog server`) should be; None if it is unknown."""
    match error:
        case ConnectorError():
            return error
        case Talks():
            return Unreachable(
                f"{address} answered, which no {peer} does",
                hint="Check the port: another service seems to listen there.",
            )
        case Interrupted():
            return Unreachable(
                f"{address} was lost while it took the message; it may or may not have kept it",
                hint="Look in the server's log before sending it again.",
            )
        case TooLong():
            return Misconfigured(
                f"the message does not fit into one datagram to {address}", hint="Send less, or use TCP."
            )
        case ssl.SSLError() if "ALERT" in (error.reason or "") and "CERT" in (error.reason or ""):
            return Rejected(
                f"{address} did not accept the certificate of this connection: {error.reason}",
                hint="Name a keystore in keyStoreName whose certificate the server trusts.",
            )
        case ssl.SSLError() if error.reason in ("TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED"):
            return Rejected(
                f"{address} did not accept the certificate of this connection: {error.reason}",
                hint="Name a keystore in keyStoreName whose certificate the server trusts.",
            )
        case OSError() | EOFError():
            return network_error(error, address)
    return None
