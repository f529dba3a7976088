"""
One stream of one worker, as a pure state machine: what it has been sent, what it said, what comes next.

It does no I/O. `streams` runs it in production; tests drive it through every order of events.
"""

from __future__ import annotations

from dataclasses import dataclass

from mooring.domain.records import DesiredRow, Environment
from mooring.wire.frames import Commit, Delete, Hello, Report


@dataclass(frozen=True, slots=True)
class Plan:
    """How to go on after hello: from which revision, and whether the worker must forget what it has first."""

    mode: str
    after: int


class ControlSession:
    """
    The control plane's side of one stream.

    One commit is under way at a time: while it is, changes pile up in the desired state, where ten edits of one
    connection are one row; so two generations of a connection are never queued.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self.epoch = ""
        self.sent_revision = 0
        self.in_snapshot = False
        self._snapshot_head = 0
        self._nonce = 0
        self._awaiting: int | None = None

    def greet(self, hello: Hello, environment: Environment, digest_matches: bool) -> Plan:
        """
        What the worker's hello leads to.

        A delta where it has a prefix of what we have: same epoch, a revision between the compacted one and the
        head, and at the head the same digest. Everything else is a snapshot.
        """
        self.epoch = environment.epoch
        usable = (
            hello.epoch == environment.epoch
            and environment.compact_revision <= hello.revision <= environment.head_revision
            and (hello.revision < environment.head_revision or digest_matches)
        )
        plan = Plan("delta", hello.revision) if usable else Plan("snapshot", 0)
        self.sent_revision = plan.after
        self.in_snapshot = plan.mode == "snapshot"
        self._snapshot_head = environment.head_revision
        return plan

    def is_behind(self, head: int) -> bool:
        """Whether a batch should be sent now."""
        return self._awaiting is None and head > self.sent_revision

    def tells(self, row: DesiredRow) -> bool:
        """
        Whether *row* needs a frame.

        What a snapshot does not name is let go of, so it need not say what is absent; save what went while it was
        under way, and may have been named before.
        """
        return row.present or not self.in_snapshot or row.revision > self._snapshot_head

    def lost(self, environment: Environment) -> bool:
        """Whether rows that this stream still needs were compacted away: only a new stream can tell then."""
        known = max(self.sent_revision, self._snapshot_head) if self.in_snapshot else self.sent_revision
        return environment.compact_revision > known

    def commit(self, environment: Environment, upto: int, receipt: str, *, left_out: bool = False) -> Commit:
        """
        The frame that ends a batch: all that there is between `sent_revision` and *upto*.

        *left_out*: a row moved on before its frame was made. A newer one tells of it; until then nothing is complete.
        """
        self._nonce += 1
        self._awaiting = self._nonce
        self.sent_revision = upto
        complete = self.sent_revision == environment.head_revision and not left_out
        self.in_snapshot = self.in_snapshot and not complete
        return Commit(
            nonce=self._nonce,
            revision=self.sent_revision,
            complete=complete,
            digest=environment.digest.hex() if complete else None,
            receipt=receipt,
        )

    def hear(self, report: Report) -> bool:
        """Take a report. False where it belongs to another session or epoch, and must be ignored."""
        if report.session != self.session or report.epoch != self.epoch:
            return False
        if report.nonce == self._awaiting:
            self._awaiting = None
        return True

    def needs_reset(self, report: Report, environment: Environment) -> bool:
        """Whether the worker's set is not ours although it says it is at the head: a digest tells."""
        return (
            report.digest is not None
            and report.observed_revision == environment.head_revision == self.sent_revision
            and report.digest != environment.digest.hex()
        )


def reach(environment: Environment, rows: list[DesiredRow], limit: int) -> int:
    """Up to which revision *rows* tell everything, of which at most *limit* were asked for."""
    return rows[-1].revision if len(rows) >= limit else environment.head_revision


def removal(row: DesiredRow) -> Delete:
    """The frame for a row that says absent."""
    return Delete(revision=row.revision, id=row.connection, generation=row.generation)
