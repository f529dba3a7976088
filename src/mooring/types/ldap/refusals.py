"""What it means when a directory says no (RFC 4511, appendix A): whose move it is, in words."""

from __future__ import annotations

import re

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.types.ldap.messages import Result

SUCCESS = 0
NO_SUCH_OBJECT = 32
INVALID_CREDENTIALS = 49
CUT_SHORT = frozenset((3, 4, 11))
"""Time, size or administrative limit exceeded: what was found until then was found."""

NAMES = {
    1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded",
    7: "authMethodNotSupported", 8: "strongerAuthRequired", 10: "referral", 11: "adminLimitExceeded",
    12: "unavailableCriticalExtension", 13: "confidentialityRequired", 14: "saslBindInProgress",
    16: "noSuchAttribute", 17: "undefinedAttributeType", 18: "inappropriateMatching", 19: "constraintViolation",
    21: "invalidAttributeSyntax", 32: "noSuchObject", 33: "aliasProblem", 34: "invalidDNSyntax",
    36: "aliasDereferencingProblem", 48: "inappropriateAuthentication", 49: "invalidCredentials",
    50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform", 54: "loopDetect",
    80: "other",
}  # fmt: skip

_FOR_NOW = frozenset((3, 51, 52, 80))
_ENCRYPT_FIRST = frozenset((8, 13))
_NOT_ALLOWED = frozenset((48, 49, 50, 53))
_LOG_IN = (
    "Check `username` (a full DN, unless this is Active Directory) and `password`, and that the account is not locked."
)

NOT_THIS_PERSON = {
    19: "refused",
    32: "unknown_user",
    48: "no_password",
    49: "wrong_password",
    50: "refused",
    53: "refused",
}
"""Results of a person's login that are an answer, and why it is no."""

_ACTIVE_DIRECTORY = {
    "525": "unknown_user", "52e": "wrong_password", "530": "not_now", "531": "not_here", "532": "password_expired",
    "533": "disabled", "701": "account_expired", "773": "password_expired", "775": "locked",
}  # fmt: skip
_DATA = re.compile(r"\bdata ([0-9a-f]{3})\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def why_not(result: Result) -> str | None:
    """Why a person may not log in; None where *result* says nothing about the person."""
    reason = NOT_THIS_PERSON.get(result.code)
    data = _DATA.search(result.message) if reason else None
    return _ACTIVE_DIRECTORY.get(data[1], reason) if data else reason


def name_of(result: Result) -> str:
    """The result's name in the standard, or its number."""
    return NAMES.get(result.code, f"result {result.code}")


def login_refused(result: Result, address: str, username: str) -> ConnectorError:
    """The account that searches was not let in."""
    if result.code in _NOT_ALLOWED:
        return Rejected(f"{address} refused the login as {username}: {_said(result)}", hint=_LOG_IN)
    if result.code == 34:
        return Misconfigured(
            f"{address} does not take {username} for the name of an account: {_said(result)}",
            hint="Give the full DN in `username`.",
        )
    return refused(result, address, f"the login as {username}")


def search_refused(result: Result, address: str, base: str) -> ConnectorError:
    """A search failed."""
    if result.code == NO_SUCH_OBJECT:
        return Misconfigured(
            f"{address} has no entry {base}, or hides it from this account",
            hint="Check `baseDn`, and that the account may read there.",
        )
    return refused(result, address, "the search")


def refused(result: Result, address: str, what: str) -> ConnectorError:
    """*what* was refused, for a reason that has nothing to do with what it was."""
    if result.code == 10:
        where = ", ".join(_clean(url) for url in result.referrals[:3]) or "another server"
        return Misconfigured(
            f"{address} refers {what} to {where}; referrals are not followed",
            hint="Set `serverAddress` to the server that holds the entries.",
        )
    if result.code in _ENCRYPT_FIRST:
        return Misconfigured(
            f"{address} wants encryption before {what}: {_said(result)}", hint="Turn on useStartTls or useSsl."
        )
    if result.code in _FOR_NOW:
        return Unreachable(f"{address} cannot do {what} now: {_said(result)}", hint="Wait, then retry.")
    if result.code in _NOT_ALLOWED:
        return Rejected(
            f"{address} does not allow {what}: {_said(result)}", hint="Give the account of `username` the right to."
        )
    return Misconfigured(
        f"{address} refused {what}: {_said(result)}", hint="Look at the directory's own log for the reason."
    )


def ended(result: Result, address: str) -> ConnectorError:
    """The directory ended the session by itself."""
    return Unreachable(f"{address} ended the session: {_said(result)}", hint="Wait, then retry.")


def _said(result: Result) -> str:
    words = _clean(result.message)
    return f"{name_of(result)} ({words})" if words else name_of(result)


def _clean(text: str) -> str:
    """A server's words on one line, of a bearable length."""
    return _CONTROL.sub(" ", text)[:300].strip()
