"""
The chain that audit entries hang on: one link for each commit batch, under a key that the database does not hold.

A link covers the records *first* to *last*. It holds a short tag of each of them, and a mac over its own values and
the mac of the link before. So a record that was changed is named by its tag; one that was removed or added by its
number; a link that was changed, removed or put elsewhere by the mac of the next. Only the end of the chain can be cut
off without a trace in the database: that is what a *head*, kept elsewhere, shows.

Whoever writes the database and has no key cannot make any of it. Pure: every store writes, and reads, with this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic_core import to_json

from mooring.kit.record import record

KEY_BYTES = 32
TAG_BYTES = 8
MAC_BYTES = 32
MAX_COVERED = 10_000
"""How many records a link may cover. What an earlier version left without a chain is anchored in pieces of this size."""

Row = Sequence[Any]
"""The columns of a record after its number, as they are stored: see `COLUMNS`."""

COLUMNS = (
    "at", "actor", "token", "request_id", "address", "action", "noun", "noun_id", "name", "project", "changed", "changes",
)  # fmt: skip


@record
class Link:
    """One link of the chain. `at` is when its batch was written, in milliseconds since 1970."""

    first: int
    last: int
    at: int
    tags: bytes
    mac: bytes

    def is_well_formed(self) -> bool:
        """Whether its values are of the kinds that links have; in a database that others write they may be any."""
        return [type(value) for value in (self.first, self.last, self.at, self.tags, self.mac)] == [
            int, int, int, bytes, bytes,
        ]  # fmt: skip


@record
class Head:
    """Where the chain ends: the number of its last record, and the mac of its last link. Empty: 0 and nothing."""

    seq: int
    at: int
    mac: bytes


EMPTY = Head(0, 0, b"")


@record
class Verdict:
    """
    What a check of the chain found.

    `entries` and `links` were found to be right, up to `head`. `wrong` is None, or says what the first bad record is
    and what is wrong with it; `seq` is its number.
    """

    entries: int
    links: int
    head: Head
    wrong: str | None = None
    seq: int | None = None


class Chain:
    """Makes links and checks them, under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        # Copies of a keyed state: the key is not worked in again for every record.
        self._tagging = hashlib.blake2b(key=key, digest_size=TAG_BYTES, person=b"audit record")
        self._linking = hashlib.blake2b(key=key, digest_size=MAC_BYTES, person=b"audit link")

    def link(self, before: Head, rows: Sequence[Row], at: int) -> Link:
        """The link for *rows*, which are the records after *before*."""
        first = before.seq + 1
        tags = b"".join(self._tag(seq, row) for seq, row in enumerate(rows, first))
        last = before.seq + len(rows)
        return Link(first, last, at, tags, self._mac(before.mac, first, last, at, tags))

    def verify(self, links: Iterable[Link], records: Iterable[tuple[int, Row]], kept: Head | None = None) -> Verdict:
        """
        Check *records* (number, columns) against *links*, both in the order of their numbers, and both against a *kept* head.

        It stops at the first that is wrong: nothing after it can be relied on.
        """
        walk = _Walk(iter(records))
        head, count, seen = EMPTY, 0, kept is None or kept.seq == 0
        for link in links:
            wrong = self._wrong(link, head, walk)
            if wrong is not None:
                return Verdict(head.seq, count, head, wrong[1], wrong[0])
            head, count = Head(link.last, link.at, link.mac), count + 1
            if kept is not None and head.seq == kept.seq:
                if head.mac != kept.mac:
                    told = f"record {kept.seq} ends a link that is not the one of the kept head: the audit was written anew"
                    return Verdict(head.seq, count, head, told, kept.seq)
                seen = True
        if not seen and kept is not None and head.seq > kept.seq:
            told = f"no link ends at record {kept.seq}, as that of the kept head did: the audit was written anew"
            return Verdict(head.seq, count, head, told, kept.seq)
        if not seen and kept is not None:
            told = f"the kept head says that there is a record {kept.seq}; the chain ends at {head.seq}: its end was cut off"
            return Verdict(head.seq, count, head, told, head.seq + 1)
        following = walk.take(None)
        if following is not None:
            told = f"record {following[0]} hangs on no link: it was added from outside, or its link was removed"
            return Verdict(head.seq, count, head, told, following[0])
        return Verdict(head.seq, count, head)

    def _wrong(self, link: Link, head: Head, walk: _Walk) -> tuple[int, str] | None:
        """The number of the first bad record that *link* covers, and what is wrong."""
        first = head.seq + 1
        if not link.is_well_formed():
            return first, f"the link that record {first} hangs on was changed"
        if link.first != first:
            told = f"the link that record {first} hangs on is missing: the next one begins at {link.first}"
            return first, told
        if link.last < link.first or len(link.tags) != TAG_BYTES * (link.last - link.first + 1):
            return first, f"the link that record {first} hangs on was changed"
        if link.mac != self._mac(head.mac, link.first, link.last, link.at, link.tags):
            return first, f"the link that record {first} hangs on was changed, or stands in another's place"
        for place, seq in enumerate(range(link.first, link.last + 1)):
            found = walk.take(seq)
            if found is None:
                extra = walk.before(seq)
                if extra is not None:
                    return extra, f"record {extra} hangs on no link: it was added from outside"
                return seq, f"record {seq} is missing"
            if (
                not _is_well_formed(found[1])
                or self._tag(seq, found[1]) != link.tags[place * TAG_BYTES : (place + 1) * TAG_BYTES]
            ):
                return seq, f"record {seq} was changed"
        return None

    def _tag(self, seq: int, row: Row) -> bytes:
        digest = self._tagging.copy()
        digest.update(to_json((seq, *row)))
        return digest.digest()

    def _mac(self, before: bytes, first: int, last: int, at: int, tags: bytes) -> bytes:
        digest = self._linking.copy()
        digest.update(b"%d|%d|%d|%d|" % (len(before), first, last, at))
        digest.update(before)
        digest.update(tags)
        return digest.digest()


def _is_well_formed(row: Row) -> bool:
    """Whether the values are of the kinds that entries have: bytes would look to a tag like the text that they spell."""
    return all(value is None or type(value) in (str, int) for value in row)


class _Walk:
    """Records in the order of their numbers, one at a time."""

    def __init__(self, records: Iterator[tuple[int, Row]]) -> None:
        self._records = records
        self._next: tuple[int, Row] | None = next(records, None)

    def before(self, seq: int) -> int | None:
        """The number of the next record, where that comes before *seq*."""
        return self._next[0] if self._next is not None and self._next[0] < seq else None

    def take(self, seq: int | None) -> tuple[int, Row] | None:
        """The next record, where it has that number (None: whatever its number)."""
        found = self._next
        if found is None or (seq is not None and found[0] != seq):
            return None
        self._next = next(self._records, None)
        return found
