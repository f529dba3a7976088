"""Keystores on the worker: with their commit, shared, found by name, and gone when nobody uses them."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import weakref
from typing import Any

import pytest

from mooring.kit.aead import encrypt
from mooring.plugin.materials import MaterialMissing, Store
from mooring.wire.frames import Commit, Material, ProbeJob, Put, Welcome, from_control
from mooring.worker.loop import Loop
from mooring.worker.materials import OwnMaterials
from mooring.worker.pool import Pool
from tests.worker.toy import KEY, ToyRegistry, put, until, world

PARTS = {"trusted": "T", "chain": "C", "key": "K"}


def material(content: str = "aa", under: bytes = KEY, **parts: str) -> Material:
    """A material frame with that hash."""
    sealed = encrypt(under, json.dumps({**PARTS, **parts}).encode(), f"material|{content}".encode())
    return Material(hash=content, sealed=base64.b64encode(sealed).decode())


def using(content: str = "aa", generation: int = 1, **more: Any) -> Put:
    """A put frame that uses the material with that hash."""
    made = put(generation, keyStoreName="mine", **more)
    return made.model_copy(update={"materials": {"keyStoreName": content}, "hash": content})


class Socket:
    """Takes what the worker sends."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, text: str) -> None:
        self.sent.append(text)


@pytest.fixture
async def take(pool: Pool) -> Any:
    """Hands frames to a worker's loop, as if they had come by its stream."""
    loop = Loop("http://nowhere", "", b"", pool, ToyRegistry())  # type: ignore[arg-type]
    welcome = Welcome(
        session="s", epoch="e", head=1, mode="delta", environment="t", environment_key_id="k", environment_key=""
    )
    loop._state.welcome(welcome)
    nonce = 0

    async def taken(*frames: Any) -> Socket:
        nonlocal nonce
        nonce += 1
        socket = Socket()
        commit = Commit(nonce=nonce, revision=nonce, complete=False, receipt="")
        for frame in (*frames, commit):
            await loop._take(socket, frame if isinstance(frame, ProbeJob) else from_control(frame.text()))  # type: ignore[arg-type]
        return socket

    return taken


def held(pool: Pool, name: str = "toy") -> Store | None:
    store: Store | None = pool.live("P", name).connector.store  # type: ignore[attr-defined]
    return store


@pytest.mark.parametrize("order", [0, 1], ids=["before", "after"])
async def test_a_material_comes_with_its_commit(pool: Pool, take: Any, order: int) -> None:
    """Before the put that names it or after it: what counts is the commit."""
    frames = [material(), using()]

    await take(*(frames if order == 0 else reversed(frames)))

    assert held(pool) == Store("T", "C", "K")


async def test_another_hash_in_the_same_generation_is_built_anew(pool: Pool, take: Any) -> None:
    """A replaced keystore is served without a new generation of the connection."""
    await take(material(), using())
    await take(material("bb", key="K2"), using("bb"))

    await until(lambda: (held(pool) or Store()).key == "K2")
    assert len(world().made) == 2


async def test_the_same_hash_is_free(pool: Pool, take: Any) -> None:
    """A put that says what is held already builds nothing."""
    await take(material(), using())
    await take(material(), using())

    assert len(world().made) == 1


async def test_a_replaced_keystore_that_does_not_work_leaves_the_old_client(pool: Pool, take: Any) -> None:
    """Make before break, as for any change."""
    await take(material(), using())
    await pool.use("P", "toy", "say", {}, 5)
    world().up = False

    await take(material("bb", key="K2"), using("bb"))

    await until(lambda: pool.entry("P", "toy").state == "held")
    assert (held(pool) or Store()).key == "K"
    assert pool.entry("P", "toy").reason == "PROBE_FAILED"


async def test_a_missing_keystore_names_field_and_keystore(pool: Pool) -> None:
    """The reason is KEYSTORE_MISSING."""
    await pool.put(using().model_copy(update={"materials": {}}))

    entry = pool.entry("P", "toy")
    assert (entry.state, entry.reason) == ("failed", "KEYSTORE_MISSING")
    assert "keyStoreName" in entry.message and "'mine'" in entry.message


@pytest.mark.parametrize(
    "frame", [material(under=bytes(32)), Material(hash="aa", sealed="!"), None], ids=["key", "text", "absent"]
)
async def test_one_that_does_not_open_is_told_as_such(pool: Pool, take: Any, frame: Material | None) -> None:
    """Another key, garbage, or nothing that came: KEYSTORE_UNREADABLE, and the connection alone fails."""
    await take(*([frame] if frame else []), using(), put(id="con_2", name="other"))

    entry = pool.entry("P", "toy")
    assert (entry.state, entry.reason) == ("failed", "KEYSTORE_UNREADABLE")
    assert "keyStoreName 'mine'" in entry.message
    assert pool.entry("P", "other").state == "applied"


async def test_connections_share_what_they_use_alike(pool: Pool, take: Any) -> None:
    """A truststore of a thousand connections is in memory once."""
    await take(material(), using(), using(id="con_2", name="other"))

    assert held(pool) is held(pool, "other")


async def test_the_last_to_let_go_takes_it_along(pool: Pool, take: Any) -> None:
    """A key that no connection uses is not kept."""
    await take(material(), using())
    store = held(pool)
    assert store is not None
    gone = weakref.ref(store)
    del store

    closing = pool.remove("con_1")
    assert closing is not None
    await closing
    world().made.clear()
    del closing
    await asyncio.sleep(0)
    gc.collect()

    assert gone() is None


async def test_a_build_that_is_tried_again_still_has_it(pool: Pool, take: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with the commit stays for as long as the connection wants it."""
    monkeypatch.setattr("mooring.worker.guard.OPEN_S", 0.05)
    world().opening.clear()
    await take(material(), using())
    await until(lambda: pool.entry("P", "toy").reason == "BUILD_TIMEOUT")

    await take(put(id="con_2", name="other", host="b"))
    world().opening.set()

    await until(lambda: pool.entry("P", "toy").state == "applied")
    assert held(pool) == Store("T", "C", "K")


async def test_a_test_uses_the_materials_that_came_with_it(pool: Pool, take: Any) -> None:
    """The same builder as for a connection that serves."""
    job = ProbeJob(job="job_1", deadline_s=5, put=using(id="job_1"))

    socket = await take(material(), job)
    await until(lambda: any('"t":"result"' in text for text in socket.sent))

    (connector,) = world().made
    assert connector.store == Store("T", "C", "K")


def test_a_name_that_no_field_has_is_missing() -> None:
    """What is looked for is what the config names."""
    own = OwnMaterials({"trustStoreName": "trust"}, {"trustStoreName": Store(trusted="T")})

    assert own.store("trust").trusted == "T"
    with pytest.raises(MaterialMissing, match="'other'"):
        own.store("other")


def test_two_fields_that_name_one_thing_find_it() -> None:
    """Also where only one of them has it."""
    own = OwnMaterials({"certificateName": "x", "keyStoreName": "x"}, {"keyStoreName": Store(key="K")})

    assert own.store("x").key == "K"
