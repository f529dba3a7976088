"""What the conformance suite needs to know of this room."""

from __future__ import annotations

from typing import Any


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "host": host, "port": port}


FIRST_USE: tuple[str, dict[str, Any]] = (
    "send",
    {"to": ["somebody@example.com"], "subject": "Hello", "text": "It works."},
)
