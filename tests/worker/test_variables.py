"""Variables and borrowed secrets on the worker: resolved while it builds, hidden in what it says, taken up when they change."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mooring.errors import Rejected, Unreachable
from mooring.kit.aead import encrypt
from mooring.wire.frames import ProbeJob, Put
from mooring.worker import pool as pool_module
from mooring.worker.elsewhere import Elsewhere
from mooring.worker.pool import Pool
from tests.worker.toy import KEY, ToyError, ToyRegistry, put, until, world


def using(frame: Put, *, hash_: str = "01", key: bytes = KEY, **variables: tuple[str, bool]) -> Put:
    """*frame* with values, by name in lower case, each with whether it may be shown."""
    sealed = encrypt(key, json.dumps(variables).encode(), Put.variables_context_of(frame.id, hash_))
    return frame.model_copy(update={"hash": hash_, "variables": base64.b64encode(sealed).decode()})


async def said(pool: Pool) -> str:
    answer = await pool.use("P", "toy", "say", {}, 5.0)
    return str(answer.generation)


@pytest.fixture
async def borrowing(tmp_path: Path) -> Pool:
    pool = Pool(ToyRegistry(), elsewhere=Elsewhere(folder=tmp_path), look_again_s=0.0)  # type: ignore[arg-type]  # all of a registry that a pool asks for
    pool.use_key(KEY)
    (tmp_path / "pw").write_text("first")
    return pool


async def test_variables_are_resolved(pool: Pool) -> None:
    """In texts, numbers and secrets, ignoring the case of their names."""
    await pool.put(using(put(host="${Host}", password="x${PW}", size="${SIZE}"), host=("b", True), pw=("y", False), size=("3", True)))  # fmt: skip

    assert await said(pool) == "xy"
    assert world("b").made[0].config.size == 3


async def test_another_value_is_another_client(pool: Pool) -> None:
    """In the same generation; the old one serves until the new one does."""
    await pool.put(using(put(password="${PW}"), pw=("one", False)))
    first = pool.live("P", "toy")

    await pool.put(using(put(password="${PW}"), hash_="02", pw=("two", False)))

    assert await said(pool) == "two" and pool.live("P", "toy") is not first


async def test_a_value_that_breaks_a_rule_is_refused(pool: Pool) -> None:
    """The old client serves on, and no message repeats the value."""
    await pool.put(using(put(size="${SIZE}"), size=("3", True)))

    await pool.put(using(put(size="${SIZE}"), hash_="02", size=("-471100", True)))

    (exception,) = pool.exceptions()
    assert (exception.state, exception.reason) == ("held", "INVALID_CONFIG") and "471100" not in exception.message
    assert pool.live("P", "toy")


@pytest.mark.parametrize("spoiled", ["key", "hash"])
async def test_values_are_bound_to_their_connection(pool: Pool, spoiled: str) -> None:
    """Sealed by another key, or for another state of it, they do not open."""
    frame = using(put(password="${PW}"), key=bytes(32) if spoiled == "key" else KEY, pw=("x", False))

    await pool.put(frame.model_copy(update={"hash": "77"}) if spoiled == "hash" else frame)

    assert pool.exceptions()[0].reason == "SECRET_UNREADABLE"


async def test_a_hidden_value_is_in_no_message(pool: Pool) -> None:
    """Also where it stands in a field that is no secret."""
    await pool.put(using(put(host="${HOST}"), host=("hidden-host", False)))
    world("hidden-host").operation_error = ToyError("no route to hidden-host")

    with pytest.raises(Unreachable) as caught:
        await said(pool)

    assert "hidden-host" not in caught.value.message + (caught.value.hint or "")


async def test_a_secret_is_borrowed(borrowing: Pool) -> None:
    """From a file; a test reads it too."""
    await borrowing.put(put(password="${file:pw}"))

    assert await said(borrowing) == "first"
    assert (await borrowing.test(ProbeJob(job="con_1", deadline_s=5, put=put(password="${file:pw}")))).success


@pytest.mark.parametrize("reference", ["${file:no}", "${file:../pw}", "${env:HOME}", "${vault:a#b}"])
async def test_what_cannot_be_read_is_never_a_literal(borrowing: Pool, reference: str) -> None:
    """The connection fails, names the field, and says what to do."""
    task = borrowing.put(put(password=f"x{reference}"))
    await until(lambda: borrowing.exceptions() and borrowing.exceptions()[0].reason != "APPLIED")

    (exception,) = borrowing.exceptions()
    assert exception.reason == "SECRET_UNREADABLE" and exception.message.startswith("password: ")
    assert not world().made
    task.cancel()


async def test_a_reference_in_a_field_that_is_no_secret_is_refused(borrowing: Pool) -> None:
    """Whoever wrote it there: what is public is shown."""
    await borrowing.put(put(host="${file:pw}"))

    assert "secrets only" in borrowing.exceptions()[0].message


async def test_what_a_variable_says_is_no_reference(borrowing: Pool) -> None:
    """One pass: it is the password as it stands."""
    await borrowing.put(using(put(password="${PW}"), pw=("${file:pw}", False)))

    assert await said(borrowing) == "${file:pw}"


async def test_a_secret_that_changes_is_taken_up(borrowing: Pool, tmp_path: Path) -> None:
    """After a while, make before break."""
    await borrowing.put(put(password="${file:pw}"))
    (tmp_path / "pw").write_text("second")

    await borrowing.look_again()
    await until(lambda: len(world().made) == 2)
    await until(lambda: borrowing.live("P", "toy").connector is world().made[1])

    assert await said(borrowing) == "second"


async def test_a_refusal_makes_it_look(borrowing: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its time has come: a password that was rejected may have been changed."""
    monkeypatch.setattr(pool_module, "LOOK_AFTER_REFUSAL_S", 0.0)
    await borrowing.put(put(password="${file:pw}"))
    (tmp_path / "pw").write_text("second")
    world().operation_error = PermissionError()

    with pytest.raises(Rejected):
        await said(borrowing)
    await until(lambda: len(world().made) == 2)
    world().operation_error = None
    await until(lambda: borrowing.live("P", "toy").connector is world().made[1])

    assert await said(borrowing) == "second"


async def test_what_vanishes_leaves_the_client_alone(borrowing: Pool, tmp_path: Path) -> None:
    """What serves goes on serving."""
    await borrowing.put(put(password="${file:pw}"))
    (tmp_path / "pw").unlink()

    await borrowing.look_again()

    assert await said(borrowing) == "first" and not borrowing.exceptions()
