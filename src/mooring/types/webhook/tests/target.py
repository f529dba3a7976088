"""What the conformance suite needs to know of this room."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    parts = urlsplit(body["fullUrl"])
    userinfo, at, _ = parts.netloc.rpartition("@")
    return {**body, "fullUrl": urlunsplit(parts._replace(netloc=f"{userinfo}{at}{host}:{port}"))}


FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"body": {"hello": "world"}})

EXEMPT: dict[str, str] = {"wrong_credential": "a 401 is an answer, whose status the caller judges"}
