"""What a file turned out to hold, and how what is wrong with it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509 import Certificate


class Unreadable(Exception):
    """
    The file cannot be opened; the reason never quotes it.

    `field` is what to correct: file, password, alias or type.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


@dataclass
class KeyEntry:
    """A private key, opened when asked for, and its certificate with those that issued it."""

    alias: str
    key: Callable[[], PrivateKeyTypes]
    chain: list[Certificate]


@dataclass
class TrustedEntry:
    """A certificate that is trusted."""

    alias: str
    certificate: Certificate


@dataclass
class Contents:
    """What a file holds, entry by entry."""

    keys: list[KeyEntry] = field(default_factory=list)
    trusted: list[TrustedEntry] = field(default_factory=list)


@dataclass(frozen=True)
class Opened:
    """
    What may be shown of a file, and what connections use of it.

    `entries` are public: alias, kind, names, dates and thumbprints. `trusted`, `chain` and `key` are PEM texts, and
    `key` is never shown.
    """

    entries: list[dict[str, Any]]
    trusted: str | None
    chain: str | None
    key: str | None

    def __repr__(self) -> str:
        return "<Opened>"
