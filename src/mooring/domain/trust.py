"""
What a truststore or a pinned certificate trusts, for comparing: is the one trust wider than the other?

A trust anchor is a subject with a public key. A renewed certificate of the same two is the same anchor; whoever could
speak for it before still can, and nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Anchor = tuple[str, str]
"""The thumbprint of a certificate, and its subject with its public key; the second is empty where it is not known."""

Trust = Mapping[str, "frozenset[Anchor] | None"]
"""By environment: the anchors of what stands behind one reference, or None where nothing stands there."""


def anchors(entries: str | None) -> frozenset[Anchor] | None:
    """What a material trusts whose entries (`mooring.domain.records.MaterialContent`) these are; None for none."""
    if entries is None:
        return None
    found = set()
    for entry in json.loads(entries):
        if entry["kind"] == "certificate" and entry["used"]:
            found.add(_anchor(entry))
        if entry["kind"] == "key":
            # Its issuers are trusted too, and itself where it is its own issuer; see `mooring.kit.keystore.reader`.
            found |= {_anchor(each) for each in entry["chain"]}
            if entry.get("subjectDn") == entry.get("issuerDn"):
                found.add(_anchor(entry))
    return frozenset(found)


def wider(before: Trust, after: Trust) -> bool:
    """
    Whether *after* trusts in some environment what *before* did not.

    An environment that had nothing is measured by what the others had. Where no environment had anything, whoever
    stored the secret named what was still to come: what comes first is not wider.
    """
    known = [each for each in before.values() if each is not None]
    if not known:
        return False
    everywhere = frozenset[Anchor]().union(*known)
    for environment, now in after.items():
        was = before.get(environment)
        if now is not None and not _covered(now, everywhere if was is None else was):
            return True
    return False


def _covered(now: frozenset[Anchor], was: frozenset[Anchor]) -> bool:
    prints = {thumbprint for thumbprint, _ in was}
    keys = {key for _, key in was if key}
    return all(thumbprint in prints or key in keys for thumbprint, key in now)


def _anchor(entry: Mapping[str, Any]) -> Anchor:
    key = entry.get("publicKeySha256")
    return entry.get("sha256Thumbprint", ""), f"{key} {entry.get('subjectDn')}" if key else ""
