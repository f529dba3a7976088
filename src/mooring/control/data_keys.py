"""
The life of data keys: another one seals from now on, what older ones sealed is sealed anew, then they are destroyed.

It goes on beside everything else, through the same writer as everybody's changes, and where it was broken off the
next start goes on. What workers hold does not change, so no worker hears of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from mooring.control.access import require
from mooring.control.auditing import entry
from mooring.control.tokens import system_actor
from mooring.domain.records import Actor, DataKey
from mooring.domain.sealed_places import SEALED_PLACES, SealedPlace
from mooring.errors import Conflict, NotPermitted, SealError
from mooring.kit.log import log
from mooring.kit.record import record
from mooring.seal.envelope import Ring
from mooring.seal.keys import KeyProvider
from mooring.seal.opening import new_data_key
from mooring.store.base import DestroyDataKey, Reseal, RotateDataKey, SealedRow, Store

GRANT = "seal:manage"
AGAIN_S = 60.0
MAX_NAMED = 20
IDLE_ROUNDS = 2
"""A round that moved nothing may have met a write that came in behind it; several have met what cannot be opened."""


@record
class KeyStanding:
    """A data key, and how many values are sealed with it; of those, so many cannot be opened."""

    key: DataKey
    sealed: int
    unreadable: int


class DataKeys:
    """Lists and rotates data keys; `run` does the work that a rotation leaves."""

    def __init__(self, store: Store, ring: Ring, provider: KeyProvider) -> None:
        self._store, self._ring, self._provider = store, ring, provider
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._unreadable: Counter[str] = Counter()

    async def list_all(self, actor: Actor) -> list[KeyStanding]:
        """Every data key, oldest first. Raises `NotPermitted`."""
        _may(actor)
        counts = await self._store.seal_counts()
        return [
            KeyStanding(each, counts.get(each.id, 0), self._unreadable[each.id])
            for each in await self._store.data_keys()
            if not each.is_root
        ]

    async def rotate(self, actor: Actor) -> None:
        """
        Make another data key, which seals from now on; those that were there are retired, emptied and destroyed.

        Raises `NotPermitted`, and `KeyUnavailable` where the master key is out of reach.
        """
        _may(actor)
        # Whoever asked may go away: a key that is stored must be the one that seals.
        await asyncio.shield(asyncio.create_task(self._rotate(actor)))

    async def _rotate(self, actor: Actor) -> None:
        async with self._one_at_a_time:
            key, opened = await new_data_key(self._provider)
            await self._store.commit(RotateDataKey(key, entry(actor, "rotate", "data-key", key.id, key.id)))
            self._ring.add(key.id, opened)
        log.info("data_key_rotated", key=key.id)
        self._asked.set()

    async def run(self) -> None:
        """For ever: finish what rotations leave, those of earlier runs too."""
        while True:
            self._asked.clear()
            try:
                done = await self.finish()
            except Exception as exc:  # the edge of a task: the next round may work
                log.error("rotation_stopped", error=type(exc).__name__, message=str(exc)[:200])
                done = False
            if done:
                await self._asked.wait()
                continue
            try:
                async with asyncio.timeout(AGAIN_S):
                    await self._asked.wait()
            except TimeoutError:
                pass

    async def finish(self) -> bool:
        """Until nothing is sealed with a retired key and those are destroyed. False where values cannot be opened."""
        idle = 0
        while retired := [each for each in await self._store.data_keys() if each.retired_at is not None]:
            idle = 0 if await self._seal_anew() else idle + 1
            counts = await self._store.seal_counts()
            for key in retired:
                if not counts.get(key.id):
                    await self._destroy(key)
            left = sum(counts.get(key.id, 0) for key in retired)
            if left and idle > IDLE_ROUNDS:
                log.error("rotation_incomplete", left=left, hint="Send the secrets again that cannot be opened.")
                return False
        return True

    async def _destroy(self, key: DataKey) -> None:
        try:
            await self._store.commit(
                DestroyDataKey(key.id, entry(system_actor(), "destroy", "data-key", key.id, key.id))
            )
        except Conflict:  # a write that had been on its way came in; the next round seals it anew
            return
        self._ring.forget(key.id)
        log.info("data_key_destroyed", key=key.id)

    async def _seal_anew(self) -> int:
        """Go once through everything that is sealed with another key than the active one. How many were sealed anew."""
        self._unreadable.clear()
        moved = 0
        for place in SEALED_PLACES:
            after: tuple[str, ...] = ()
            while rows := await self._store.sealed_rows(place, but=self._ring.active, after=after, limit=place.batch):
                after = rows[-1].keys
                pairs = [(row, anew) for row in rows if (anew := self._anew(place, row)) is not None]
                if pairs:
                    await self._store.commit(Reseal(place, pairs))
                    moved += len(pairs)
        return moved

    def _anew(self, place: SealedPlace, row: SealedRow) -> SealedRow | None:
        """The value of *row* under the active key; None where it cannot be opened."""
        bound = place.bound_to(dict(zip(place.keys, row.keys, strict=True)))
        try:
            value = self._ring.unseal(row.sealed, key_id=row.key_id, **bound)
        except SealError as exc:
            self._unreadable[row.key_id] += 1
            if self._unreadable.total() <= MAX_NAMED:
                log.error("not_sealed_anew", table=place.table, **bound, reason=exc.message)
            return None
        return SealedRow(row.keys, self._ring.seal(value, **bound), self._ring.active)


def _may(actor: Actor) -> None:
    require(actor, GRANT)
    if actor.project is not None:
        raise NotPermitted(
            "You do not have permission to perform this action", hint="The token is good for one project only."
        )
