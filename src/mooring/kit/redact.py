"""Taking secrets out of text that is on its way to a person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # shorter values would blot out ordinary words; they are matched as whole messages only


def scrub(text: str, secrets: Iterable[str]) -> str:
    """*text* with every one of *secrets* replaced by `***`, also where a URL or a quoted text spells it otherwise."""
    # The longest first: one that is part of another must not leave the rest of it standing.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            for form in _forms(secret):
                text = text.replace(form, "***")
        elif secret and text == secret:
            text = "***"
    return text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if not secret.isalnum() or not secret.isascii():
        yield from {quote(secret, safe=""), quote(secret), quote_plus(secret)}
        yield from {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
