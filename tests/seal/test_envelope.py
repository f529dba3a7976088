"""Sealed values open in their place, with their key, whole; and in no other way."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.domain.records import AuditFilter, DataKey
from mooring.errors import KeyUnavailable, SealError, Tampered, Unavailable, UnknownSeal
from mooring.kit.aead import new_key
from mooring.kit.settings import Settings
from mooring.seal.envelope import LockedRing, Ring
from mooring.seal.keys import GivenKey
from mooring.seal.opening import new_data_key, open_ring
from mooring.serve import opened_plane
from mooring.store.base import SaveDataKey, Store
from mooring.store.sqlite import SqliteStore
from tests.support.plane import DEV_PROJECT, client_of, connection_path, opened_here, webhook

MASTER = bytes(range(32))


def given_key(master: bytes) -> GivenKey:
    return GivenKey(base64.b64encode(master).decode())


def made_key(*, is_root: bool = False) -> DataKey:
    """A data key, wrapped by MASTER."""
    key, _ = asyncio.run(new_data_key(given_key(MASTER)))
    return replace(key, is_root=is_root)


def ring_of(*keys: DataKey, master: bytes = MASTER) -> Ring:
    return asyncio.run(open_ring(given_key(master), [ROOT, *keys]))


ROOT, KEY = made_key(is_root=True), made_key()
KEY_ID = KEY.id
RING = ring_of(KEY)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def unsealed(sealed: bytes, *, connection: str = "con_1", key: str = "password", ring: Ring = RING) -> str:
    return ring.unseal(sealed, key_id=KEY_ID, connection=connection, key=key)


@given(TEXT, TEXT, TEXT)
def test_what_was_sealed_opens(value: str, connection: str, key: str) -> None:
    """Every text, in every place, comes back."""
    sealed = RING.seal(value, connection=connection, key=key)

    assert unsealed(sealed, connection=connection, key=key) == value


@given(st.text(min_size=4, alphabet=st.characters(min_codepoint=33, max_codepoint=126)))
def test_the_sealed_form_does_not_hold_the_value(value: str) -> None:
    """Nothing of it stands in the clear."""
    assert value.encode() not in RING.seal(value, connection="con_1", key="password")


def test_the_same_value_is_sealed_differently_each_time() -> None:
    """Equal secrets do not look equal in the database."""
    assert len({RING.seal("same", connection="con_1", key="password") for _ in range(1000)}) == 1000


@given(st.sampled_from(["con_2", "", "CON_1"]), st.sampled_from(["password", "username"]))
def test_a_value_moved_to_another_connection_does_not_open(connection: str, key: str) -> None:
    """The row of another connection is another place."""
    sealed = RING.seal("value", connection="con_1", key=key)

    with pytest.raises(Tampered):
        unsealed(sealed, connection=connection, key=key)


@given(st.sampled_from(["passwor", "password2", "headerList/authorization", ""]))
def test_a_value_moved_to_another_field_does_not_open(key: str) -> None:
    """Another field of the same connection is another place."""
    sealed = RING.seal("value", connection="con_1", key="password")

    with pytest.raises(Tampered):
        unsealed(sealed, key=key)


@given(TEXT, st.data())
def test_a_cut_value_does_not_open(value: str, data: st.DataObject) -> None:
    """However much of its end is missing."""
    sealed = RING.seal(value, connection="con_1", key="password")

    with pytest.raises(Tampered):
        unsealed(sealed[: data.draw(st.integers(1, len(sealed) - 1))])


@given(TEXT, st.data())
def test_a_flipped_bit_does_not_open(value: str, data: st.DataObject) -> None:
    """Whichever it is; one in the first byte makes a form that nobody knows."""
    sealed = bytearray(RING.seal(value, connection="con_1", key="password"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(UnknownSeal if at == 0 else Tampered):
        unsealed(bytes(sealed))


@given(st.binary(max_size=100))
def test_bytes_from_elsewhere_do_not_open(junk: bytes) -> None:
    """Whatever stands in the column, the answer is an error of the seal's own."""
    with pytest.raises(SealError):
        unsealed(junk)


def test_a_form_of_the_future_is_named_so() -> None:
    """The first byte is the version; an unknown one is not called tampering."""
    with pytest.raises(UnknownSeal):
        unsealed(b"\x02" + RING.seal("value", connection="con_1", key="password")[1:])


def test_a_key_that_is_not_in_the_ring_is_named_so() -> None:
    """A value sealed by a data key that is not there says that, and not that it was changed."""
    sealed = RING.seal("value", connection="con_1", key="password")

    with pytest.raises(KeyUnavailable):
        RING.unseal(sealed, key_id="key_other", connection="con_1", key="password")


def test_a_value_of_another_data_key_does_not_open() -> None:
    """The id of the data key is part of the place."""
    ring = ring_of(KEY, made_key())
    sealed = ring.seal("value", connection="con_1", key="password")

    with pytest.raises(Tampered):
        unsealed(sealed, ring=ring)


def test_the_newest_data_key_seals_and_older_ones_still_open() -> None:
    """What was sealed before a new data key came still opens."""
    old = RING.seal("old", connection="con_1", key="password")
    second = made_key()

    ring = ring_of(KEY, second)

    assert ring.active == second.id
    assert unsealed(old, ring=ring) == "old"


def test_another_master_key_opens_no_ring() -> None:
    """The error says which key was wrong, and what to do."""
    with pytest.raises(KeyUnavailable, match="from MOORING_MASTER_KEY is not the one") as raised:
        ring_of(KEY, master=new_key())

    assert raised.value.hint


def test_a_data_key_under_another_name_does_not_open() -> None:
    """A wrapped data key is bound to its id."""
    with pytest.raises(KeyUnavailable):
        ring_of(replace(KEY, id="key_other"))


def test_an_error_shows_no_value() -> None:
    """Neither the secret nor the ciphertext stands in the message."""
    sealed = RING.seal("s3cret-value", connection="con_1", key="password")

    with pytest.raises(Tampered) as raised:
        unsealed(sealed + b"x")

    assert "s3cret-value" not in f"{raised.value} {raised.value.hint}" and sealed.hex() not in str(raised.value)


def test_a_fingerprint_tells_values_apart() -> None:
    """Four hex digits, the same for the same value."""
    one, again, other = [RING.fingerprint(value, connection="con_1", key="password") for value in ("a", "a", "b")]

    assert one == again != other and len(one) == 4 and int(one, 16) >= 0


def test_a_fingerprint_is_bound_to_its_place() -> None:
    """The same value elsewhere has another one: nobody learns that two connections share a password."""
    places = [("con_1", "password"), ("con_2", "password"), ("con_1", "username")]

    assert len({RING.fingerprint("same", connection=connection, key=key) for connection, key in places}) == 3


def test_fingerprints_are_keyed() -> None:
    """Under another root the same value has other fingerprints: they are no oracle for guessing."""
    other = asyncio.run(open_ring(given_key(MASTER), [made_key(is_root=True), KEY]))

    ours, theirs = [[ring.fingerprint(str(n), connection="c", key="k") for n in range(20)] for ring in (RING, other)]

    assert ours != theirs


def test_request_hashes_and_receipts_are_keyed_apart() -> None:
    """One cannot be passed off as the other."""
    assert RING.request_hash(b"w|e|1").hex() != RING.receipt("w", "e", 1)


@given(st.tuples(TEXT, TEXT, st.integers(0, 2**53)), st.tuples(TEXT, TEXT, st.integers(0, 2**53)))
def test_receipts_differ_where_worker_epoch_or_revision_differ(
    a: tuple[str, str, int], b: tuple[str, str, int]
) -> None:
    """Ids hold no separator, so that no two receipts coincide."""
    clean_a, clean_b = [(x.replace("|", ""), y.replace("|", ""), n) for x, y, n in (a, b)]

    assert (RING.receipt(*clean_a) == RING.receipt(*clean_b)) == (clean_a == clean_b)


def test_the_content_hash_depends_on_all_that_is_in_it() -> None:
    """On the public half, on each secret and its place, on whose they are; and nothing can be cut otherwise."""
    hashes = [
        RING.content_hash(b"public", {"a": "1", "b": "2"}, owner="con_1"),
        RING.content_hash(b"public", {"a": "2", "b": "1"}, owner="con_1"),
        RING.content_hash(b"public", {"a": "1b2"}, owner="con_1"),
        RING.content_hash(b"other", {"a": "1", "b": "2"}, owner="con_1"),
        RING.content_hash(b"public", {"a": "1", "b": "2"}, owner="con_2"),
        RING.content_hash(b"public", {}, owner="con_1"),
    ]

    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_does_not_depend_on_the_data_key() -> None:
    """Rotation is nothing that workers would have to hear of."""
    other = ring_of(KEY, made_key())

    hashes = [ring.content_hash(b"public", {"a": "1"}, owner="con_1") for ring in (RING, other)]

    assert hashes[0] == hashes[1]


# locked


@pytest.mark.parametrize(
    "attempt",
    [
        lambda ring: ring.seal("v", connection="c", key="k"),
        lambda ring: ring.unseal(b"\x01", key_id="k", connection="c", key="k"),
        lambda ring: ring.fingerprint("v", connection="c", key="k"),
        lambda ring: ring.request_hash(b""),
        lambda ring: ring.receipt("w", "e", 1),
        lambda ring: ring.content_hash(b"", {}, owner="c"),
        lambda ring: ring.derived("anything"),
    ],
)
def test_a_locked_ring_says_why(attempt: object) -> None:
    """Whatever is asked of it raises the reason for which it is locked."""
    reason = KeyUnavailable("the wrong key")

    with pytest.raises(KeyUnavailable) as raised:
        attempt(LockedRing(reason))  # type: ignore[operator]

    assert raised.value is reason


async def _state(store: Store) -> tuple[object, ...]:
    return (
        await store.data_keys(), await store.tokens(), await store.projects(), await store.environments(),
        await store.workers(), [entry async for entry in store.audit(AuditFilter())],
    )  # fmt: skip


async def test_under_a_wrong_key_nothing_is_written(tmp_path: Path) -> None:
    """A start with another master key: creates, updates and deletes are refused, and the data stays as it was."""
    async with opened_here(tmp_path) as right:
        async with client_of(right.plane, right.token) as http:
            body = webhook("hook")
            assert (await http.post(connection_path("hook") + "?waitSeconds=0", json=body)).status_code == 200
        before = await _state(right.plane.store)
        token = right.token
    (tmp_path / "master.key").unlink()
    async with opened_plane(_settings(tmp_path, new_key())) as (plane, first):
        async with client_of(plane, token) as http:
            answers = [
                await http.post(connection_path("other"), json=webhook("other")),
                await http.put(connection_path("hook"), json=webhook("hook", description="changed")),
                await http.delete(connection_path("hook")),
            ]
        after = await _state(plane.store)
        assert plane.ring.locked is not None
        kept = await plane.store.document((await plane.store.project(DEV_PROJECT)).id, "hook")  # type: ignore[union-attr]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert first is None and kept is not None
    assert _without_last_use(after) == _without_last_use(before)


async def test_without_its_key_file_the_data_stays_sealed(tmp_path: Path) -> None:
    """A missing key file is never made anew where something was sealed with it."""
    async with opened_here(tmp_path):
        pass
    (tmp_path / "master.key").unlink()

    async with opened_plane(_settings(tmp_path)) as (plane, _):
        locked = plane.ring.locked

    assert locked is not None and "missing" in locked.message
    assert not (tmp_path / "master.key").exists()


async def test_the_right_key_opens_again(tmp_path: Path) -> None:
    """After a start under a wrong key, one under the right key works as before."""
    async with opened_here(tmp_path):
        pass
    key = (tmp_path / "master.key").read_text()
    (tmp_path / "master.key").unlink()
    async with opened_plane(_settings(tmp_path, new_key())) as (plane, _):
        assert plane.ring.locked is not None
    (tmp_path / "master.key").write_text(key)

    async with opened_plane(_settings(tmp_path)) as (plane, _):
        assert plane.ring.locked is None


async def test_the_first_data_key_is_made_once(tmp_path: Path) -> None:
    """A second start opens the ring that the first one made."""
    async with opened_here(tmp_path) as first:
        made = first.plane.ring.active

    async with opened_here(tmp_path) as second:
        assert second.plane.ring.active == made


async def test_data_keys_are_stored_wrapped(tmp_path: Path) -> None:
    """The database alone opens nothing."""
    store = SqliteStore(tmp_path)
    await store.open()
    await store.commit(SaveDataKey(KEY))

    stored = await store.data_keys()
    await store.close()

    assert stored == [KEY] and RING._keys[KEY_ID] not in KEY.wrapped


def _settings(data_dir: Path, master: bytes | None = None) -> Settings:
    return Settings(data_dir=data_dir, master_key=None if master is None else base64.b64encode(master).decode())


def _without_last_use(state: tuple[object, ...]) -> list[object]:
    tokens = [replace(token, last_used_at=None) for token in state[1]]  # type: ignore[attr-defined]
    return [state[0], tokens, *state[2:]]


def test_a_locked_ring_is_no_500() -> None:
    """Its errors say that the control plane cannot do it now."""
    assert issubclass(KeyUnavailable, Unavailable) and issubclass(Tampered, Unavailable)
