"""
What a client may ask how often, before anything is done for it.

Everything is counted in this process: with several nodes, each has counts of its own, and the limits of all together
are as many times as high.
"""

from __future__ import annotations

from mooring.domain.records import Actor
from mooring.errors import RateLimited
from mooring.kit.addresses import limit_key
from mooring.kit.log import log
from mooring.kit.rates import Buckets, Failures, Rate, whole_seconds
from mooring.kit.tokens import parse_token


class Limits:
    """
    The limits of one node. Each is off where it is not given.

    *failures* is how many failed authentications an address, and a name, has free in a minute; *per_token* and
    *per_address* are for requests of every kind. Tests of connections are limited in `mooring.control.flood`.
    """

    def __init__(
        self,
        *,
        failures: int | None = None,
        per_token: Rate | None = None,
        per_address: Rate | None = None,
    ) -> None:
        self._addresses = Failures(failures) if failures else None
        self._names = Failures(failures) if failures else None
        self.per_token = Buckets(per_token) if per_token else None
        self.per_address = Buckets(per_address) if per_address else None

    def check_address(self, address: str) -> None:
        """Take one request of *address*; only asked where `per_address` is on. Raises `RateLimited`."""
        if self.per_address is not None:
            _refuse(self.per_address.take(limit_key(address)))

    def check_token(self, actor: Actor) -> None:
        """Take one request of the actor's token; only asked where `per_token` is on. Raises `RateLimited`."""
        if self.per_token is not None:
            _refuse(self.per_token.take(actor.token))

    def check_failures(self, address: str) -> None:
        """
        Refuse an address that failed too often. Raises `RateLimited`.

        For routes where telling a right credential from a wrong one is dear, or needs the body.
        """
        if self._addresses is not None:
            _refuse(self._addresses.blocked(limit_key(address)))

    def check_name(self, address: str, name: str) -> None:
        """
        Refuse to try a password of *name*, which failed too often, from wherever. Raises `RateLimited`.

        An address without failures of its own has one try nevertheless: nobody can lock another out by failing for them.
        """
        if self._names is not None and self._addresses is not None and self._addresses.count(limit_key(address)):
            _refuse(self._names.blocked(name))

    def failed(self, address: str, name: str | None) -> None:
        """
        An authentication failed. Raises `RateLimited` in place of the answer, where there were too many.

        A token that is right was let through before: telling costs less than counting, so a noisy neighbour behind the
        same address shuts nobody out.
        """
        if self._addresses is None or self._names is None:
            return
        key = limit_key(address)
        wait_s = max(self._addresses.blocked(key), self._names.blocked(name) if name else 0.0)
        if wait_s:
            _refuse(wait_s)
        self._addresses.add(key)
        if name:
            self._names.add(name)
        if self._addresses.blocked(key):
            log.warning("authentication_limited", address=address)


def name_of(credential: str) -> str | None:
    """The public id of the token *credential*, for counting; None where it has not the form of one."""
    parts = parse_token(credential)
    return None if parts is None else parts.id


def _refuse(wait_s: float) -> None:
    if wait_s:
        raise RateLimited(whole_seconds(wait_s))
