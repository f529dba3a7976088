"""
The text form of a token: `mrg_<kind>_<id>_<secret>_<checksum>`.

The id is public and finds the record; the secret is 256 random bits, so a plain SHA-256 of it is safe to
store; the checksum catches a token that was cut while copying, and lets scanners find leaked ones.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import NamedTuple

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"(mrg_(pat|wrk|enr)_([0-9A-Za-z]{16})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})", re.ASCII)


class TokenParts(NamedTuple):
    """A well-formed token taken apart. `kind` is pat (personal), wrk (worker credential) or enr (enrolment)."""

    kind: str
    id: str
    secret_hash: bytes


class NewToken(NamedTuple):
    """A token just made: `text` is shown once, the parts are stored."""

    text: str
    id: str
    secret_hash: bytes


def make_token(kind: str) -> NewToken:
    """A new token of *kind*."""
    body = f"mrg_{kind}_{_base62(secrets.randbits(95), 16)}_{_base62(secrets.randbits(256), 43)}"
    text = f"{body}_{_checksum(body)}"
    parts = parse_token(text)
    assert parts is not None
    return NewToken(text, parts.id, parts.secret_hash)


def parse_token(text: str) -> TokenParts | None:
    """
    The parts of *text*, or None where it has not the form of a token.

    The checksum is not looked at: the secret's hash decides, and costs less.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    return TokenParts(match[2], match[3], hashlib.sha256(match[4].encode("ascii")).digest())


def is_well_formed(text: str) -> bool:
    """Whether *text* is a whole token, its checksum included."""
    match = _FORM.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[5]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), 6)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
