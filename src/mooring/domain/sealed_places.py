"""
Where sealed values lie: every table that holds some is named here, once.

Rotation walks this list. A table that is not in it would be left behind on a key that is destroyed, so a test looks
at every column of the database and asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mooring.kit.record import record


@record
class SealedPlace:
    """
    A table with the columns `sealed` and `key_id`, and what a row's value is bound to.

    `keys` are the columns of its primary key. The value is bound to the column `owner` and to `part`, in which
    `{column}` stands for that column. `batch` is how many rows are read and sealed anew at a time.
    """

    table: str
    keys: tuple[str, ...]
    owner: str
    part: str
    batch: int = 100

    def bound_to(self, row: Mapping[str, Any]) -> dict[str, str]:
        """What `Ring.seal` and `Ring.unseal` are told of a row, given the columns of its key."""
        return {"connection": row[self.owner], "key": self.part.format_map(row)}


SEALED_PLACES: tuple[SealedPlace, ...] = (
    SealedPlace("secrets", ("connection", "key"), "connection", "{key}"),
    SealedPlace("material_secrets", ("material", "environment", "key"), "material", "{environment}/{key}", batch=10),
    SealedPlace("environment_keys", ("environment",), "environment", "contentKey"),
)
