"""
Variables in SQL: materials whose content in an environment is a value. The environment '' stands for all of them.

Where one has a value for an environment, that is the value there; else its global one; else what the variable of that
name in the project `admin` has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import apsw

from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Connection, FoundMaterial, FoundVariable, Material
from mooring.domain.variables import references_in, substitute

if TYPE_CHECKING:
    from mooring.domain.records import Reference

VARIABLE = "variable"
VARYING = ""
"""The name key under which connections stand that name a material by way of a variable."""

_OWN_OR_ADMINS = "(m.project = ? OR m.project = (SELECT id FROM projects WHERE name = ?))"


class _Unknown(Exception):
    """A variable has no value here, or one that may not be shown."""


def value(db: apsw.Connection, project: str, environment: str, name: str) -> FoundVariable | None:
    """The value that `${name}` has in *environment* for connections of *project*."""
    row = db.execute(
        "SELECT m.id, m.name, c.environment, c.hash, c.entries, s.sealed, s.key_id FROM materials m"
        " JOIN material_contents c ON c.material = m.id AND c.environment IN (?, '')"
        " JOIN material_secrets s ON s.material = m.id AND s.environment = c.environment AND s.key = 'value'"
        f" WHERE m.noun = 'variable' AND m.name_key = ? AND {_OWN_OR_ADMINS}"
        " ORDER BY m.project <> ?, c.environment = '' LIMIT 1",
        (environment, name_key(name), project, ADMIN_PROJECT, project),
    ).get
    return FoundVariable(*row) if row else None


def values(db: apsw.Connection, project: str, environment: str, names: Sequence[str]) -> list[FoundVariable | None]:
    """The value of each of *names*; see `mooring.store.base.Store.variables`."""
    return [value(db, project, environment, name) for name in names]


def found(db: apsw.Connection, project: str, environment: str, name: str) -> FoundMaterial | None:
    """What stands behind `${name}`, as of a keystore: with no hash where there is one without a value here."""
    here = value(db, project, environment, name)
    if here is not None:
        return FoundMaterial(here.material, VARIABLE, here.name, here.hash, None)
    row = db.execute(
        f"SELECT m.id, m.noun, m.name FROM materials m WHERE m.noun = 'variable' AND m.name_key = ? AND {_OWN_OR_ADMINS}"
        " ORDER BY m.project <> ? LIMIT 1",
        (name_key(name), project, ADMIN_PROJECT, project),
    ).get
    return FoundMaterial(row[0], row[1], row[2], None, None) if row else None


def material_name(db: apsw.Connection, project: str, environment: str, name: str) -> str | None:
    """
    The keystore or certificate that *name* means in *environment*; None where a variable in it has no value there.

    Only values that may be shown can name one: the others are sealed, and this is done inside transactions.
    """

    def shown(variable: str) -> str:
        here = value(db, project, environment, variable)
        text = json.loads(here.entries).get("value") if here else None
        if not isinstance(text, str):
            raise _Unknown
        return text

    try:
        return substitute(name, shown)
    except _Unknown:
        return None


def indexed_under(reference: Reference) -> str:
    """The name key by which the users of what *reference* names are found."""
    varies = reference.noun != VARIABLE and bool(references_in(reference.name))
    return VARYING if varies else name_key(reference.name)


def uses(db: apsw.Connection, connection: Connection, of: Material) -> bool:
    """Whether *connection*, which names it, would miss the variable *of* if it went."""
    named = [each for each in connection.references if each.noun == VARIABLE and name_key(each.name) == of.name_key]
    if not named or connection.project == of.project:
        return bool(named)
    environments: Any = db.execute("SELECT id FROM environments").fetchall()
    return any(
        behind is not None and behind.material == of.id
        for (environment,) in environments
        for behind in [found(db, connection.project, environment, of.name)]
    )
