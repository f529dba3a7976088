"""What references resolve to: keystores, truststores and certificates, opened on the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mooring.errors import Misconfigured


class MaterialMissing(Misconfigured):
    """A keystore, truststore or certificate that the config uses is not there."""


@dataclass(frozen=True)
class Store:
    """An opened keystore or truststore: PEM texts, ready for a driver. `key` is never shown."""

    trusted: str | None = None
    chain: str | None = None
    key: str | None = None

    def identity(self) -> str:
        """The key and its certificate chain as one PEM text. Raises `Misconfigured`."""
        if not self.chain or not self.key:
            raise Misconfigured(
                "the chosen keystore holds no private key with a certificate", hint="Choose one that does."
            )
        return f"{self.key}\n{self.chain}\n"

    def __repr__(self) -> str:
        return "<Store>"


class Materials(Protocol):
    """Finds materials by the name a config gives."""

    def store(self, name: str) -> Store:
        """The keystore or truststore *name*. Raises `MaterialMissing`."""


class NoMaterials:
    """There are none."""

    def store(self, name: str) -> Store:
        raise MaterialMissing(
            f"the keystore '{name}' does not exist in this project",
            hint="Create it, or choose another in the connection.",
        )
