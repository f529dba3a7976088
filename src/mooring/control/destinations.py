"""
The destination rule: a kept secret never follows a changed destination.

Every path that stores or tests settings with secrets that nobody has just sent asks here: `check` where one connection
changes (an update, a draft, and whatever else brings new settings to old secrets), `check_shared` where something
changes that connections share (what a truststore trusts, the value of a variable, the environments of a project): the latter through
`commit_watched` where the store can tell what would change.
`tests/control/test_destination_paths.py` finds the paths, and fails where one of them does not ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mooring.control.references import named
from mooring.domain.records import Actor
from mooring.errors import InvalidConfig, Problem, SecretRequired
from mooring.plugin.config import ConnectionConfig, join, read_config
from mooring.store.base import Committed, Moved, SaveEnvironment, SaveMaterial, Store, Widens

MAX_KEYS = 10
UNREADABLE = "the stored settings, which this version does not take any more,"


def stored_config(
    model: type[ConnectionConfig], public: Mapping[str, Any], secrets: Mapping[str, str]
) -> ConnectionConfig | None:
    """The config of a stored connection; None where this version does not take it any more."""
    try:
        return read_config(model, join(model, public, secrets)[0])
    except InvalidConfig:
        return None


def moved(before: ConnectionConfig | None, after: ConnectionConfig | None) -> tuple[str, ...]:
    """
    The destination fields, by wire name, that differ between two states of one connection's settings.

    For values that hold variables, give the *resolved* configs, of one environment at a time. None is a state that
    cannot be read: nobody can tell where its secrets were meant to go, so it counts as another destination.
    """
    if before is None or after is None:
        return (UNREADABLE,)
    old, new = before.destination(), after.destination()
    return tuple(sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def check(
    before: ConnectionConfig | None, after: ConnectionConfig, kept: Iterable[str], also: Iterable[str] = ()
) -> None:
    """
    Let *after* have the secrets *kept* of *before*, if it sends them to the same place.

    *also* names destinations that moved beside the fields of the two. Raises `SecretRequired` naming what to send again.
    """
    keys = sorted(kept)
    if not keys:
        return
    names = sorted({*moved(before, after), *also})
    if names:
        raise SecretRequired(
            [
                Problem(
                    "/" + key,
                    "secret_required",
                    f"{key} must be sent again, because {', '.join(names)} changed and a stored secret never follows a changed destination",
                )
                for key in keys
            ]
        )


def check_shared(actor: Actor, path: str, what: str, found: Sequence[Moved]) -> None:
    """
    Let *actor* change something that the connections in *found* share and that takes their secrets elsewhere.

    Whoever may read those secrets may: who holds `secrets:reveal` in the project of each. *path* is the field of the
    request and *what* says what the change would do. Raises `SecretRequired`, which names connections and secrets.
    """
    barred = [each for each in found if not actor.may("secrets:reveal", each.connection.project)]
    if not barred:
        return
    users = [(each.connection, each.project_name) for each in barred]
    keys = sorted({key for each in barred if actor.sees(each.connection.project) for key in each.secrets})
    which = f" ({', '.join(keys[:MAX_KEYS])})" if keys else ""
    raise SecretRequired(
        [
            Problem(
                path,
                "secret_required",
                f"{what}, and a stored secret never follows a changed destination: {named(actor, None, users)} would keep"
                f" what is stored{which}. Make something new beside it and name that in these connections, with their"
                " secrets sent again; or have it changed by somebody with the grant secrets:reveal",
            )
        ]
    )


async def commit_watched(
    store: Store, actor: Actor, change: SaveMaterial | SaveEnvironment, path: str, what: str
) -> Committed:
    """
    Commit *change*, of which the store itself finds out whether connections would trust more; see `check_shared`.

    What it finds is asked about, and then that and nothing else is allowed. Raises what `commit` does, and `SecretRequired`.
    """
    try:
        return await store.commit(change)
    except Widens as exc:
        check_shared(actor, path, what, exc.found)
        assert change.watch is not None, "nothing else is watched for"
        allowed = frozenset(each.connection.id for each in exc.found)
        return await store.commit(replace(change, watch=replace(change.watch, allowed=allowed)))
