"""
What a worker holds of its environment's desired state, as a pure state machine.

It does no I/O. `loop` runs it in production; tests drive it through every order of frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mooring.domain.digest import EMPTY, add, term
from mooring.wire.frames import Commit, Delete, Put, Welcome


@dataclass(frozen=True, slots=True)
class Holding:
    """The newest generation of one connection that the worker was told to hold."""

    generation: int
    hash: bytes


@dataclass(slots=True)
class Changes:
    """What a commit leads to: connections to hold, and to let go of, with the generation that says so."""

    puts: list[Put] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)


class WorkerState:
    """
    The worker's side of one environment, across streams.

    Frames are staged until their commit. An older generation is ignored; the same one is free.
    """

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.revision = 0
        self.digest = EMPTY
        self.receipt: str | None = None
        self.nonce = 0
        self.holdings: dict[str, Holding] = {}
        self._staged: list[Put | Delete] = []
        self._in_snapshot = False
        self._seen: set[str] = set()

    @property
    def proven_epoch(self) -> str | None:
        """
        The epoch that hello may name: none while a snapshot is unfinished.

        Until it is complete, what should be gone is still held; going on from the middle would never tell.
        """
        return None if self._in_snapshot else self.epoch

    def welcome(self, frame: Welcome) -> None:
        """A stream began. A snapshot ends with the first complete commit; what it did not name is gone."""
        self._staged.clear()
        self._seen.clear()
        self._in_snapshot = frame.mode == "snapshot"
        if frame.mode == "snapshot":
            if self.epoch != frame.epoch:
                # Generations of another lineage say nothing about this one: everything is taken anew.
                self.holdings = {key: Holding(0, b"") for key in self.holdings}
                self.digest = EMPTY
                for holding_id in self.holdings:
                    self.digest = add(self.digest, term(holding_id, 0, b""))
            self.revision = 0
        self.epoch = frame.epoch
        self.nonce = 0

    def stage(self, frame: Put | Delete) -> None:
        """Keep *frame* until its commit."""
        self._staged.append(frame)

    def commit(self, frame: Commit) -> Changes:
        """Everything since the last commit holds from now on."""
        changes = Changes()
        for staged in self._staged:
            if isinstance(staged, Put):
                self._put(staged, changes)
            else:
                self._let_go(staged.id, staged.generation, changes)
        self._staged.clear()
        self.revision, self.receipt, self.nonce = frame.revision, frame.receipt, frame.nonce
        if self._in_snapshot and frame.complete:
            for unseen in set(self.holdings) - self._seen:
                self._let_go(unseen, self.holdings[unseen].generation, changes)
            self._in_snapshot = False
            self._seen.clear()
        return changes

    def _put(self, frame: Put, changes: Changes) -> None:
        if self._in_snapshot:
            self._seen.add(frame.id)
        content = bytes.fromhex(frame.hash)
        before = self.holdings.get(frame.id)
        if before is not None:
            if frame.generation < before.generation or (frame.generation, content) == (before.generation, before.hash):
                return
            self.digest = add(self.digest, -term(frame.id, before.generation, before.hash))
        self.holdings[frame.id] = Holding(frame.generation, content)
        self.digest = add(self.digest, term(frame.id, frame.generation, content))
        changes.puts.append(frame)

    def _let_go(self, connection: str, generation: int, changes: Changes) -> None:
        before = self.holdings.pop(connection, None)
        if before is not None:
            self.digest = add(self.digest, -term(connection, before.generation, before.hash))
            changes.gone[connection] = generation
