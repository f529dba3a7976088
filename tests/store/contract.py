"""
What `mooring.store.base` promises, asked of every store.

A test module subclasses `StoreContract` and gives the fixtures `store` (opened, empty) and `reopened` (a function
that closes it and opens its successor on the same data).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from mooring.domain.names import name_key
from mooring.domain.records import DataKey
from mooring.errors import Conflict, MooringError
from mooring.kit.ids import new_id
from mooring.store.base import (
    Change,
    Committed,
    CreateEnrolment,
    CreateProject,
    CreateToken,
    DeleteEnvironment,
    DeleteProject,
    FinishIdempotency,
    Forget,
    ForgetWorker,
    NameTaken,
    Record,
    RevokeToken,
    SaveDataKey,
    SaveEnvironment,
    SaveEnvironmentKey,
    SeeWorkers,
    SetMeta,
    Stale,
    StartEpoch,
    Store,
    TouchTokens,
)
from tests.store import makers as m

Reopened = Callable[[], Awaitable[Store]]


async def together(store: Store, changes: list[Change]) -> list[Committed | BaseException]:
    """Commit all of *changes* at once; one result each."""
    return await asyncio.gather(*(store.commit(change) for change in changes), return_exceptions=True)


async def _abandoned(store: Store, change: Change) -> None:
    """Hand in *change*, and go away before the answer."""
    task = asyncio.create_task(store.commit(change))
    await asyncio.sleep(0)
    task.cancel()


class StoreContract:
    """The promises, one by one."""

    # durable, whole or not at all

    async def test_what_was_committed_is_there_after_a_restart(self, store: Store, reopened: Reopened) -> None:
        """A connection, its secrets, its desired state and its audit entry survive a restart."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))

        store = await reopened()

        assert await store.connection_by_id(made.id) == made
        assert await store.secrets(made.id) == [m.secret()]
        assert await m.present(store, production) == {made.id}
        assert ("create", made.id) in await m.audited(store)

    async def test_a_refused_create_leaves_nothing(self, store: Store) -> None:
        """A create that loses its name leaves no row, secret, revision, deployment or audit entry."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        await m.with_connection(store, shop)
        late = m.connection(shop, "ORDERS-DB")
        before = await m.audited(store)

        with pytest.raises(NameTaken):
            await store.commit(m.save(late, m.secret()))

        assert await store.connection_by_id(late.id) is None
        assert await store.secrets(late.id) == []
        assert await store.deployments(late.id, 10) == []
        assert late.id not in await m.rows(store, production)
        assert await m.audited(store) == before

    async def test_a_stale_update_leaves_nothing(self, store: Store) -> None:
        """An update of a generation that is gone writes neither secret nor revision nor audit entry."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))
        second = m.newer(made)
        await store.commit(m.change(second, was=made))
        before = await m.audited(store), await m.rows(store, production)

        with pytest.raises(Stale):
            await store.commit(m.change(m.newer(made), m.secret("password", b"other"), was=made))

        assert [found.sealed for found in await store.secrets(made.id)] == [b"sealed"]
        assert (await m.audited(store), await m.rows(store, production)) == before

    async def test_a_connection_needs_its_project(self, store: Store) -> None:
        """A create in a project that was deleted meanwhile is stale."""
        with pytest.raises(Stale):
            await store.commit(m.save(m.connection(m.project())))

    # names

    async def test_one_of_two_hundred_wins_a_name(self, store: Store) -> None:
        """Of 200 concurrent creates of one name in different spellings exactly one succeeds; the rest find it taken."""
        shop = await m.with_project(store)
        spellings = ["".join(letters) for letters in itertools.product(*zip("straßenx", "STRAẞENX", strict=True))][:200]
        changes: list[Change] = [m.save(m.connection(shop, spelling), m.secret()) for spelling in spellings]
        random.Random(1).shuffle(changes)

        results = await together(store, changes)

        assert len({name_key(spelling) for spelling in spellings}) == 1
        assert sum(isinstance(result, Committed) for result in results) == 1
        assert sum(isinstance(result, NameTaken) for result in results) == 199
        assert len(await m.documents(store, shop)) == 1

    async def test_a_name_is_free_in_another_project(self, store: Store) -> None:
        """Names are unique within a project, not beyond it."""
        one, two = await m.with_project(store, "One"), await m.with_project(store, "Two")

        await m.with_connection(store, one)
        await m.with_connection(store, two)

        assert await m.documents(store, one) == await m.documents(store, two) == ["orders-db"]

    async def test_a_rename_onto_a_taken_name_is_refused(self, store: Store) -> None:
        """A rename cannot take another's name, and leaves both as they were."""
        shop = await m.with_project(store)
        one, two = await m.with_connection(store, shop, "one"), await m.with_connection(store, shop, "two")

        with pytest.raises(NameTaken):
            await store.commit(m.change(m.newer(two, name="ONE", name_key="one"), was=two))

        assert await store.connection(shop.id, "one") == one
        assert await store.connection(shop.id, "two") == two

    async def test_a_rename_frees_the_old_name(self, store: Store) -> None:
        """After a rename the old name finds nothing and may be taken; the new one finds the connection."""
        shop = await m.with_project(store)
        made = await m.with_connection(store, shop, "old")

        await store.commit(m.change(m.newer(made, name="new", name_key="new"), was=made))
        await m.with_connection(store, shop, "old")

        found = await store.connection(shop.id, "new")
        assert found is not None and found.id == made.id

    async def test_a_new_spelling_of_its_own_name_is_no_collision(self, store: Store) -> None:
        """A connection may be respelled in place."""
        shop = await m.with_project(store)
        made = await m.with_connection(store, shop, "orders")

        await store.commit(m.change(m.newer(made, name="Orders"), was=made))

        found = await store.connection(shop.id, "orders")
        assert found is not None and found.name == "Orders"

    @pytest.mark.parametrize("noun", ["project", "environment"])
    async def test_one_of_many_wins_the_name_of_other_nouns(self, store: Store, noun: str) -> None:
        """Concurrent creates of one project or environment name: one succeeds."""

        def create() -> Change:
            if noun == "project":
                return CreateProject(m.project("Shop"), m.entry())
            return SaveEnvironment(m.environment("Test"), True, m.entry())

        results = await together(store, [create() for _ in range(50)])

        assert sum(isinstance(result, Committed) for result in results) == 1
        assert sum(isinstance(result, NameTaken) for result in results) == 49

    async def test_environment_names_collide_ignoring_case(self, store: Store) -> None:
        """`Straße` and `STRASSE` are one environment name."""
        await m.with_environment(store, "Straße")

        with pytest.raises(NameTaken):
            await m.with_environment(store, "STRASSE")

    # revisions, digests, desired state

    async def test_revisions_have_no_gaps(self, store: Store) -> None:
        """Concurrent creates take the revisions 1..n of an environment, each once; the head is n."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)

        results = await together(store, [m.save(m.connection(shop, f"c{n}")) for n in range(120)])

        taken = [result.deployments[0].revision for result in results if isinstance(result, Committed)]
        assert sorted(taken) == list(range(1, 121))
        found = await store.environment(production.id)
        assert found is not None and found.head_revision == 120

    async def test_losers_take_no_revision(self, store: Store) -> None:
        """Changes that fail between others leave no gap."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        changes: list[Change] = [m.save(m.connection(shop, f"c{n // 2}")) for n in range(100)]

        await together(store, changes)

        assert sorted(row[0] for row in (await m.rows(store, production)).values()) == list(range(1, 51))

    async def test_revisions_are_in_the_order_of_commits(self, store: Store) -> None:
        """Whoever reads a delta to its end and goes on from there misses no change."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        seen: list[int] = []

        async def read() -> None:
            after = 0
            while len(seen) < 150:
                _, rows = await store.delta(production.id, after, m.EVERYTHING)
                seen.extend(row.revision for row in rows)
                after = seen[-1] if seen else 0
                await asyncio.sleep(0)

        await asyncio.gather(read(), *(store.commit(m.save(m.connection(shop, f"c{n}"))) for n in range(150)))

        assert seen == list(range(1, 151))

    async def test_desired_is_one_row_per_connection(self, store: Store) -> None:
        """Ten changes of a connection are one row, at the newest revision and generation."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))
        for _ in range(10):
            was, made = made, m.newer(made)
            await store.commit(m.change(made, was=was))

        assert await m.rows(store, production) == {made.id: (11, 11, True)}

    async def test_a_delta_is_what_came_after(self, store: Store) -> None:
        """A delta begins after the revision asked for, oldest first, and takes at most as many as asked for."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        for n in range(10):
            await m.with_connection(store, shop, f"c{n}")

        found, rows = await store.delta(production.id, 4, 3)

        assert [row.revision for row in rows] == [5, 6, 7]
        assert found.head_revision == 10

    async def test_a_delta_of_a_gone_environment_is_refused(self, store: Store) -> None:
        """Nobody is served the desired state of an environment that is not there."""
        with pytest.raises(Conflict):
            await store.delta("env_none", 0, 10)

    async def test_the_digest_follows_every_change(self, store: Store) -> None:
        """After creates, updates, deletes, renames and undeploys the digest is that of the rows that are present."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        a, b, c, d = [await m.with_connection(store, shop, name) for name in "abcd"]
        empty = m.EMPTY

        await store.commit(m.change(m.newer(a), was=a))
        await store.commit(m.delete(b))
        await store.commit(m.change(m.newer(c, name="cc", name_key="cc"), was=c))
        await store.commit(m.change(m.newer(d, deploy=False), was=d))

        assert await m.digest(store, production) == await m.recomputed(store, production) != empty

    async def test_the_digest_of_nothing_is_empty(self, store: Store) -> None:
        """When everything is deleted the digest is the empty one again."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))

        await store.commit(m.delete(made))

        assert await m.digest(store, production) == m.EMPTY

    async def test_a_delete_says_absent_and_destroys_the_secrets(self, store: Store) -> None:
        """A deleted connection has no row and no secrets; workers are told a newer generation, absent."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))

        committed = await store.commit(m.delete(made))

        assert await store.connection_by_id(made.id) is None
        assert await store.secrets(made.id) == []
        assert await m.rows(store, production) == {made.id: (2, 2, False)}
        assert [(d.revision, d.generation) for d in committed.deployments] == [(2, 2)]

    async def test_a_stale_delete_is_refused(self, store: Store) -> None:
        """A delete of a generation that is gone destroys nothing."""
        made = await m.with_connection(store, await m.with_project(store))
        await store.commit(m.change(m.newer(made), was=made))

        with pytest.raises(Stale):
            await store.commit(m.delete(made))

        assert await store.secrets(made.id) == [m.secret()]

    async def test_a_second_delete_is_refused(self, store: Store) -> None:
        """Of two concurrent deletes one succeeds and the other is stale."""
        made = await m.with_connection(store, await m.with_project(store))

        results = await together(store, [m.delete(made), m.delete(made)])

        assert sorted(type(result).__name__ for result in results) == ["Committed", "Stale"]

    async def test_undeploy_says_absent(self, store: Store) -> None:
        """deployToWorker from true to false removes the connection from workers, and is a deployment."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))

        committed = await store.commit(m.change(m.newer(made, deploy=False), was=made))

        assert await m.present(store, production) == set()
        assert len(committed.deployments) == 1

    async def test_what_is_not_deployed_moves_nothing(self, store: Store) -> None:
        """A connection that is kept on the control plane takes no revision and starts no deployment."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        made = m.connection(shop, deploy=False)

        created = await store.commit(m.save(made))
        updated = await store.commit(m.change(m.newer(made), was=made))
        deleted = await store.commit(m.delete(m.newer(made)))

        assert created.deployments == updated.deployments == deleted.deployments == ()
        assert await m.rows(store, production) == {}

    async def test_deploying_later_is_a_deployment(self, store: Store) -> None:
        """deployToWorker from false to true brings the connection to workers."""
        production = await m.with_environment(store)
        made = m.connection(await m.with_project(store), deploy=False)
        await store.commit(m.save(made))

        await store.commit(m.change(m.newer(made, deploy=True), was=made))

        assert await m.rows(store, production) == {made.id: (1, 2, True)}

    async def test_only_environments_of_the_project_get_it(self, store: Store) -> None:
        """An environment that is bound to other projects neither gets the connection nor moves."""
        one, two = await m.with_project(store, "One"), await m.with_project(store, "Two")
        bound = await m.with_environment(store, "bound", projects=(two.id,))
        open_to_all = await m.with_environment(store, "open")

        committed = await store.commit(m.save(m.connection(one)))

        assert [d.environment for d in committed.deployments] == [open_to_all.id]
        assert await m.rows(store, bound) == {}

    async def test_a_new_environment_gets_what_there_is(self, store: Store) -> None:
        """An environment made later desires every deployed connection that it may use, and no other."""
        one, two = await m.with_project(store, "One"), await m.with_project(store, "Two")
        mine = await m.with_connection(store, one, "mine")
        await m.with_connection(store, one, "kept", deploy=False)
        await m.with_connection(store, two, "others")

        late = await m.with_environment(store, "late", projects=(one.id,))

        assert await m.present(store, late) == {mine.id}
        assert await m.digest(store, late) == await m.recomputed(store, late)

    async def test_binding_anew_moves_only_the_difference(self, store: Store) -> None:
        """An environment bound to another project lets go of the one's connections and gets the other's."""
        one, two = await m.with_project(store, "One"), await m.with_project(store, "Two")
        a, b = await m.with_connection(store, one, "a"), await m.with_connection(store, two, "b")
        bound = await m.with_environment(store, "bound", projects=(one.id,))

        await store.commit(SaveEnvironment(replace(bound, projects=(two.id,)), False, m.entry()))

        assert await m.rows(store, bound) == {a.id: (3, 1, False), b.id: (2, 1, True)}
        assert await m.digest(store, bound) == await m.recomputed(store, bound)

    async def test_binding_as_before_moves_nothing(self, store: Store) -> None:
        """An environment saved with what it has keeps its head revision."""
        production = await m.with_environment(store)
        await m.with_connection(store, await m.with_project(store))

        await store.commit(SaveEnvironment(replace(production, description="again"), False, m.entry()))

        found = await store.environment(production.id)
        assert found is not None and found.head_revision == 1

    async def test_an_unpublished_environment_desires_nothing(self, store: Store) -> None:
        """Unpublishing lets go of everything, and publishing brings it back."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))

        await store.commit(SaveEnvironment(replace(production, status="UNPUBLISHED"), False, m.entry()))
        unpublished = await m.present(store, production), await m.digest(store, production)
        await store.commit(SaveEnvironment(production, False, m.entry()))

        assert unpublished == (set(), m.EMPTY)
        assert await m.present(store, production) == {made.id}

    async def test_what_changes_while_unpublished_comes_with_publishing(self, store: Store) -> None:
        """Changes pass an unpublished environment by; publishing brings their newest generation."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))
        await store.commit(SaveEnvironment(replace(production, status="UNPUBLISHED"), False, m.entry()))

        committed = await store.commit(m.change(m.newer(made), was=made))
        await store.commit(SaveEnvironment(production, False, m.entry()))

        assert committed.deployments == ()
        assert await m.rows(store, production) == {made.id: (3, 2, True)}

    async def test_a_new_epoch_keeps_the_rest(self, store: Store) -> None:
        """A new epoch changes neither head nor digest."""
        production = await m.with_environment(store)
        await m.with_connection(store, await m.with_project(store))
        before = await store.environment(production.id)

        await store.commit(StartEpoch(production.id, "epo_new"))

        assert before is not None
        assert await store.environment(production.id) == replace(before, epoch="epo_new")

    async def test_heads_are_told(self, store: Store) -> None:
        """Subscribers hear the new head revision of the environments that moved."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        heard: list[dict[str, int]] = []
        store.subscribe(lambda heads: heard.append(dict(heads)))

        await m.with_connection(store, shop)

        assert heard == [{production.id: 1}]

    async def test_heads_are_told_although_the_caller_went_away(self, store: Store) -> None:
        """A caller that is cancelled while its change is committed takes nothing from the others' news."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        heard: dict[str, int] = {}
        store.subscribe(heard.update)

        made = m.connection(shop, "a")
        await _abandoned(store, m.save(made))
        while await store.connection_by_id(made.id) is None:
            await asyncio.sleep(0.001)
        await store.commit(Record(m.entry()))

        assert heard == {production.id: 1}

    # replay

    async def test_a_used_key_is_replayed(self, store: Store) -> None:
        """The same Idempotency-Key again writes nothing and says what was committed."""
        production = await m.with_environment(store)
        made = m.connection(await m.with_project(store))
        first = await store.commit(m.save(made, key=m.once()))

        again = await store.commit(m.save(m.connection(m.project(), "other"), key=m.once()))

        assert again.replayed is not None
        assert again.replayed.deployments == tuple(deployment.id for deployment in first.deployments)
        assert (again.replayed.connection, again.replayed.generation) == (made.id, 1)
        assert len(await m.rows(store, production)) == 1

    async def test_concurrent_requests_with_one_key_have_one_effect(self, store: Store) -> None:
        """Fifty creates under one key, also in one batch: one is written, the others are its replay."""
        shop = await m.with_project(store)

        results = await together(store, [m.save(m.connection(shop), key=m.once()) for _ in range(50)])

        written = [result for result in results if isinstance(result, Committed) and result.replayed is None]
        replayed = [result for result in results if isinstance(result, Committed) and result.replayed]
        assert (len(written), len(replayed)) == (1, 49)

    async def test_a_key_is_used_up_only_by_success(self, store: Store) -> None:
        """A change that failed leaves no idempotency record."""
        shop = await m.with_project(store)
        await m.with_connection(store, shop)

        with pytest.raises(NameTaken):
            await store.commit(m.save(m.connection(shop), key=m.once()))

        assert await store.idempotency("tok_1", "k") is None

    async def test_a_key_is_one_token_s_own(self, store: Store) -> None:
        """Another token may use the same key for something else."""
        shop = await m.with_project(store)
        await store.commit(m.save(m.connection(shop, "a"), key=m.once()))

        other = await store.commit(m.save(m.connection(shop, "b"), key=replace(m.once(), token="tok_2")))

        assert other.replayed is None

    async def test_an_answer_is_remembered(self, store: Store) -> None:
        """What was answered under a key is what a replay gives."""
        made = m.connection(await m.with_project(store))
        await store.commit(m.save(made, key=m.once()))

        await store.commit(FinishIdempotency("tok_1", "k", "the answer"))

        found = await store.idempotency("tok_1", "k")
        assert found is not None and found.body == "the answer" and found.request_hash == b"request"

    async def test_a_replayed_update_and_delete_write_nothing(self, store: Store) -> None:
        """Update and delete are replayed like create."""
        made = await m.with_connection(store, await m.with_project(store))
        second = m.newer(made)
        update = m.change(second, was=made, key=m.once("update"))
        gone = m.delete(second, key=m.once("delete"))

        results = [await store.commit(change) for change in (update, update, gone, gone)]

        assert [result.replayed is not None for result in results] == [False, True, False, True]

    async def test_forgetting_drops_what_is_older(self, store: Store) -> None:
        """Idempotency records and deployments before the given instants go; the rest stays."""
        await m.with_environment(store)
        shop = await m.with_project(store)
        old, new = m.connection(shop, "old"), m.connection(shop, "new")
        await store.commit(m.save(old, key=m.once("old")))
        late = replace(m.save(new, key=replace(m.once("new"), at=m.AT + 10)), audit=replace(m.entry(), at=m.AT + 10))
        await store.commit(late)

        await store.commit(Forget(m.AT + 5, m.AT + 5))

        assert await store.idempotency("tok_1", "old") is None
        assert await store.idempotency("tok_1", "new") is not None
        assert await store.deployments(old.id, 10) == []
        assert len(await store.deployments(new.id, 10)) == 1

    # secrets

    async def test_an_update_writes_drops_and_keeps_secrets(self, store: Store) -> None:
        """Secrets that are given are replaced, dropped ones destroyed, all others stay as they were."""
        made = m.connection(await m.with_project(store))
        await store.commit(m.save(made, m.secret("a", b"a1"), m.secret("b", b"b1"), m.secret("c", b"c1")))

        await store.commit(m.change(m.newer(made), m.secret("a", b"a2"), was=made, dropped=("b",)))

        assert {found.key: found.sealed for found in await store.secrets(made.id)} == {"a": b"a2", "c": b"c1"}

    # audit

    async def test_every_mutation_is_audited_once(self, store: Store) -> None:
        """Each change that carries an audit entry leaves exactly that one, in the order of commits."""
        shop, production = m.project(), m.environment()
        made, other, ada = m.connection(shop), m.connection(shop, "other"), m.token()
        who, enrolment = m.worker(production), new_id("enr")
        changes: list[Change] = [
            CreateProject(shop, m.entry("create", "project", shop.id)),
            SaveEnvironment(production, True, m.entry("create", "environment", production.id)),
            m.save(made),
            m.save(other),
            m.change(m.newer(made), was=made),
            m.delete(m.newer(made)),
            CreateToken(ada, m.entry("create", "token", ada.id)),
            RevokeToken(ada.id, m.AT, m.entry("revoke", "token", ada.id)),
            CreateEnrolment(
                enrolment, production.id, b"enrol-hash", m.AT + 1, m.entry("create", "enrolment", enrolment)
            ),
            m.enrol(enrolment, who),
            ForgetWorker(who.id, m.entry("forget", "worker", who.id)),
            Record(m.entry("reveal", "connection", other.id)),
            m.delete(other),
            DeleteEnvironment(production, m.entry("delete", "environment", production.id)),
            DeleteProject(shop, m.entry("delete", "project", shop.id)),
        ]

        for change in changes:
            await store.commit(change)

        assert await m.audited(store) == [(change.audit.action, change.audit.noun_id) for change in changes]  # type: ignore[union-attr]

    async def test_a_replay_is_not_audited(self, store: Store) -> None:
        """A replayed request changed nothing, and stands in the audit once."""
        made = m.connection(await m.with_project(store))

        await store.commit(m.save(made, key=m.once()))
        await store.commit(m.save(made, key=m.once()))

        assert (await m.audited(store)).count(("create", made.id)) == 1

    async def test_audit_entries_keep_what_was_said(self, store: Store) -> None:
        """Who, when, from where, under which request, on what, and the names of what changed."""
        said = replace(
            m.entry("update", "connection", "con_1", "orders"),
            token="tok_1",
            project="prj_1",
            changed=("host", "port"),
            changes='{"host":{"old":"a","new":"b"}}',
        )

        await store.commit(Record(said))

        (found,) = await m.audit(store)
        del found["seq"]
        assert found == {
            "at": said.at, "actor": "ada", "token": "tok_1", "request_id": said.request_id, "address": "192.0.2.1",
            "action": "update", "noun": "connection", "noun_id": "con_1", "name": "orders", "project": "prj_1",
            "changed": ["host", "port"], "changes": {"host": {"old": "a", "new": "b"}},
        }  # fmt: skip

    # tokens

    async def test_a_token_is_read_as_it_was_made(self, store: Store) -> None:
        """Project, grants and expiry come back."""
        made = await m.with_token(store, project="prj_1", grants=frozenset({"a", "b"}), expires_at=m.AT)

        assert await store.token(made.id) == made

    async def test_a_revoked_token_reads_as_revoked(self, store: Store) -> None:
        """Also where it was read before, and the first revocation is the one that counts."""
        made = await m.with_token(store)
        await store.token(made.id)

        await store.commit(RevokeToken(made.id, m.AT + 1, m.entry()))
        await store.commit(RevokeToken(made.id, m.AT + 2, m.entry()))

        found = await store.token(made.id)
        assert found is not None and found.revoked_at == m.AT + 1

    async def test_a_revocation_counts_although_its_caller_went_away(self, store: Store) -> None:
        """A token does not live on in memory because the request that revoked it was cancelled."""
        made = await m.with_token(store)
        await store.token(made.id)

        await _abandoned(store, RevokeToken(made.id, m.AT, m.entry()))
        await store.commit(Record(m.entry()))
        found = await store.token(made.id)

        assert found is not None and found.revoked_at == m.AT

    async def test_last_use_is_written_down(self, store: Store) -> None:
        """For many tokens in one change; unknown ones are passed over."""
        one, two = await m.with_token(store), await m.with_token(store)

        await store.commit(TouchTokens({one.id: 5, two.id: 6, "tok_none": 7}))

        assert {found.id: found.last_used_at for found in await store.tokens()} == {one.id: 5, two.id: 6}

    # projects and environments

    async def test_a_project_with_connections_stays(self, store: Store) -> None:
        """Deleting it is a conflict until its connections are gone."""
        shop = await m.with_project(store)
        made = await m.with_connection(store, shop)

        with pytest.raises(Conflict):
            await store.commit(DeleteProject(shop, m.entry()))
        await store.commit(m.delete(made))
        await store.commit(DeleteProject(shop, m.entry()))

        assert await store.project("Shop") is None

    async def test_a_project_that_alone_binds_an_environment_stays(self, store: Store) -> None:
        """Deleting it would open the environment to every project."""
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        both = await m.with_environment(store, "both", projects=(shop.id, other.id))
        await m.with_environment(store, "alone", projects=(shop.id,))

        with pytest.raises(Conflict):
            await store.commit(DeleteProject(shop, m.entry()))
        await store.commit(DeleteProject(other, m.entry()))

        found = await store.environment(both.id)
        assert found is not None and found.projects == (shop.id,)

    async def test_a_deleted_project_is_forgotten_at_once(self, store: Store) -> None:
        """A project that was read before its deletion is not found after it."""
        shop = await m.with_project(store)
        await store.project("Shop")

        await store.commit(DeleteProject(shop, m.entry()))

        assert await store.project("Shop") is None

    async def test_an_environment_is_read_as_it_was_made(self, store: Store) -> None:
        """With its projects, by id and in the list."""
        shop = await m.with_project(store)
        made = await m.with_environment(store, projects=(shop.id,))

        assert await store.environment(made.id) == made
        assert await store.environments() == [made]

    async def test_a_renamed_environment_is_known_by_its_new_name(self, store: Store) -> None:
        """Names that were asked for before a rename are not remembered beyond it."""
        made = await m.with_environment(store, "old")
        await store.environment_names()

        await store.commit(SaveEnvironment(replace(made, name="new"), False, m.entry()))

        assert await store.environment_names() == {made.id: "new"}

    async def test_a_deleted_environment_takes_its_own_along(self, store: Store) -> None:
        """Desired state, workers, enrolments and deployments go with it; connections stay."""
        production = await m.with_environment(store)
        made = await m.with_connection(store, await m.with_project(store))
        enrolment, late = await m.with_enrolment(store, production), await m.with_enrolment(store, production)
        await store.commit(m.enrol(enrolment, m.worker(production)))

        await store.commit(DeleteEnvironment(production, m.entry()))

        assert await store.environments() == [] and await store.workers() == []
        assert await store.deployments(made.id, 10) == []
        assert await store.connection_by_id(made.id) == made
        with pytest.raises(Conflict):
            await store.commit(m.enrol(late, m.worker(production)))

    async def test_an_environment_that_is_gone_cannot_be_changed(self, store: Store) -> None:
        """A change that comes after the deletion is stale, and brings nothing back."""
        await m.with_connection(store, await m.with_project(store))
        production = await m.with_environment(store)
        await store.commit(DeleteEnvironment(production, m.entry()))

        with pytest.raises(Stale):
            await store.commit(SaveEnvironment(production, False, m.entry()))

        assert await store.environments() == []

    # workers

    async def test_an_enrolment_is_used_once(self, store: Store) -> None:
        """Of many workers that come with one enrolment at once, one is enrolled."""
        production = await m.with_environment(store)
        enrolment = await m.with_enrolment(store, production)

        results = await together(store, [m.enrol(enrolment, m.worker(production, f"w-{n}")) for n in range(20)])

        assert sum(isinstance(result, Committed) for result in results) == 1
        assert len(await store.workers()) == 1

    async def test_an_expired_enrolment_is_refused(self, store: Store) -> None:
        """From the instant of its expiry on."""
        production = await m.with_environment(store)
        enrolment = await m.with_enrolment(store, production, expires_at=m.AT)

        with pytest.raises(Conflict):
            await store.commit(m.enrol(enrolment, m.worker(production), at=m.AT))

        assert await store.workers() == []

    async def test_an_enrolment_is_for_one_environment(self, store: Store) -> None:
        """A worker of another environment cannot use it, and does not use it up."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        enrolment = await m.with_enrolment(store, production)

        with pytest.raises(Conflict):
            await store.commit(m.enrol(enrolment, m.worker(test)))
        await store.commit(m.enrol(enrolment, m.worker(production)))

        assert [found.environment for found in await store.workers()] == [production.id]

    async def test_an_enrolment_needs_its_secret(self, store: Store) -> None:
        """Its public id alone enrols nobody."""
        production = await m.with_environment(store)
        enrolment = await m.with_enrolment(store, production)

        with pytest.raises(Conflict):
            await store.commit(m.enrol(enrolment, m.worker(production), secret_hash=b"guessed"))

    async def test_what_was_heard_of_workers_is_kept(self, store: Store) -> None:
        """Incarnation, version, epoch, revision and lease of several workers in one change."""
        production = await m.with_environment(store)
        who = m.worker(production)
        await store.commit(m.enrol(await m.with_enrolment(store, production), who))
        heard = replace(
            who, incarnation="i", version="1", observed_epoch="e", observed_revision=7, lease_until=m.AT + 40_000
        )

        await store.commit(SeeWorkers([heard, m.worker(production, "nobody")]))

        assert await store.workers() == [heard] and await store.worker(who.id) == heard

    async def test_a_forgotten_worker_is_gone(self, store: Store) -> None:
        """Neither found nor listed."""
        production = await m.with_environment(store)
        who = m.worker(production)
        await store.commit(m.enrol(await m.with_enrolment(store, production), who))

        await store.commit(ForgetWorker(who.id, m.entry()))

        assert await store.worker(who.id) is None and await store.workers() == []

    # keys and bookkeeping

    async def test_data_keys_come_oldest_first(self, store: Store) -> None:
        """The newest seals, so their order matters."""
        second, first = DataKey("key_b", b"2", 2), DataKey("key_a", b"1", 1)
        await store.commit(SaveDataKey(second))
        await store.commit(SaveDataKey(first))

        assert await store.data_keys() == [first, second]

    async def test_the_first_environment_key_stays(self, store: Store) -> None:
        """Of several made at once, all are told the same one."""
        changes: list[Change] = [SaveEnvironmentKey("env_1", f"ekey_{n}", bytes([n]), "key_1") for n in range(5)]

        await together(store, changes)

        assert await store.environment_key("env_1") == ("ekey_0", b"\0", "key_1")

    async def test_meta_is_replaced(self, store: Store) -> None:
        """A value set again is the new one; one never set is None."""
        await store.commit(SetMeta("lineage", "a"))
        await store.commit(SetMeta("lineage", "b"))

        assert await store.meta("lineage") == "b" and await store.meta("other") is None

    # lists

    async def test_documents_come_by_name_key(self, store: Store) -> None:
        """All of a project, of a type where asked for, beyond a name where asked for, at most as many as asked for."""
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        for name in ("b", "A", "ç", "C"):
            await m.with_connection(store, shop, name, type="kafka" if name == "b" else "email")
        await m.with_connection(store, other, "a0")

        assert await m.documents(store, shop) == ["a", "b", "c", "ç"]
        assert await m.documents(store, shop, type_name="email") == ["a", "c", "ç"]
        assert await m.documents(store, shop, after="a", limit=2) == ["b", "c"]
        assert await m.documents(store, shop, limit=0) == []

    async def test_a_long_list_is_whole(self, store: Store) -> None:
        """More connections than a store reads at a time come once each, in order."""
        shop = await m.with_project(store)
        await together(store, [m.save(m.connection(shop, f"c{n:04}")) for n in range(1203)])

        assert await m.documents(store, shop) == [f"c{n:04}" for n in range(1203)]

    async def test_a_list_that_changes_meanwhile_shows_what_stays_once(self, store: Store) -> None:
        """Connections that come and go while a list is read neither repeat nor hide those that stay."""
        shop = await m.with_project(store)
        await together(store, [m.save(m.connection(shop, f"c{n:04}")) for n in range(0, 1200, 2)])
        seen = []

        async for key, _ in store.documents(shop.id):
            seen.append(key)
            if len(seen) == 1:
                await together(store, [m.save(m.connection(shop, f"c{n:04}")) for n in range(1, 1200, 2)])

        assert len(set(seen)) == len(seen)
        assert {f"c{n:04}" for n in range(0, 1200, 2)} <= set(seen)

    @pytest.mark.parametrize(
        ("order", "descending", "expected"),
        [
            ("name", False, ["a", "b", "c"]),
            ("name", True, ["c", "b", "a"]),
            ("type", False, ["c", "a", "b"]),
            ("createdAt", False, ["b", "c", "a"]),
            ("updatedAt", True, ["a", "c", "b"]),
        ],
    )
    async def test_pages_are_ordered(self, store: Store, order: str, descending: bool, expected: list[str]) -> None:
        """By name, type, creation or change, either way."""
        shop = await m.with_project(store)
        for name, kind, at in (("a", "b-type", 3), ("b", "c-type", 1), ("c", "a-type", 2)):
            await m.with_connection(store, shop, name, type=kind, created_at=at, updated_at=at)

        found = await store.page(shop.id, None, order, descending, 0, 10)

        assert found == [f'{{"name":"{name}"}}' for name in expected]

    async def test_a_page_is_a_part(self, store: Store) -> None:
        """Offset and limit cut it out; beyond the end there is nothing."""
        shop = await m.with_project(store)
        for name in "abcde":
            await m.with_connection(store, shop, name)

        assert await store.page(shop.id, None, "name", False, 1, 2) == ['{"name":"b"}', '{"name":"c"}']
        assert await store.page(shop.id, "kafka", "name", False, 0, 2) == []
        assert await store.page(shop.id, None, "name", False, 10, 2) == []

    async def test_deployments_are_found(self, store: Store) -> None:
        """By connection, and by id."""
        await m.with_environment(store)
        made = m.connection(await m.with_project(store))
        committed = await store.commit(m.save(made))

        assert tuple(await store.deployments(made.id, 10)) == committed.deployments
        assert await store.deployment(committed.deployments[0].id) == committed.deployments[0]

    # batches

    async def test_a_failing_change_takes_nothing_else_along(self, store: Store) -> None:
        """Many kinds of changes at once, every third of which fails: what succeeds is whole, what fails left nothing."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        taken = await m.with_connection(store, shop, "taken")
        full = await m.with_project(store, "Full")
        await m.with_connection(store, full, "in-it")
        good: list[Change] = []
        bad: list[Change] = []
        for n in range(40):
            ada, place = m.token(), m.environment(f"place-{n}", projects=(shop.id,))
            good += [
                m.save(m.connection(shop, f"c{n}"), m.secret("a"), m.secret("b")),
                CreateProject(m.project(f"p{n}"), m.entry("create", "project", f"p{n}")),
                CreateToken(ada, m.entry("create", "token", ada.id)),
                SaveEnvironment(place, True, m.entry("create", "environment", place.id)),
                Record(m.entry("reveal", "connection", f"r{n}")),
                SetMeta(f"m{n}", "v"),
            ]
            bad += [
                m.save(m.connection(shop, "TAKEN"), m.secret("bad")),
                CreateProject(m.project("Shop"), m.entry("bad", "project")),
                SaveEnvironment(m.environment("production"), True, m.entry("bad", "environment")),
                DeleteProject(full, m.entry("bad", "project")),
                m.change(m.newer(taken, generation=9), m.secret("bad"), was=replace(taken, generation=8)),
                m.enrol("enr_none", m.worker(production)),
            ]
        mixed = [*good, *bad]
        random.Random(7).shuffle(mixed)

        results = dict(zip(map(id, mixed), await together(store, mixed), strict=True))

        assert all(isinstance(results[id(change)], Committed) for change in good)
        assert all(isinstance(results[id(change)], MooringError) for change in bad)
        created = [change.connection.id for change in good if hasattr(change, "connection")]
        assert {len(await store.secrets(found)) for found in created} == {2}
        assert {len(await store.deployments(found, 200)) >= 1 for found in created} == {True}
        wanted = sorted((change.audit.action, change.audit.noun_id) for change in good if hasattr(change, "audit"))
        assert sorted((await m.audited(store))[-len(wanted) :]) == wanted
        for place in await store.environments():
            assert place.digest == await m.recomputed(store, place)
            revisions = sorted(row[0] for row in (await m.rows(store, place)).values())
            assert revisions == list(range(1, place.head_revision + 1))
        assert await store.secrets(taken.id) == [m.secret()]

    async def test_a_connection_may_change_twice_in_a_batch(self, store: Store) -> None:
        """Created, changed twice and deleted without waiting in between: each change sees the one before."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        kept, gone = m.connection(shop, "kept"), m.connection(shop, "gone")
        second, third = m.newer(kept), m.newer(m.newer(kept))

        results = await together(
            store,
            [
                m.save(kept, m.secret("a", b"1"), m.secret("b", b"1")),
                m.save(gone, m.secret()),
                m.change(second, m.secret("a", b"2"), was=kept),
                m.delete(gone),
                m.change(third, m.secret("a", b"3"), was=second, dropped=("b",)),
            ],
        )

        assert [type(result) for result in results] == [Committed] * 5
        assert {found.key: found.sealed for found in await store.secrets(kept.id)} == {"a": b"3"}
        assert await store.secrets(gone.id) == []
        assert await m.rows(store, production) == {kept.id: (5, 3, True), gone.id: (4, 2, False)}
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_a_change_that_cannot_be_stored_harms_no_other(self, store: Store) -> None:
        """A value that no column takes fails its own change; the batch and what follows are well."""
        production = await m.with_environment(store)
        shop = await m.with_project(store)
        beyond = replace(m.worker(production), observed_revision=2**70)
        surrogate = m.connection(shop, "odd", document="\ud800")

        results = await together(
            store,
            [m.save(m.connection(shop, "a")), SeeWorkers([beyond]), m.save(surrogate), m.save(m.connection(shop, "b"))],
        )
        await m.with_connection(store, shop, "c")

        assert [isinstance(result, Committed) for result in results] == [True, False, False, True]
        assert all(isinstance(result, MooringError) for result in results[1:3])
        assert await m.documents(store, shop) == ["a", "b", "c"]
        assert sorted(row[0] for row in (await m.rows(store, production)).values()) == [1, 2, 3]

    async def test_many_of_all_kinds_agree_in_the_end(self, store: Store) -> None:
        """Concurrent creates, changes, renames, deletes, bindings: rows, digest and revisions agree."""
        chance = random.Random(11)
        one, two = await m.with_project(store, "One"), await m.with_project(store, "Two")
        places = [await m.with_environment(store, f"place-{n}") for n in range(3)]

        async def work(number: int) -> None:
            made = m.connection(chance.choice((one, two)), f"c{number % 30}", deploy=chance.random() < 0.8)
            try:
                await store.commit(m.save(made, m.secret()))
                for _ in range(chance.randrange(4)):
                    was, made = made, m.newer(made, deploy=chance.random() < 0.7)
                    await store.commit(m.change(made, m.secret("password", b"new"), was=was))
                if chance.random() < 0.5:
                    await store.commit(m.delete(made))
            except MooringError:
                return

        async def bind(place: m.Environment) -> None:
            for _ in range(6):
                bound = chance.choice(((), (one.id,), (two.id,), (one.id, two.id)))
                status = chance.choice(("PUBLISHED", "UNPUBLISHED"))
                await store.commit(SaveEnvironment(replace(place, projects=bound, status=status), False, m.entry()))

        await asyncio.gather(*(work(n) for n in range(150)), *(bind(place) for place in places))

        deployed = {}
        for project in (one, two):
            for key in await m.documents(store, project):
                found = await store.connection(project.id, key)
                assert found is not None
                deployed[found.id] = found
        for place in await store.environments():
            may = {
                found.id
                for found in deployed.values()
                if found.deploy
                and place.status != "UNPUBLISHED"
                and (not place.projects or found.project in place.projects)
            }
            rows = await m.rows(store, place)
            assert {connection for connection, row in rows.items() if row[2]} == may
            assert all(rows[connection][1] == deployed[connection].generation for connection in may)
            assert place.digest == await m.recomputed(store, place)
            revisions = [row[0] for row in rows.values()]
            assert len(set(revisions)) == len(revisions) and max(revisions, default=0) <= place.head_revision
