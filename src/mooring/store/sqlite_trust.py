"""
What connections trust, before and after a change, in SQL: a change that widens it under a stored secret is undone.

It is compared inside the transaction of the change, by the function that finds what stands behind a reference: nobody
can slip in between, and nothing is worked out a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apsw

from mooring.domain.records import Connection
from mooring.domain.trust import Trust, anchors, wider
from mooring.store import sqlite_materials, sqlite_variables
from mooring.store.base import Moved, TrustWatch, Widens

if TYPE_CHECKING:
    from mooring.store.sqlite_changes import Transaction

Picture = Mapping[str, Mapping[str, Trust]]
"""By connection and field: what stands behind it in each environment."""


def picture(
    db: apsw.Connection, connections: Iterable[Connection], watch: TrustWatch, environments: Sequence[str],
    names: Collection[str] | None = None,
) -> Picture:  # fmt: skip
    """What *connections* trust in *environments*; with *names* (keys), only through references of those names."""
    found: dict[str, dict[str, Trust]] = {}
    for connection in connections:
        fields = watch.fields.get(connection.type)
        references = [
            each
            for each in connection.references
            if each.noun != sqlite_variables.VARIABLE
            and (fields is None or each.field in fields)
            and (names is None or sqlite_variables.indexed_under(each) in names)
        ]
        if not references:
            continue
        behind = {
            environment: sqlite_materials.found(db, connection.project, environment, references)
            for environment in environments
        }
        found[connection.id] = {
            reference.field: {
                environment: anchors(material.entries if (material := materials[number]) else None)
                for environment, materials in behind.items()
            }
            for number, reference in enumerate(references)
        }
    return found


def check(
    db: apsw.Connection, connections: Iterable[tuple[Connection, str]], before: Picture, after: Picture, watch: TrustWatch
) -> None:  # fmt: skip
    """Raises `Widens` where one of *connections* keeps a secret and trusts more than before, save those allowed."""
    found = []
    for connection, project_name in connections:
        was = before.get(connection.id, {})
        fields = tuple(field for field, now in after.get(connection.id, {}).items() if wider(was.get(field, {}), now))
        if fields and connection.id not in watch.allowed:
            rows: Any = db.execute("SELECT key FROM secrets WHERE connection = ? ORDER BY key", (connection.id,))
            secrets = tuple(key for (key,) in rows)
            if secrets:
                found.append(Moved(connection, project_name, fields, secrets))
    if found:
        raise Widens(found)


def every_environment(db: apsw.Connection) -> list[str]:
    """The ids of all environments."""
    rows: Any = db.execute("SELECT id FROM environments ORDER BY id")
    return [environment for (environment,) in rows]


class Gains:
    """What connections gain when an environment is opened to their projects; made before the change."""

    def __init__(self, transaction: Transaction, watch: TrustWatch) -> None:
        self._transaction, self._watch = transaction, watch
        rows: Any = transaction.db.execute(
            "SELECT DISTINCT project FROM connections WHERE refers IS NOT NULL"
        ).fetchall()
        self._targets = {project: tuple(transaction.targets_of(project)) for (project,) in rows}

    def check(self, environment: str) -> None:
        """Raises `Widens` where a connection would trust in *environment* what it trusted nowhere before."""
        db = self._transaction.db
        for project, had in self._targets.items():
            if environment in had or environment not in self._transaction.targets_of(project):
                continue
            here = sqlite_materials.connections_with_references(db, project)
            connections = [connection for connection, _ in here]
            before = picture(db, connections, self._watch, had)
            check(db, here, before, picture(db, connections, self._watch, [environment]), self._watch)
