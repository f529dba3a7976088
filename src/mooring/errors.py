"""
The whole error tree. Ask "whose move is it?" and pick the class by the answer.

    MooringError
    ├─ BadRequest                  the caller's: the request cannot be carried out as sent
    │  ├─ InvalidConfig            .problems lists everything that is wrong, never what was sent
    │  ├─ UnknownType
    │  ├─ NameMismatch
    │  ├─ AlreadyExists
    │  ├─ SecretRequired           a kept secret may not follow a changed destination
    │  ├─ TooLarge
    │  └─ MethodNotAllowed
    ├─ NotAuthenticated            the caller's: no valid token
    ├─ NotPermitted                the administrator's: the token lacks a grant
    ├─ NotFound
    ├─ Conflict                    somebody was faster
    │  ├─ InUse
    │  └─ PreconditionFailed
    ├─ RateLimited                 wait, then retry
    ├─ Unavailable                 the operator's: storage full, outcome unknown
    │  └─ SealError
    │     ├─ KeyUnavailable        the master key is missing or another one
    │     ├─ Tampered              a sealed value was changed or moved
    │     └─ UnknownSeal           sealed by a newer version
    ├─ UseError                    this worker cannot serve that connection now
    │  ├─ ConnectionUnknown
    │  ├─ ConnectionDisabled
    │  ├─ ConnectionFailed         its client could not be built
    │  ├─ OperationUnknown
    │  ├─ Busy                     every place is taken: wait, then retry
    │  └─ CircuitOpen              its system failed too often just now: wait
    └─ ConnectorError              from the external system's side
       ├─ Unreachable              the network's: wait, retry
       ├─ Rejected                 the credential owner's: tell a person
       ├─ Misconfigured            the author's: TLS name, missing topic, wrong DN
       ├─ EgressDenied             the operator's: this worker may not connect there
       ├─ DriverMissing            the operator's: which extra to install
       └─ ConnectorBug             ours: report it

The tree knows no HTTP: `mooring.api.errors` and `mooring.worker.local` hold the tables to status codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class MooringError(Exception):
    """The root. `code` is for machines, the message for people, `hint` says what to do next."""

    code = "internal_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class Problem(NamedTuple):
    """One thing that is wrong with a body: where (a JSON pointer), what (a stable code), and a sentence."""

    path: str
    code: str
    message: str


class BadRequest(MooringError):
    """The request cannot be carried out as it was sent."""

    code = "bad_request"


class InvalidConfig(BadRequest):
    """The body breaks rules of its type; `problems` lists every one, and never contains a sent value."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        first = self.problems[0].message
        more = len(self.problems) - 1
        super().__init__(first if not more else f"{first} (and {more} more problem{'s' if more > 1 else ''})")


class UnknownType(BadRequest):
    """No connection type has that name."""


class NameMismatch(BadRequest):
    """The name in the path and the name in the body differ."""


class AlreadyExists(BadRequest):
    """The name is taken."""


class SecretRequired(InvalidConfig):
    """A destination changed while a stored secret would have been kept: the secret must be sent again."""


class TooLarge(BadRequest):
    """The body is over the limit."""


class MethodNotAllowed(BadRequest):
    """The route exists, the method does not."""


class NotAuthenticated(MooringError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthorized_client"


class NotPermitted(MooringError):
    """The token is valid and lacks the grant."""

    code = "forbidden"


class NotFound(MooringError):
    """There is no such thing, or it is invisible to the caller: the answer is the same."""

    code = "not_found"


class Conflict(MooringError):
    """The present state forbids it."""

    code = "conflict"


class InUse(Conflict):
    """Something else still refers to it."""


class PreconditionFailed(Conflict):
    """If-Match named a generation that is no longer the newest."""


class RateLimited(MooringError):
    """Too many requests; `retry_after_s` says when to come back."""

    code = "rate_limit_exceeded"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("Rate limit exceeded. Please try again later.")
        self.retry_after_s = retry_after_s


class Unavailable(MooringError):
    """The control plane cannot do it now."""

    code = "server_error"


class SealError(Unavailable):
    """A sealed value cannot be made or opened."""


class KeyUnavailable(SealError):
    """The master key is missing, or it is not the one that this data was sealed with."""


class Tampered(SealError):
    """A sealed value was changed, cut, or moved to another row."""


class UnknownSeal(SealError):
    """The envelope's version is not known here."""


class UseError(MooringError):
    """This worker cannot serve that connection now."""

    code = "use_error"


class ConnectionUnknown(UseError):
    """The worker holds no connection of that name."""

    code = "connection_unknown"


class ConnectionDisabled(UseError):
    """The connection exists and is switched off."""

    code = "connection_disabled"


class ConnectionFailed(UseError):
    """The connection's client could not be built; `reason` is a code of the closed set of delivery."""

    code = "connection_failed"

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class OperationUnknown(UseError):
    """The connection's type has no such operation."""

    code = "operation_unknown"


class Busy(UseError):
    """Every place in a bounded queue or pool is taken."""

    code = "busy"


class CircuitOpen(UseError):
    """The circuit breaker is open: the system failed too often just now, so nothing is tried for a while."""

    code = "circuit_open"


class ConnectorError(MooringError):
    """Something on the way to, or on the side of, the external system."""

    code = "connector_error"


class Unreachable(ConnectorError):
    """The network's move: wait, retry."""

    code = "unreachable"


class Rejected(ConnectorError):
    """The credential owner's move: tell a person."""

    code = "rejected"


class Misconfigured(ConnectorError):
    """The author's move: a TLS name, a missing topic, a wrong statement."""

    code = "misconfigured"


class EgressDenied(ConnectorError):
    """The operator's move, or the author's: the egress policy of this worker does not let it connect there."""

    code = "egress_denied"


class DriverMissing(ConnectorError):
    """The operator's move: install the extra that carries the driver."""

    code = "driver_missing"


class ConnectorBug(ConnectorError):
    """Ours: a driver's error that nobody translated. Report it."""

    code = "connector_bug"
