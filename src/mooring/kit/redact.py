"""Taking secrets out of text that is on its way to a person."""

from __future__ import annotations

from collections.abc import Iterable

_SHORTEST = 4  # shorter values would blot out ordinary words; they are matched as whole messages only


def scrub(text: str, secrets: Iterable[str]) -> str:
    """*text* with every one of *secrets* replaced by `***`."""
    for secret in secrets:
        if len(secret) >= _SHORTEST and secret in text:
            text = text.replace(secret, "***")
        elif secret and text == secret:
            text = "***"
    return text
