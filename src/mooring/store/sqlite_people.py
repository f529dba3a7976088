"""Users, their roles, and grants on single connections, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import apsw

from mooring.domain.records import Membership, Share, Standing, Token, User
from mooring.domain.rights import OnConnection, Rights, grants_of
from mooring.errors import Conflict
from mooring.store.base import Committed, DeleteUser, MoveConnection, NameTaken, SaveShare, SaveUser, Stale

if TYPE_CHECKING:
    from mooring.store.sqlite_changes import Transaction

_USER = "id, name, name_key, description, password_hash, disabled, created_at, updated_at"


def _user(row: Any) -> User:
    user_id, name, key, description, password_hash, disabled, created_at, updated_at = row
    return User(user_id, name, key, description, password_hash, bool(disabled), created_at, updated_at)


def users(db: apsw.Connection) -> list[User]:
    return [_user(row) for row in db.execute(f"SELECT {_USER} FROM users ORDER BY name_key")]


def user(db: apsw.Connection, name_key: str) -> User | None:
    row = db.execute(f"SELECT {_USER} FROM users WHERE name_key = ?", (name_key,)).get
    return _user(row) if row else None


def memberships(db: apsw.Connection, user_id: str) -> list[Membership]:
    rows: Any = db.execute("SELECT project, roles FROM memberships WHERE user_id = ? ORDER BY project", (user_id,))
    return [Membership(project or None, frozenset(roles.split())) for project, roles in rows]


def shares(db: apsw.Connection, connection_id: str) -> list[Share]:
    rows: Any = db.execute(
        "SELECT connection, kind, subject, grants FROM shares WHERE connection = ? ORDER BY kind, subject",
        (connection_id,),
    )
    return [Share(connection, kind, subject, frozenset(grants.split())) for connection, kind, subject, grants in rows]


def standing(db: apsw.Connection, token: Token) -> Standing | None:
    """None where the token's owner is gone, or disabled."""
    shared = _shared(db, "token", token.id) | _shared(db, "token", token.parent or "")
    if token.user is None:
        return Standing(None, shared)
    if db.execute("SELECT disabled FROM users WHERE id = ?", (token.user,)).get != 0:
        return None
    return Standing(rights(db, token.user), shared)


def rights(db: apsw.Connection, user_id: str) -> Rights:
    """What a user may now."""
    held = {each.project: grants_of(each.roles) for each in memberships(db, user_id)}
    everywhere = held.pop(None, frozenset())
    in_projects = {project: grants for project, grants in held.items() if project is not None}
    return Rights(everywhere, in_projects, _shared(db, "user", user_id))


def _shared(db: apsw.Connection, kind: str, subject: str) -> dict[str, OnConnection]:
    rows: Any = db.execute(
        "SELECT c.id, c.project, s.grants FROM shares s JOIN connections c ON c.id = s.connection"
        " WHERE s.kind = ? AND s.subject = ?",
        (kind, subject),
    )
    return {connection: OnConnection(project, frozenset(grants.split())) for connection, project, grants in rows}


def move_connection(transaction: Transaction, change: MoveConnection) -> Committed:
    c, db = change.connection, transaction.db
    replayed = transaction.replayed(change.idempotency)
    if replayed:
        return Committed(replayed=replayed)
    found = {
        each: transaction.content_in(each, change.before) for each in transaction.targets_of(change.before.project)
    }
    try:
        db.execute(
            "UPDATE connections SET project = ?, generation = ?, document = ?, updated_at = ?"
            " WHERE id = ? AND project = ? AND generation = ?",
            (c.project, c.generation, c.document, c.updated_at, c.id, change.before.project, change.before.generation),
        )
    except apsw.ConstraintError:
        raise NameTaken("the name is taken") from None
    if db.changes() != 1:
        raise Stale("the connection changed meanwhile")
    if any(transaction.content_in(each, c) != content for each, content in found.items()):
        raise Conflict("what it refers to is its project's own")
    deployments = transaction.desire(c, True, change.audit, False) if c.deploy else ()
    transaction.remember(change.idempotency, c, deployments)
    transaction.write_audit(change.audit)
    return Committed(deployments)


def save_user(transaction: Transaction, change: SaveUser) -> Committed:
    u, db = change.user, transaction.db
    try:
        if change.is_new:
            db.execute(
                f"INSERT INTO users ({_USER}) VALUES (?,?,?,?,?,?,?,?)",
                (u.id, u.name, u.name_key, u.description, u.password_hash, u.disabled, u.created_at, u.updated_at),
            )
        else:
            db.execute(
                "UPDATE users SET name = ?, name_key = ?, description = ?, password_hash = ?, disabled = ?, updated_at = ?"
                " WHERE id = ?",
                (u.name, u.name_key, u.description, u.password_hash, u.disabled, u.updated_at, u.id),
            )
            if db.changes() != 1:
                raise Stale("the user is gone")
    except apsw.ConstraintError:
        raise NameTaken("the name is taken") from None
    if change.memberships is not None:
        for each in change.memberships:
            known = each.project is None or db.execute("SELECT 1 FROM projects WHERE id = ?", (each.project,)).get
            if not known:
                raise Conflict("the project is gone")
        db.execute("DELETE FROM memberships WHERE user_id = ?", (u.id,))
        db.executemany(
            "INSERT INTO memberships (user_id, project, roles) VALUES (?,?,?)",
            [(u.id, each.project or "", " ".join(sorted(each.roles))) for each in change.memberships],
        )
    if change.ends_sessions:
        db.execute("UPDATE tokens SET revoked_at = ? WHERE parent = ? AND revoked_at IS NULL", (change.audit.at, u.id))
    transaction.write_audit(change.audit)
    return Committed()


def delete_user(transaction: Transaction, change: DeleteUser) -> Committed:
    db, user_id = transaction.db, change.user.id
    db.execute("DELETE FROM users WHERE id = ?", (user_id,))
    if db.changes() != 1:
        raise Stale("the user is gone")
    db.execute("DELETE FROM memberships WHERE user_id = ?", (user_id,))
    db.execute("DELETE FROM shares WHERE kind = 'user' AND subject = ?", (user_id,))
    db.execute("UPDATE tokens SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL", (change.audit.at, user_id))
    transaction.write_audit(change.audit)
    return Committed()


def save_share(transaction: Transaction, change: SaveShare) -> Committed:
    s, db = change.share, transaction.db
    if not db.execute("SELECT 1 FROM connections WHERE id = ?", (s.connection,)).get:
        raise Stale("the connection is gone")
    if s.grants:
        db.execute(
            "INSERT OR REPLACE INTO shares (kind, subject, connection, grants) VALUES (?,?,?,?)",
            (s.kind, s.subject, s.connection, " ".join(sorted(s.grants))),
        )
    else:
        db.execute(
            "DELETE FROM shares WHERE kind = ? AND subject = ? AND connection = ?", (s.kind, s.subject, s.connection)
        )
    transaction.write_audit(change.audit)
    return Committed()


MAKERS: Mapping[type, Callable[[Transaction, Any], Committed]] = {
    SaveUser: save_user,
    DeleteUser: delete_user,
    SaveShare: save_share,
    MoveConnection: move_connection,
}
