"""
The two sides of the stream driven against each other, through whatever may happen to them.

The control side is `ControlSession`, used as `mooring.control.streams` uses it; the worker side is `WorkerState`,
used as `mooring.worker.loop` uses it. Between them a stream that may break after any frame, in either direction.
Frames travel in order and once while a stream lives, as on TCP; what a broken stream leaves half done is the point.
"""

from __future__ import annotations

import hashlib
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mooring.control.session import ControlSession, reach, removal
from mooring.domain.digest import EMPTY, add, term
from mooring.domain.records import DesiredRow, Environment
from mooring.wire.frames import Commit, Delete, Hello, Put, Report, Reset, Welcome
from mooring.worker.state import WorkerState

ROWS = 3
CONNECTIONS = [f"con_{n}" for n in range(8)]


def content(connection: str, generation: int) -> bytes:
    return hashlib.sha256(f"{connection}|{generation}".encode()).digest()


@dataclass
class Desired:
    """An environment's desired state, as a store keeps it."""

    epoch: str = "epo_0"
    head: int = 0
    compacted: int = 0
    rows: dict[str, DesiredRow] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)

    @property
    def present(self) -> dict[str, DesiredRow]:
        return {key: row for key, row in self.rows.items() if row.present}

    @property
    def environment(self) -> Environment:
        digest = EMPTY
        for row in self.present.values():
            digest = add(digest, term(row.connection, row.generation, row.hash))
        return Environment(
            "env", "test", None, "TEST", "PUBLISHED", None, self.epoch, self.head, self.compacted, digest, 0
        )

    def put(self, connection: str) -> None:
        self.generations[connection] = self.generations.get(connection, 0) + 1
        self._row(connection, True)

    def delete(self, connection: str) -> None:
        self.generations[connection] += 1
        self._row(connection, False)

    def _row(self, connection: str, present: bool) -> None:
        self.head += 1
        generation = self.generations[connection]
        hash_ = content(f"{connection}|{self.epoch}", generation) if present else b""
        self.rows[connection] = DesiredRow(connection, self.head, generation, present, hash_)

    def rebind(self, connection: str, present: bool) -> None:
        """The environment is bound anew: the same generation comes or goes."""
        self._row(connection, present)

    def replace_material(self, connection: str) -> None:
        """A keystore that it uses was replaced: the same generation with another hash."""
        self.head += 1
        generation = self.generations[connection]
        hash_ = content(f"{connection}|{self.epoch}|{self.head}", generation)
        self.rows[connection] = DesiredRow(connection, self.head, generation, True, hash_)

    def compact(self) -> None:
        """Forget what is gone: whoever is behind that gets a snapshot."""
        self.compacted = self.head
        self.rows = self.present

    def delta(self, after: int) -> tuple[Environment, list[DesiredRow]]:
        rows = sorted((row for row in self.rows.values() if row.revision > after), key=lambda row: row.revision)
        return self.environment, rows[:ROWS]


class Stream:
    """One stream: the control plane's session, and frames under way to the worker."""

    def __init__(self, number: int, desired: Desired, hello: Hello) -> None:
        environment = desired.environment
        self.session = ControlSession(f"ses_{number}")
        plan = self.session.greet(hello, environment, hello.digest == environment.digest.hex())
        self.to_worker: deque[Welcome | Put | Delete | Commit | Reset] = deque()
        self.to_control: deque[Report] = deque()
        self.first = True
        self.batch: list[DesiredRow] | None = None
        self.batch_environment = environment
        self.left_out = False
        self.mode = plan.mode
        self.to_worker.append(
            Welcome(
                session=self.session.session,
                epoch=environment.epoch,
                head=environment.head_revision,
                mode=plan.mode,  # type: ignore[arg-type]
                environment="test",
                environment_key_id="k",
                environment_key="",
            )  # fmt: skip
        )


class Protocol(RuleBasedStateMachine):
    """Every order of changes, frames, reports, and broken streams."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = Desired()
        self.saved = Desired()
        self.worker = WorkerState()
        self.stream: Stream | None = None
        self.session = ""
        self.streams = 0
        self.resets = 0
        self.epochs = 0
        self.epoch_known = ""
        self.highest: dict[str, int] = {}
        self.always: set[str] = set()
        """Connections that are desired since before the worker last held everything, and ever since."""

    @initialize(count=st.integers(0, 8), held=st.booleans(), behind=st.integers(0, 8), gone=st.integers(0, 3))
    def begin(self, count: int, held: bool, behind: int, gone: int) -> None:
        """Connections that are there; a worker that holds them, or nothing; and changes that it slept through."""
        for connection in CONNECTIONS[:count]:
            self.desired.put(connection)
        if held:
            self._settle()
            self.stream = None
            for connection in CONNECTIONS[:behind]:
                self.desired.put(connection)
            for connection in sorted(self.desired.present)[-gone:] if gone else ():
                self.desired.delete(connection)
                self.always.discard(connection)
            self.desired.compact()
        self.connect()

    # what people do

    @rule(connection=st.sampled_from(CONNECTIONS))
    def put(self, connection: str) -> None:
        self.desired.put(connection)

    @precondition(lambda self: self.desired.present)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.desired.present)))
        self.desired.delete(connection)
        self.always.discard(connection)

    @precondition(lambda self: self.desired.rows)
    @rule(data=st.data())
    def rebind(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.desired.rows)))
        row = self.desired.rows[connection]
        if row.present:
            self.desired.rebind(connection, False)
            self.always.discard(connection)
        elif row.generation == self.desired.generations[connection]:
            self.desired.put(connection)

    @precondition(lambda self: self.desired.present)
    @rule(data=st.data())
    def replace_material(self, data: st.DataObject) -> None:
        self.desired.replace_material(data.draw(st.sampled_from(sorted(self.desired.present))))

    @rule()
    def compact(self) -> None:
        self.desired.compact()

    @rule()
    def back_up(self) -> None:
        self.saved = deepcopy(self.desired)

    @rule()
    def restore(self) -> None:
        """The database is an older one again, in a new epoch; what comes then has generations that were seen before."""
        self.epochs += 1
        self.stream = None
        self.always.clear()
        self.highest.clear()
        self.desired = deepcopy(self.saved)
        self.desired.epoch = f"epo_{self.epochs}"

    # streams

    @precondition(lambda self: self.stream is None)
    @rule()
    def connect(self) -> None:
        """The worker opens a stream."""
        worker = self.worker
        self.streams += 1
        self.stream = Stream(
            self.streams,
            self.desired,
            Hello(
                incarnation="i",
                epoch=worker.proven_epoch,
                revision=worker.revision,
                digest=worker.digest.hex(),
                receipt=worker.receipt,
            ),
        )

    @rule()
    def restart_worker(self) -> None:
        """The worker's process begins anew, with nothing."""
        self.worker = WorkerState()
        self.stream = None
        self.always.clear()
        self.highest.clear()

    @precondition(lambda self: self.stream)
    @rule(again=st.booleans())
    def cut(self, again: bool) -> None:
        """The stream breaks, with everything under way on it."""
        self.stream = None
        if again:
            self.connect()

    @precondition(lambda self: self.stream)
    @rule()
    def control_reads(self) -> None:
        """The control plane looks for what is new, as its sending task does."""
        stream = self.stream
        assert stream is not None
        if stream.batch is None and (stream.first or stream.session.is_behind(self.desired.head)):
            environment, rows = self.desired.delta(stream.session.sent_revision)
            if environment.epoch != stream.session.epoch:
                stream.to_worker.append(Reset(why="a new epoch began"))
                return
            if stream.session.lost(environment):
                self.stream = None  # it is told to come again
                return
            stream.batch_environment, stream.left_out = environment, False
            if stream.first or environment.head_revision > stream.session.sent_revision:
                stream.batch = rows
                stream.rows = list(rows)  # type: ignore[attr-defined]

    @precondition(lambda self: self.stream and self.stream.batch is not None)
    @rule()
    def control_writes(self) -> None:
        """One row of a batch becomes a frame, or the batch is closed; between rows anything may happen."""
        stream = self.stream
        assert stream is not None and stream.batch is not None
        if stream.batch:
            row = stream.batch.pop(0)
            if not stream.session.tells(row):
                return
            if not row.present:
                stream.to_worker.append(removal(row))
            elif self.desired.rows.get(row.connection) != row:
                stream.left_out = True  # it moved on meanwhile: no frame can be made of it
            else:
                stream.to_worker.append(
                    Put(
                        revision=row.revision,
                        id=row.connection,
                        project="p",
                        name=row.connection,
                        type="email",
                        generation=row.generation,
                        enabled=True,
                        hash=row.hash.hex(),
                        config={},
                    )  # fmt: skip
                )
            return
        rows = stream.rows  # type: ignore[attr-defined]
        stream.to_worker.append(
            stream.session.commit(
                stream.batch_environment, reach(stream.batch_environment, rows, ROWS), "r", left_out=stream.left_out
            )
        )
        stream.batch, stream.first = None, False

    @precondition(lambda self: self.stream and self.stream.to_worker)
    @rule()
    def worker_takes(self) -> None:
        """One frame arrives."""
        stream, worker = self.stream, self.worker
        assert stream is not None
        frame = stream.to_worker.popleft()
        match frame:
            case Welcome():
                self.session = frame.session
                if frame.epoch != self.epoch_known:
                    self.epoch_known = frame.epoch
                    self.highest.clear()
                worker.welcome(frame)
            case Put() | Delete():
                worker.stage(frame)
            case Commit():
                before = dict(worker.holdings)
                changes = worker.commit(frame)
                for put in changes.puts:
                    if worker.epoch == self.epoch_known:
                        assert put.generation >= self.highest.get(put.id, 0), "a generation went back"
                        self.highest[put.id] = put.generation
                assert not set(changes.gone) & self.always, "what should be held was let go of"
                assert set(changes.gone) <= set(before)
                assert worker.digest == _digest(worker)
                self._report()
            case Reset():
                worker.epoch = None
                self.resets += 1
                self.highest.clear()
                self.stream = None

    @precondition(lambda self: self.stream and self.session == self.stream.session.session)
    @rule()
    def worker_reports_again(self) -> None:
        """News between commits: a report of what was reported before."""
        self._report()

    def _report(self) -> None:
        worker = self.worker
        assert self.stream is not None
        self.stream.to_control.append(
            Report(session=self.session, epoch=worker.epoch or "", nonce=worker.nonce, observed_revision=worker.revision,
                   digest=worker.digest.hex(), receipt=worker.receipt or "")
        )  # fmt: skip

    @precondition(lambda self: self.stream and self.stream.to_control)
    @rule()
    def control_hears(self) -> None:
        stream = self.stream
        assert stream is not None
        report = stream.to_control.popleft()
        if stream.session.hear(report) and stream.session.needs_reset(report, self.desired.environment):
            stream.to_worker.clear()
            stream.to_worker.append(Reset(why="what you hold is not what you should hold"))
            stream.batch = None

    @rule()
    def strangers_report_is_ignored(self) -> None:
        """A report of another session, or of another epoch, moves nothing."""
        if self.stream is not None:
            session = self.stream.session
            before = (session.sent_revision, session._awaiting)
            other = Report(session="ses_other", epoch=session.epoch, nonce=session._nonce, observed_revision=1)
            assert not session.hear(other)
            assert not session.hear(other.model_copy(update={"session": session.session, "epoch": "epo_other"}))
            assert (session.sent_revision, session._awaiting) == before

    # what must hold

    @invariant()
    def digest_is_of_holdings(self) -> None:
        assert self.worker.digest == _digest(self.worker)

    @rule(steps=st.integers(1, 12))
    def go_on(self, steps: int) -> None:
        """The two do what they do by themselves, for a while."""
        for _ in range(steps):
            if not self._step():
                return

    @rule(steps=st.integers(4, 30))
    def go_on_for_long(self, steps: int) -> None:
        self.go_on(steps)

    @rule()
    def settle(self) -> None:
        """Nothing happens any more but what the two do by themselves: in the end they agree."""
        self._settle()

    def _step(self) -> bool:
        """One thing that happens by itself; False where there is none."""
        if self.stream is None:
            self.connect()
        elif self.stream.to_worker:
            self.worker_takes()
        elif self.stream.to_control:
            self.control_hears()
        elif self.stream.batch is not None:
            self.control_writes()
        else:
            self.control_reads()
            return self.stream is None or self.stream.batch is not None or bool(self.stream.to_worker)
        return True

    def _settle(self) -> None:
        for _ in range(1000):
            if not self._step():
                break
        held = {key: (one.generation, one.hash) for key, one in self.worker.holdings.items()}
        assert held == {key: (row.generation, row.hash) for key, row in self.desired.present.items()}
        assert self.worker.digest == self.desired.environment.digest
        assert self.worker.revision == self.desired.head and self.worker.epoch == self.desired.epoch
        self.always = set(self.desired.present)

    def teardown(self) -> None:
        self._settle()


def _digest(worker: WorkerState) -> bytes:
    digest = EMPTY
    for key, one in worker.holdings.items():
        digest = add(digest, term(key, one.generation, one.hash))
    return digest


class NoResets(Protocol):
    """Without restores, the digest never has to help: nothing that the two do leads astray."""

    def restore(self) -> None:
        pass

    def teardown(self) -> None:
        super().teardown()
        assert self.resets == 0, "a digest had to repair what the protocol did wrong"


Protocol.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
NoResets.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestProtocol = Protocol.TestCase
TestNoResets = NoResets.TestCase
