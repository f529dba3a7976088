"""Damaged keystores: whatever the bytes, the answer is an opened store or a refusal that quotes nothing."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mooring.kit.keystore.ber import MAX_DEPTH, NotBer, read_ber
from mooring.kit.keystore.opened import Unreadable
from mooring.kit.keystore.reader import open_certificate, open_file
from tests.support.keystores import PASSWORD, Tools, authority, issued

CANARY = "canary.example.com"
QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def identity():  # noqa: ANN201
    return issued(authority(), CANARY)


def check(kind: str, data: bytes) -> None:
    """Open it; nothing but `Unreadable` may come of it, and no word of the file."""
    try:
        if kind == "CERTIFICATE":
            open_certificate(data)
        else:
            open_file(kind, data, PASSWORD, None)
    except Unreadable as exc:
        assert CANARY not in exc.reason and "Test authority" not in exc.reason
        assert exc.field in ("file", "password", "alias")


def damaged(data: st.DataObject, good: bytes) -> bytes:
    """*good* with some bytes changed, or cut, or repeated."""
    made = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] ^= data.draw(st.integers(1, 255))
    begin = data.draw(st.integers(0, len(made)))
    match data.draw(st.sampled_from(["keep", "cut", "repeat", "insert"])):
        case "cut":
            del made[begin:]
        case "repeat":
            made += made[begin : begin + 200]
        case "insert":
            made[begin:begin] = data.draw(st.binary(min_size=1, max_size=20))
    return bytes(made)


@pytest.fixture(scope="module")
def good(tools: Tools) -> dict[str, bytes]:
    """One whole file of each type, with the name that must not be shown."""
    key = identity()
    return {
        "JKS": tools.converted(key, "JKS"), "PKCS12": tools.converted(key, "PKCS12"), "PEM": key.pem(PASSWORD),
        "CERTIFICATE": key.certificate_pem.encode(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["JKS", "PKCS12", "PEM", "CERTIFICATE"])
@QUICK
@given(data=st.data())
def test_damage_is_refused_and_never_quoted(good: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    """Flipped, cut, repeated and inserted bytes."""
    check(kind, damaged(data, good[kind]))


@pytest.mark.parametrize("kind", ["JKS", "PKCS12", "PEM", "CERTIFICATE"])
@QUICK
@given(data=st.binary(max_size=400))
def test_garbage_is_refused(kind: str, data: bytes) -> None:
    """Bytes that nobody meant as anything."""
    check(kind, data)
    check(kind, bytes.fromhex("feedfeed00000002") + data)
    check(kind, b"\x30\x80" + data)


@QUICK
@given(depth=st.integers(1, 5000), tag=st.sampled_from([0x30, 0x31, 0xA0, 0x24]), closed=st.booleans())
def test_depth_is_bounded(depth: int, tag: int, closed: bool) -> None:
    """However deep it is nested, reading ends, and ends soon."""
    data = bytes([tag, 0x80]) * depth + (b"\0\0" * depth if closed else b"")

    try:
        read_ber(data)
    except NotBer:
        return

    assert depth <= MAX_DEPTH + 1
