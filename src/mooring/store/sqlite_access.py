"""What changes of tokens and of workers mean in SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mooring.errors import Conflict
from mooring.store.base import (
    Committed,
    CreateEnrolment,
    CreateToken,
    EnrolWorker,
    ForgetWorker,
    RevokeToken,
    SeeWorkers,
    TouchTokens,
)

if TYPE_CHECKING:
    from mooring.store.sqlite_changes import Transaction


def create_token(transaction: Transaction, change: CreateToken) -> Committed:
    t = change.token
    transaction.db.execute(
        "INSERT INTO tokens (id, name, owner, project, grants, created_at, expires_at, revoked_at, last_used_at,"
        " secret_hash, parent, user_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        (t.id, t.name, t.owner, t.project, " ".join(sorted(t.grants)), t.created_at, t.expires_at, t.revoked_at,
         t.last_used_at, t.secret_hash, t.parent, t.user),
    )  # fmt: skip
    transaction.write_audit(change.audit)
    return Committed()


def revoke_token(transaction: Transaction, change: RevokeToken) -> Committed:
    transaction.db.execute(
        "UPDATE tokens SET revoked_at = ? WHERE (id = ? OR parent = ?) AND revoked_at IS NULL",
        (change.at, change.token, change.token),
    )
    transaction.write_audit(change.audit)
    return Committed()


def touch_tokens(transaction: Transaction, change: TouchTokens) -> Committed:
    transaction.db.executemany(
        "UPDATE tokens SET last_used_at = ? WHERE id = ?", [(at, token) for token, at in change.used.items()]
    )
    return Committed()


def create_enrolment(transaction: Transaction, change: CreateEnrolment) -> Committed:
    transaction.db.execute(
        "INSERT INTO enrolments (id, environment, secret_hash, expires_at) VALUES (?,?,?,?)",
        (change.id, change.environment, change.secret_hash, change.expires_at),
    )
    transaction.write_audit(change.audit)
    return Committed()


def enrol_worker(transaction: Transaction, change: EnrolWorker) -> Committed:
    transaction.db.execute(
        "UPDATE enrolments SET used_at = ? WHERE id = ? AND secret_hash = ? AND environment = ? AND used_at IS NULL"
        " AND expires_at > ?",
        (change.at, change.enrolment, change.secret_hash, change.worker.environment, change.at),
    )
    if transaction.db.changes() != 1:
        raise Conflict("the enrolment token was used before, has expired, or never was")
    w = change.worker
    transaction.db.execute(
        "INSERT INTO workers (id, environment, name, public_key, secret_hash, incarnation, version, observed_epoch,"
        " observed_revision, lease_until, created_at) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (w.id, w.environment, w.name, w.public_key, w.secret_hash, w.incarnation, w.version, w.observed_epoch,
         w.observed_revision, w.lease_until, w.created_at),
    )  # fmt: skip
    transaction.write_audit(change.audit)
    return Committed()


def forget_worker(transaction: Transaction, change: ForgetWorker) -> Committed:
    transaction.db.execute("DELETE FROM workers WHERE id = ?", (change.worker,))
    transaction.write_audit(change.audit)
    return Committed()


def see_workers(transaction: Transaction, change: SeeWorkers) -> Committed:
    transaction.db.executemany(
        "UPDATE workers SET incarnation = ?, version = ?, observed_epoch = ?, observed_revision = ?, lease_until = ?"
        " WHERE id = ?",
        [
            (w.incarnation, w.version, w.observed_epoch, w.observed_revision, w.lease_until, w.id)
            for w in change.workers
        ],
    )
    return Committed()


MAKERS: dict[type, Callable[[Transaction, Any], Committed]] = {
    CreateToken: create_token,
    RevokeToken: revoke_token,
    TouchTokens: touch_tokens,
    CreateEnrolment: create_enrolment,
    EnrolWorker: enrol_worker,
    ForgetWorker: forget_worker,
    SeeWorkers: see_workers,
}
