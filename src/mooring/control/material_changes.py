"""What an update of a keystore, a certificate or a variable changes, for the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mooring.control.auditing import Change, difference
from mooring.control.parcels import material_place
from mooring.domain.records import Material, MaterialContent, MaterialSecret
from mooring.errors import SealError
from mooring.seal.envelope import Ring

_DERIVED = frozenset({"opened"})
"""Parts that follow from others, which say it already."""
_FIELDS = ("type", "alias")


def material_changes(
    ring: Ring, names: Mapping[str, str], before: Material, after: Material, had: Iterable[MaterialContent],
    has: Iterable[MaterialContent], held: Sequence[MaterialSecret], fresh: Sequence[MaterialSecret],
    dropped: Iterable[tuple[str, str]],
) -> dict[str, Change]:  # fmt: skip
    """
    Fields of the material, and by the names of environments those of what it has there; of what is sealed, fingerprints.

    *held* is all that was sealed before, *fresh* what is sealed now, *dropped* what is destroyed.
    """
    was, now = {each.environment: each for each in had}, {each.environment: each for each in has}
    changes = difference(_shown(before, was, names), _shown(after, now, names))
    old = {(each.environment, each.key): each for each in held}
    new: dict[tuple[str, str], MaterialSecret | None] = {(each.environment, each.key): each for each in fresh}
    gone = {*dropped, *(place for place in old if place[0] not in now)}
    for place in sorted({*new, *gone}):
        if place[1] not in _DERIVED:
            fingerprints = tuple(_fingerprint(ring, before.id, each) for each in (old.get(place), new.get(place)))
            if fingerprints[0] != fingerprints[1]:
                changes[f"{_name(place[0], names)}/{place[1]}"] = (fingerprints[0], fingerprints[1])
    return changes


def _shown(material: Material, contents: Mapping[str, MaterialContent], names: Mapping[str, str]) -> dict[str, object]:
    return {
        "name": material.name, "description": material.description,
        **{
            f"{_name(each.environment, names)}/{field}": getattr(each, field)
            for each in contents.values()
            for field in _FIELDS
        },
    }  # fmt: skip


def _name(environment: str, names: Mapping[str, str]) -> str:
    return names.get(environment, environment) or "everywhere"


def _fingerprint(ring: Ring, material: str, secret: MaterialSecret | None) -> dict[str, str | None] | None:
    """None where there is nothing; a fingerprint of None where what is there does not open."""
    if secret is None:
        return None
    place = material_place(secret.environment, secret.key)
    try:
        value = ring.unseal(secret.sealed, key_id=secret.key_id, connection=material, key=place)
    except SealError:
        return {"fingerprint": None}
    return {"fingerprint": ring.fingerprint(value, connection=material, key=place)}
