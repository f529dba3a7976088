"""Passwords of users: hashed with Argon2id, on threads of their own, so that nobody else waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

T = TypeVar("T")

THREADS = 2
MIN_LENGTH = 10
MAX_LENGTH = 512


class Passwords:
    """
    Makes hashes and compares with them.

    At most `THREADS` at a time, each with the memory that Argon2id takes (64 MiB); a crowd waits for its turn.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(THREADS, "mooring-passwords")
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep of *password*."""
        return await self._run(self._hasher.hash, password)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether *kept* is that of *password*. Without a hash there is no match, which takes the same time to say."""
        if len(password) > MAX_LENGTH:
            return False
        if kept is None:
            if self._nobodys is None:
                self._nobodys = await self.hash("nobody's")
            await self._run(self._verify, self._nobodys, password)
            return False
        return await self._run(self._verify, kept, password)

    def close(self) -> None:
        """Nothing is hashed any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[..., T], *values: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *values)
