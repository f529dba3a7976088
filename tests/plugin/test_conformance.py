"""Every type in the registry is what a type must be. Adding a type edits nothing here, unless it needs a waiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from mooring.plugin.registry import Registry
from mooring.testing.conformance import Conformance, destination_looking, is_kept_secret, secret_looking

CARDS = list(Registry())

_TLS_VERSION = "the version of TLS, not whether there is TLS"
_HOST_KEY = "a digest of a public key, made to be shown"
_ID = "the id of a stored keystore, which has its own password"

WAIVERS: dict[str, str] = {
    "elasticsearch/maxConnectionPerHost": "a limit",
    "email/additionalProperties.key": "the name of a property; its value is looked at by that name",
    "ftp/hostKeyFingerprint": _HOST_KEY,
    "ftp/sslProtocol": _TLS_VERSION,
    "graylog/tlsTrustCertChainFileName": "a label for people; the certificates themselves stand in another field",
    "kafka/keyStoreId": _ID,
    "linux-script/hostKeyFingerprint": _HOST_KEY,
    "rabbitMq/channelRoutingKey": "says which queue a message is for; it stands in every message",
    "rabbitMq/connectionFactorySslProtocol": _TLS_VERSION,
    "rabbitMq/connectionFactoryVirtualHost": "a name inside the broker, which gets the password whatever it is",
    "webhook/connectionPoolMaxConnectionPerHost": "a limit",
}


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
class TestEveryType(Conformance):
    """The twelve facts, for each type."""

    WAIVERS = WAIVERS
    SNAPSHOTS = Path(__file__).parent / "snapshots"


def test_every_waiver_is_needed() -> None:
    """A waiver that waives nothing is removed."""
    needed = set()
    for card in CARDS:
        needed |= {
            f"{card.name}/{field.path}" for field in secret_looking(card.config) if not is_kept_secret(card, field)
        }
        needed |= {f"{card.name}/{field.path}" for field in destination_looking(card.config)}

    assert sorted(set(WAIVERS) - needed) == []


def test_every_snapshot_has_its_type() -> None:
    """A stored schema whose type is gone is removed."""
    stored = {path.stem for path in TestEveryType.SNAPSHOTS.glob("*.json")}

    assert sorted(stored - {card.name for card in CARDS}) == []
