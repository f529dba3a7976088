"""A limit on tests: each makes a worker dial somewhere, so they come one by one and not as a flood."""

from __future__ import annotations

from collections.abc import Hashable

from mooring.domain.names import name_key
from mooring.domain.records import Actor
from mooring.errors import RateLimited
from mooring.kit.rates import Buckets, Rate, whole_seconds


class Flood:
    """Counts tests on this node: of each token, project and connection; without a rate there is no limit."""

    def __init__(self, rate: Rate | None) -> None:
        self._buckets = Buckets(rate) if rate is not None else None

    def check(self, actor: Actor, project_id: str, name: str) -> None:
        """
        Take one test, which the actor may make. Raises `RateLimited`.

        To be asked after permissions: nobody uses up what belongs to a project that they may not test in.
        """
        if self._buckets is None:
            return
        taken: list[Hashable] = []
        for key in (("token", actor.token or actor.name), ("project", project_id), (project_id, name_key(name))):
            wait_s = self._buckets.take(key)
            if wait_s:
                for earlier in taken:
                    self._buckets.give_back(earlier)
                raise RateLimited(whole_seconds(wait_s))
            taken.append(key)
