"""What goes wrong between a file server and us, and whose move it is."""

from __future__ import annotations

import asyncio
import re

import aioftp

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.kit.redact import scrub
from mooring.plugin.network import network_error

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ENCRYPTION = re.compile(r"\b(TLS|SSL|encrypt\w*)\b", re.IGNORECASE)
_LONGEST_REPLY = 300
_BUSY = ("421", "425", "426", "450", "451", "434")
_FULL = ("452", "552")


class Unintelligible(Exception):
    """The other side said what no FTP server says."""


class LoginRefused(Exception):
    """The server did not take the login; the reply is the cause."""


class TlsRefused(Exception):
    """The server does not encrypt; nothing secret was sent."""


class NoDirectory(Exception):
    """The directory that paths begin at cannot be entered."""


class Missing(Misconfigured):
    """There is no such file, or it may not be touched: FTP has one answer for both."""


class Cut(Exception):
    """A transfer ended before its file did."""


def said(reply: aioftp.StatusCodeError, secret: str = "") -> str:
    """What the server replied, on one line, of a bearable length, without *secret*."""
    code = str(reply.received_codes[-1])
    lines = reply.info if isinstance(reply.info, list) else [str(reply.info)]
    text = " ".join(_CONTROL.sub(" ", line).strip(" -") for line in lines)
    return scrub(f"{code} {text}"[:_LONGEST_REPLY].strip(), {secret})


def code_of(reply: aioftp.StatusCodeError) -> str:
    """The code of the server's reply, such as `550`."""
    return str(reply.received_codes[-1])


def explain(error: BaseException, address: str, username: str, secret: str = "") -> ConnectorError | None:
    """What an error of FTP or of the network means, and what to do next; None for one that is neither."""
    match error:
        case LoginRefused():
            return _login_refused(error, address, username, secret)
        case TlsRefused():
            return Misconfigured(
                f"{address} does not encrypt as FTPS must: {error}; the password was not sent",
                hint="Use the port where it does, or useImplicit if it speaks TLS from the first byte.",
            )
        case NoDirectory():
            return Misconfigured(
                f"{address} has no directory that workingDir names, or does not let {username} in",
                hint="Check workingDir, as this account sees it after the login.",
            )
        case aioftp.StatusCodeError():
            return replied(error, address, "did not carry it out", secret)
        case Unintelligible():
            return Unreachable(
                f"{address} did not answer as an FTP server does",
                hint="Check host, port and protocol: implicit FTPS and SFTP have ports of their own.",
            )
        case Cut():
            return Unreachable(f"{address} {error}", hint="Look at the server's own log for the reason; then retry.")
        case asyncio.IncompleteReadError() | asyncio.LimitOverrunError():
            return network_error(ConnectionError(), address)
        case TimeoutError():
            return Unreachable(
                f"{address} did not answer in time",
                hint="Check the address, the port, and that no firewall drops the packets silently;"
                " a port for implicit FTPS waits for TLS before it says anything.",
            )
        case OSError() | EOFError():
            return network_error(error, address)
    return None


def replied(reply: aioftp.StatusCodeError, address: str, what: str, secret: str = "") -> ConnectorError:
    """The server said no: for now (wait) or for good (somebody must change something)."""
    code, text = code_of(reply), said(reply, secret)
    if code in _FULL:
        return Misconfigured(
            f"{address} {what}: {text}", hint="Make room on the server, or raise the quota of this account."
        )
    if code in _BUSY or code.startswith("4"):
        return Unreachable(f"{address} {what}: {text}", hint="Wait, then retry; the server's own log says more.")
    if code == "530":
        return Rejected(f"{address} {what}: {text}", hint="Check what this account may do.")
    if code in ("550", "553"):
        return Missing(
            f"{address} {what}: {text}",
            hint="Check the path, and that this account may do it there. Paths begin at workingDir.",
        )
    return Misconfigured(f"{address} {what}: {text}", hint="The server does not do this; its own log says more.")


def _login_refused(error: LoginRefused, address: str, username: str, secret: str) -> ConnectorError:
    reply = error.__cause__
    if not isinstance(reply, aioftp.StatusCodeError):
        return Unreachable(f"{address} ended the login", hint="Look at the server's own log for the reason.")
    code = code_of(reply)
    if code.startswith("4"):
        return Unreachable(
            f"{address} cannot log anybody in now: {said(reply, secret)}",
            hint="Wait, then retry; the server may have too many sessions open.",
        )
    if _ENCRYPTION.search(said(reply)):
        return Misconfigured(
            f"{address} wants encryption before a login: {said(reply, secret)}",
            hint="Use protocol FTPS with useExplicit.",
        )
    if code in ("500", "550"):
        return Misconfigured(
            f"{address} did not let {username} in: {said(reply, secret)}",
            hint="Check the account's home on the server, and the server's own log.",
        )
    return Rejected(
        f"{address} refused the login as {username}: {said(reply, secret)}",
        hint="Check user name and password, and that the account is not locked.",
    )
