"""A master key that a key service keeps; the service is a fake that checks what is signed."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from mooring.errors import KeyUnavailable
from mooring.kit.aead import new_key
from mooring.kit.settings import Settings
from mooring.seal.kms import KmsAccount, KmsKey, signed
from mooring.serve import opened_plane, opening
from tests.api.answers import done, one
from tests.support.fake_kms import ACCESS, REGION, SECRET, FakeKms, fake_kms
from tests.support.plane import client_of, connection_path, opened_here, webhook


def key_of(kms: FakeKms, **more: str) -> KmsKey:
    return KmsKey(replace(KmsAccount(kms.endpoint, REGION, ACCESS, SECRET), **more), "alias/mooring")


def test_a_request_is_signed_as_published() -> None:
    """The signature of a fixed request at a fixed time, worked out beforehand with the algorithm's published steps."""
    account = KmsAccount(
        "https://kms.us-east-1.amazonaws.com/", "us-east-1", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    )
    at = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)

    headers = signed(account, "TrentService.Decrypt", b"{}", at)

    assert headers["x-amz-date"] == "20150830T123600Z"
    assert headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request,"
        " SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="
    )
    assert account.secret_access_key not in str(headers)


async def test_what_it_wraps_it_unwraps() -> None:
    """And nothing else does: a blob under another id is refused."""
    with fake_kms() as kms:
        provider, key = key_of(kms), new_key()

        wrapped = await provider.wrap("key_1", key)

        assert await provider.unwrap("key_1", wrapped) == key and key not in wrapped
        with pytest.raises(KeyUnavailable, match="InvalidCiphertext"):
            await provider.unwrap("key_2", wrapped)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"secret_access_key": "wrong"}, "InvalidSignature"),
        ({"access_key_id": "other"}, "UnrecognizedClient"),
        ({"region": "us-1"}, "InvalidSignature"),
    ],
)
async def test_a_wrong_account_is_told_which_part_is_wrong(more: dict[str, str], said: str) -> None:
    """The service's own name for it, and what to check; no credential stands in the message."""
    with fake_kms() as kms:
        with pytest.raises(KeyUnavailable, match=said) as raised:
            await key_of(kms, **more).wrap("key_1", new_key())

    assert raised.value.hint and SECRET not in str(raised.value) and "wrong" not in str(raised.value)


async def test_one_that_does_not_answer_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that takes the connection and says nothing."""
    monkeypatch.setattr("mooring.seal.kms.CALL_S", 0.2)
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(5), "127.0.0.1", 0)
    kms = FakeKms(silent.sockets[0].getsockname()[1])

    with pytest.raises(KeyUnavailable):
        async with asyncio.timeout(2):
            await key_of(kms).wrap("key_1", new_key())

    silent.close()


async def test_an_answer_without_end_is_cut() -> None:
    """At the limit, not at the end of the memory."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        try:
            for _ in range(100):
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)

    with pytest.raises(KeyUnavailable, match="without end"):
        await key_of(FakeKms(server.sockets[0].getsockname()[1])).wrap("key_1", new_key())

    server.close()


async def test_a_control_plane_lives_on_it(tmp_path: Path) -> None:
    """No key file is made; secrets survive a restart and a rotation."""
    with fake_kms() as kms:
        async with opened_here(tmp_path, **kms.settings) as opened, client_of(opened.plane, opened.token) as http:
            done(await http.post(connection_path("hook"), json=webhook("hook")))
            await http.post("/apiops/data-keys/rotate/")
        async with opened_here(tmp_path, **kms.settings) as opened, client_of(opened.plane, opened.token) as http:
            shown = one(await http.get(connection_path("hook")))
            locked = opened.plane.ring.locked

    assert locked is None and shown["secretFields"] and not (tmp_path / "master.key").exists()
    assert {"Encrypt", "Decrypt"} == set(kms.calls)


async def test_it_starts_sealed_and_unseals_when_the_service_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile reads work, nothing is written; afterwards everything works without a restart."""
    monkeypatch.setattr(opening, "UNLOCK_S", 0.05)
    with fake_kms() as kms:
        async with opened_here(tmp_path, **kms.settings) as opened, client_of(opened.plane, opened.token) as http:
            done(await http.post(connection_path("hook"), json=webhook("hook")))
            token = opened.token
    async with opened_plane(Settings(data_dir=tmp_path, **kms.settings)) as (plane, _), client_of(plane, token) as http:
        ready = await http.get("/readyz")
        read = await http.get(connection_path("hook"))
        refused = await http.post(connection_path("new"), json=webhook("new"))
        rotation = await http.post("/apiops/data-keys/rotate/")
        with fake_kms(kms):
            async with asyncio.timeout(10):
                while (await http.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.05)
            done(await http.post(connection_path("new"), json=webhook("new")))

    assert (ready.status_code, read.status_code, refused.status_code, rotation.status_code) == (503, 200, 503, 503)


async def test_a_first_start_waits_for_the_service_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made before it answers, not even the administrator's token."""
    monkeypatch.setattr(opening, "UNLOCK_S", 0.05)
    with fake_kms() as kms:
        pass
    async with opened_plane(Settings(data_dir=tmp_path, **kms.settings)) as (plane, token):
        before = (token, await plane.store.tokens(), await plane.store.data_keys())
        with fake_kms(kms):
            async with asyncio.timeout(10):
                while not await plane.store.tokens():
                    await asyncio.sleep(0.05)

    assert before == (None, [], []) and (tmp_path / "admin-token").exists()


async def test_data_of_a_file_key_says_so_to_a_key_service(tmp_path: Path) -> None:
    """And the other way round: the setting is wrong, the data is not."""
    async with opened_here(tmp_path):
        pass
    with fake_kms() as kms:
        async with opened_plane(Settings(data_dir=tmp_path, **kms.settings)) as (plane, _):
            locked = plane.ring.locked

    assert locked is not None and "not by a key service" in locked.message
