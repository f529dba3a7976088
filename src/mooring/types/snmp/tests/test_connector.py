"""Sending notifications to a real receiver, and to receivers that misbehave."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from tests.support.services import Service, closed_port
from tests.support.snmptrapd import Notification, received, snmptrapd
from tools.services.servers.snmptrapd import AUTHENTICATIONS, PRIVACIES, SENDER

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.kit.ber import element, integer, text
from mooring.testing.live import connected
from mooring.types.snmp import messages
from mooring.types.snmp.sender import ENGINE
from mooring.types.snmp.tests import receiver
from mooring.types.snmp.tests.fake import FakeEngine, over_udp, request_id, response
from mooring.types.snmp.tests.fake import answer as reply
from mooring.types.snmp.tests.fake import over_tcp as listening_over_tcp
from mooring.types.snmp.tests.target import MESSAGE_OID, peer_over_udp, real, secured
from mooring.types.snmp.usm import User

__all__ = ["snmptrapd"]

TRAP_NAME = "1.3.6.1.6.3.1.1.4.1.0"
CANARY = "s3cr3t-canary-word"


@pytest.fixture
def words() -> str:
    """A text that no other test sends."""
    return f"ışık {uuid.uuid4().hex}"


async def sent(config: dict[str, Any], message: str, **request: Any) -> Any:
    async with connected({**config, "name": "noc"}) as guard:
        return await guard.use("send", {"message": message, **request})


async def seen(snmptrapd: Service, words: str, count: int = 1) -> list[Notification]:
    """What arrived with that text."""
    for _ in range(250):
        if len(found := received(snmptrapd, words)) >= count:
            return found
        await asyncio.sleep(0.02)
    return received(snmptrapd, words)


async def failure(config: dict[str, Any], timeout_s: float = 10.0, **request: Any) -> ConnectorError:
    async with connected({**config, "name": "noc"}) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use("send", {"message": "hello", **request}, timeout_s)
    return caught.value


def informing(snmptrapd: Service, **fields: Any) -> dict[str, Any]:
    return real(snmptrapd, messageType="INFORM", **fields)


def over_tcp(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "connectionString": config["connectionString"].replace("udp:", "tcp:")}


# What arrives


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("version", "kind", "said"),
    [("V1", "TRAP", "TRAP, SNMP v1"), ("V2c", "TRAP", "TRAP2, SNMP v2c"), ("V2c", "INFORM", "INFORM, SNMP v2c")],
)
async def test_a_notification_arrives(snmptrapd, words, version, kind, said, tcp):
    """A trap and an inform are written down by the receiver, over UDP and TCP."""
    config = real(snmptrapd, version=version, messageType=kind)

    answer = await sent(over_tcp(config) if tcp else config, words)

    (found,) = await seen(snmptrapd, words)
    assert found.kind == f"{said}, community {snmptrapd['community']}"
    assert found.variables[f".{MESSAGE_OID}"] == ("STRING", words)
    assert answer.proof == ("acknowledged" if kind == "INFORM" else "delivered" if tcp else "none")


async def test_the_message_type_is_a_trap_unless_it_is_set(snmptrapd, words):
    """Without messageType a trap is sent."""
    await sent(real(snmptrapd), words)

    assert (await seen(snmptrapd, words))[0].kind.startswith("TRAP2")


async def test_an_inform_of_v1_is_a_trap(snmptrapd, words):
    """V1 has no informs: what is sent is a trap, and the answer claims no more."""
    answer = await sent(informing(snmptrapd, version="V1"), words)

    assert (await seen(snmptrapd, words))[0].kind.startswith("TRAP, SNMP v1")
    assert answer.proof == "none"


async def test_the_variables_arrive_in_order(snmptrapd, words):
    """Message, time, those of the connection, those of the request; each with its type."""
    config = informing(
        snmptrapd, pduOidForTime=".1.3.6.1.4.1.12345.1.2", pduVariableMap={".1.3.6.1.2.1.1.5.0": "orders ş"}
    )
    more = [
        {"oid": ".1.3.6.1.4.1.1.1", "value": -5, "type": "integer"},
        {"oid": "1.3.6.1.4.1.1.2", "value": "4294967295", "type": "unsigned"},
        {"oid": "1.3.6.1.4.1.1.3", "value": 7, "type": "counter"},
        {"oid": "1.3.6.1.4.1.1.4", "value": 18446744073709551615, "type": "counter64"},
        {"oid": "1.3.6.1.4.1.1.5", "value": 360000, "type": "timeticks"},
        {"oid": "1.3.6.1.4.1.1.6", "value": "192.0.2.1", "type": "ipAddress"},
        {"oid": "1.3.6.1.4.1.1.7", "value": "1.3.6.1.4.1.4294967295.2", "type": "oid"},
        {"oid": "1.3.6.1.4.1.1.8", "value": "00ff", "type": "hex"},
        {"oid": "1.3.6.1.4.1.1.9", "value": "düz"},
    ]

    await sent(config, words, variables=more, time="2026-01-02T03:04:05.678+03:00")

    (found,) = await seen(snmptrapd, words)
    assert list(found.variables.items())[1:] == [
        (f".{TRAP_NAME}", ("OID", f".{MESSAGE_OID}")),
        (f".{MESSAGE_OID}", ("STRING", words)),
        (".1.3.6.1.4.1.12345.1.2", ("STRING", "2026-01-02T00:04:05.678Z")),
        (".1.3.6.1.2.1.1.5.0", ("STRING", "orders ş")),
        (".1.3.6.1.4.1.1.1", ("INTEGER", "-5")),
        (".1.3.6.1.4.1.1.2", ("Gauge32", "4294967295")),
        (".1.3.6.1.4.1.1.3", ("Counter32", "7")),
        (".1.3.6.1.4.1.1.4", ("Counter64", "18446744073709551615")),
        (".1.3.6.1.4.1.1.5", ("Timeticks", "(360000) 1:00:00.00")),
        (".1.3.6.1.4.1.1.6", ("IpAddress", "192.0.2.1")),
        (".1.3.6.1.4.1.1.7", ("OID", ".1.3.6.1.4.1.4294967295.2")),
        (".1.3.6.1.4.1.1.8", ("STRING", "\0\ufffd")),
        (".1.3.6.1.4.1.1.9", ("STRING", "düz")),
    ]


async def test_the_uptime_has_its_own_place(snmptrapd, words):
    """Where pduOidForTime is the uptime, the message's own uptime is it, once and as a number."""
    await sent(informing(snmptrapd, pduOidForTime=".1.3.6.1.2.1.1.3.0"), words)

    (found,) = await seen(snmptrapd, words)
    assert len(found.variables) == 3
    assert found.variables[".1.3.6.1.2.1.1.3.0"][0] == "Timeticks"


@pytest.mark.parametrize(
    ("trap", "name"),
    [
        (None, "1.3.6.1.4.1.12345.1.6..1"),
        ("1.3.6.1.4.1.999.0.17", "1.3.6.1.4.1.999.6..17"),
        (".1.3.6.1.4.1.999.17", "1.3.6.1.4.1.999.6..17"),
        ("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.2.Link Down.0"),
    ],
)
async def test_the_name_of_a_trap_of_v1(snmptrapd, words, trap, name):
    """A trap's name becomes what RFC 3584 makes of it in V1."""
    await sent(real(snmptrapd, version="V1"), words, **({"trap": trap} if trap else {}))

    (found,) = await seen(snmptrapd, words)
    assert found.name.lstrip(".").replace("Link Down", "Link Down") in (name, name.replace(".Link Down", ""))


async def test_the_name_of_a_trap_of_v2(snmptrapd, words):
    """The trap's name is the one of the request."""
    await sent(informing(snmptrapd), words, trap="1.3.6.1.6.3.1.1.5.4")

    (found,) = await seen(snmptrapd, words)
    assert found.variables[f".{TRAP_NAME}"] == ("OID", ".1.3.6.1.6.3.1.1.5.4")


async def test_positional_arguments_are_the_message_and_the_variables(snmptrapd):
    """The request's fields stand in the order of their importance."""
    async with connected({**informing(snmptrapd), "name": "noc"}) as guard:
        assert list(guard.operation("send").request.model_fields)[:2] == ["message", "variables"]


@pytest.mark.parametrize(
    "variable",
    [
        {"oid": "1.3", "value": "x", "type": "integer"},
        {"oid": "1.3", "value": 2**31, "type": "integer"},
        {"oid": "1.3", "value": -1, "type": "unsigned"},
        {"oid": "1.3", "value": "fe80::1", "type": "ipAddress"},
        {"oid": "1.3", "value": "zz", "type": "hex"},
        {"oid": "1.3", "value": "one.two", "type": "oid"},
        {"oid": "1", "value": "x"},
        {"oid": "3.1", "value": "x"},
        {"oid": "1.3.4294967296", "value": "x"},
        {"oid": "1.3", "value": "9" * 5000, "type": "integer"},
    ],
)
async def test_a_value_that_does_not_fit_its_type(snmptrapd, variable):
    """What is no value of its type is refused before anything is sent."""
    async with connected({**real(snmptrapd), "name": "noc"}) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"message": "x", "variables": [variable]})


async def test_a_notification_has_a_size(snmptrapd):
    """What does not fit into one message is not sent."""
    many = [{"oid": "1.3.6.1.4.1.1.1", "value": "x" * 8000} for _ in range(10)]

    error = await failure(informing(snmptrapd), variables=many)

    assert isinstance(error, Misconfigured)
    assert "one message may have 65507" in error.message


async def test_a_large_notification_arrives(snmptrapd, words):
    """One that fits arrives, over TCP."""
    many = [{"oid": f"1.3.6.1.4.1.1.{number}", "value": "x" * 8000} for number in range(1, 5)]

    await sent(over_tcp(informing(snmptrapd)), words, variables=many)

    assert len((await seen(snmptrapd, words))[0].variables) == 7


# V3

PAIRS = [(digest, privacy) for digest in AUTHENTICATIONS for privacy in (None, *PRIVACIES)]


@pytest.mark.parametrize("kind", ["TRAP", "INFORM"])
@pytest.mark.parametrize(("digest", "privacy"), [(None, None), *PAIRS])
async def test_every_pair_of_algorithms(snmptrapd, words, kind, digest, privacy):
    """Net-SNMP takes what is secured with each pair of algorithms that it knows, as the user that it is from."""
    config = secured(snmptrapd, kind, digest, privacy)

    answer = await sent(config, words)

    (found,) = await seen(snmptrapd, words)
    assert f"user {config['securityOrCommunityName']}," in found.kind
    assert answer.proof == ("acknowledged" if kind == "INFORM" else "none")
    assert (answer.engine_id == SENDER == ENGINE.hex()) is (kind == "TRAP")


@pytest.mark.parametrize("kind", ["TRAP", "INFORM"])
@pytest.mark.parametrize("privacy", receiver.ONLY_HERE)
@pytest.mark.parametrize("digest", receiver.AUTHENTICATIONS)
async def test_pairs_that_net_snmp_does_not_know(words, kind, digest, privacy):
    """pysnmp takes what is secured with 3DES, and with keys that are stretched its way."""
    there = receiver.shared_receiver()

    await sent(to_pysnmp(there, kind, digest, privacy), words)

    async with asyncio.timeout(5):
        while not there.has(words):
            await asyncio.sleep(0.01)


def to_pysnmp(there: receiver.PysnmpReceiver, kind: str, digest: str, privacy: str) -> dict[str, Any]:
    return {
        "type": "snmp", "connectionString": f"udp:localhost/{there.port}", "version": "V3", "messageType": kind,
        "securityOrCommunityName": receiver.user_of(kind, digest, privacy), "securityLevel": "AUTH_PRIV",
        "usmUserAuthenticationProtocol": digest, "authPassphrase": receiver.PASSPHRASE, "timeout": 3000,
        "usmUserPrivacyProtocol": privacy, "privPassphrase": receiver.PRIVACY_PASSPHRASE, "pduOidForMessage": MESSAGE_OID,
    }  # fmt: skip


async def test_the_user_is_the_named_one(snmptrapd, words):
    """With enableUserAuthentication the user is that of securityName."""
    config = secured(snmptrapd, "INFORM", "AuthSHA", "PrivAES128")
    named = {"enableUserAuthentication": True, "securityName": config["securityOrCommunityName"]}

    answer = await sent({**config, **named, "securityOrCommunityName": "somebody"}, words)

    assert answer.proof == "acknowledged"


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"securityOrCommunityName": "nobody"}, Rejected, "does not know the user"),
        ({"authPassphrase": CANARY}, Rejected, "does not take the user's passphrase"),
        ({"usmUserAuthenticationProtocol": "AuthHMAC384SHA512"}, Rejected, "does not take the user's passphrase"),
        ({"privPassphrase": CANARY}, Unreachable, "did not acknowledge"),
        ({"usmUserPrivacyProtocol": "PrivAES128"}, Unreachable, "did not acknowledge"),
        ({"securityLevel": "AUTH_NOPRIV"}, Unreachable, "did not acknowledge"),
    ],
)
async def test_a_wrong_user_is_told(snmptrapd, fields, kind, said):
    """An inform tells what is wrong with a user, as far as the receiver says it."""
    config = secured(snmptrapd, "INFORM", "AuthHMAC192SHA256", "PrivAES256", timeout=300, retryCount=0)

    error = await failure({**config, **fields})

    assert type(error) is kind
    assert said in error.message and error.hint
    assert CANARY not in f"{error.message}{error.hint}"


async def test_a_level_that_the_user_has_not(snmptrapd):
    """Encryption for a user that has none is the author's move."""
    more = {"securityLevel": "AUTH_PRIV", "usmUserPrivacyProtocol": "PrivAES128", "privPassphrase": "a-passphrase"}

    error = await failure(secured(snmptrapd, "INFORM", "AuthSHA", **more))

    assert isinstance(error, Misconfigured)
    assert "security level" in error.message


async def test_a_community_that_nobody_knows(snmptrapd):
    """A receiver does not answer to a wrong community, and the hint says so."""
    error = await failure(informing(snmptrapd, securityOrCommunityName=CANARY, timeout=200, retryCount=0))

    assert isinstance(error, Unreachable)
    assert "community" in str(error.hint) and CANARY not in f"{error.message}{error.hint}"


async def test_a_users_name_has_a_length(snmptrapd):
    """A name that no receiver takes is told when the connection is opened."""
    with pytest.raises(Misconfigured, match="32 bytes"):
        async with connected(
            {**secured(snmptrapd, "INFORM", "AuthSHA"), "name": "noc", "securityOrCommunityName": "x" * 33}
        ):
            pass


async def test_two_connections_keep_their_passphrases_apart(snmptrapd):
    """Two connections to one receiver, as one user with different passphrases, do not disturb each other."""
    right = secured(snmptrapd, "INFORM", "AuthSHA", "PrivAES128")
    wrong = {**right, "authPassphrase": CANARY}
    async with connected({**right, "name": "a"}) as good, connected({**wrong, "name": "b"}) as bad:
        for _ in range(3):
            assert (await good.use("send", {"message": "x"})).proof == "acknowledged"
            with pytest.raises(Rejected):
                await bad.use("send", {"message": "x"})


# Receivers that misbehave


COMMUNITY = "a-community"


def to_fake(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "snmp", "version": "V2c", "messageType": "INFORM", "connectionString": f"udp:127.0.0.1/{port}",
        "securityOrCommunityName": COMMUNITY, "pduOidForMessage": MESSAGE_OID, "timeout": 300, "retryCount": 0, **fields,
    }  # fmt: skip


def as_user(port: int, **fields: Any) -> dict[str, Any]:
    return to_fake(
        port, version="V3", securityOrCommunityName="ada", securityLevel="AUTH_NOPRIV", authPassphrase="a-passphrase",
        usmUserAuthenticationProtocol="AuthSHA", **fields,
    )  # fmt: skip


def fake_engine(**about: Any) -> FakeEngine:
    return FakeEngine(User("ada", "AuthSHA", "a-passphrase"), **about)


async def test_an_unanswered_message_is_sent_again():
    """retryCount says how often, and timeout how long an answer may take."""
    async with over_udp(lambda _: []) as fake:
        error = await failure(to_fake(fake.port, retryCount=2, timeout=50))

    assert isinstance(error, Unreachable)
    assert len(fake.heard) == 3 and len(set(fake.heard)) == 1


async def test_it_is_sent_no_more_than_needed():
    """After an answer nothing is sent again; one that is answered late counts."""
    answers = iter([[], [b"later"]])
    async with over_udp(lambda frame: [fake_answer(frame) for _ in next(answers)]) as fake:
        answer = await sent(to_fake(fake.port, retryCount=5, timeout=100), "x")

    assert answer.proof == "acknowledged"
    assert len(fake.heard) == 2


def fake_answer(frame: bytes) -> bytes:
    return reply(frame, COMMUNITY)


@pytest.mark.parametrize(
    "said",
    [
        lambda frame: b"",
        lambda frame: b"HTTP/1.1 400 Bad Request",
        lambda frame: b"\x30\x84\x7f\xff\xff\xff",
        lambda frame: b"\x30\x80\x00\x00",
        lambda frame: frame,
        lambda frame: frame[:-1],
        lambda frame: reply(frame, "another-community"),
        lambda frame: reply(frame, COMMUNITY, version=0),
        lambda frame: messages.with_community(1, COMMUNITY, response(request_id(frame) ^ 1)),
        lambda frame: messages.with_community(1, COMMUNITY, element(0xA2, integer(1))),
        lambda frame: messages.with_community(1, COMMUNITY, element(0xA2, integer(2**70), text("x"), text("y"), text("z"))),
    ],
)  # fmt: skip
async def test_rubbish_is_no_acknowledgement(said):
    """Whatever comes instead of an answer is not taken for one."""
    async with over_udp(lambda frame: [said(frame)]) as fake:
        error = await failure(to_fake(fake.port, timeout=100))

    assert isinstance(error, Unreachable)
    assert error.hint


@pytest.mark.parametrize(("number", "kind"), [(5, Misconfigured), (6, Rejected), (16, Rejected), (1, Misconfigured)])
async def test_an_error_of_the_receiver_is_told(number, kind):
    """An answer that says error is no acknowledgement."""
    async with over_udp(lambda frame: [reply(frame, COMMUNITY, number)]) as fake:
        error = await failure(to_fake(fake.port))

    assert type(error) is kind
    assert f"error {number}" in error.message


async def test_an_endless_talker_costs_little():
    """A receiver that talks without end neither keeps the loop busy nor passes for an answer."""
    with peer_over_udp("endless") as port:
        error = await failure(to_fake(port))

    assert isinstance(error, Unreachable)
    assert "no acknowledgement" in error.message


async def test_a_closed_port():
    """A UDP port of a machine that says that nobody listens is told at once, for an inform and for a trap."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    for kind in ("INFORM", "TRAP"):
        error = await failure(to_fake(port, messageType=kind, timeout=5000))

        assert isinstance(error, Unreachable)
        assert "refused the connection" in error.message


@pytest.mark.parametrize("kind", ["INFORM", "TRAP"])
async def test_a_closed_port_over_tcp(kind):
    """Over TCP a closed port is told, for an inform and for a trap."""
    error = await failure(to_fake(0, connectionString=f"tcp:127.0.0.1/{closed_port()}", messageType=kind))

    assert isinstance(error, Unreachable)
    assert "refused the connection" in error.message


async def test_an_unknown_host():
    """A name that does not resolve is told so."""
    error = await failure(to_fake(0, connectionString="udp:nowhere.invalid/162"))

    assert isinstance(error, Unreachable)
    assert "does not resolve" in error.message


@pytest.mark.parametrize("said", [b"HTTP/1.1 400\r\n", b"\x30\x84\x7f\xff\xff\xff", b"\x30\x83\x01\x00\x00"])
async def test_rubbish_over_tcp(said):
    """A stream that is none of SNMP is given up."""
    async with listening_over_tcp(lambda _: [said]) as fake:
        error = await failure(to_fake(0, connectionString=f"tcp:127.0.0.1/{fake.port}"))

    assert isinstance(error, Unreachable)
    assert "no acknowledgement" in error.message


async def test_a_name_with_several_addresses(snmptrapd, words):
    """Where the first address of a name refuses, the next one is tried."""
    # localhost is ::1 as well here, or only one of them; the receiver listens at 127.0.0.1.
    assert (await sent(informing(snmptrapd), words)).proof == "acknowledged"
    assert len(await seen(snmptrapd, words)) == 1


async def test_it_heals_over_tcp():
    """A connection that was cut while it was idle is made anew."""
    async with listening_over_tcp(lambda frame: [fake_answer(frame)]) as fake:
        async with connected({**to_fake(0, connectionString=f"tcp:127.0.0.1/{fake.port}"), "name": "noc"}) as guard:
            await guard.use("send", {"message": "x"})
            fake.cut()

            answers = await asyncio.gather(*(guard.use("send", {"message": "x"}) for _ in range(20)))

    assert {answer.proof for answer in answers} == {"acknowledged"}


async def test_it_heals_over_udp():
    """After the receiver was away, the same connector reaches it again."""
    async with over_udp(lambda frame: [fake_answer(frame)]) as first:
        port = first.port
    async with connected({**to_fake(port), "name": "noc"}) as guard:
        with pytest.raises(Unreachable):
            await guard.use("send", {"message": "x"})
        async with over_udp(lambda frame: [fake_answer(frame)], port):
            assert (await guard.use("send", {"message": "x"})).proof == "acknowledged"


# The engine of the receiver


async def test_the_engine_is_asked_for_once():
    """Which engine listens is asked before the first inform, and not again."""
    engine = fake_engine()
    async with over_udp(engine) as fake, connected({**as_user(fake.port), "name": "noc"}) as guard:
        for _ in range(5):
            await guard.use("send", {"message": "x"})

    assert engine.informs == 5
    assert len(fake.heard) == 6


async def test_a_receiver_that_was_restarted():
    """A receiver whose clock began anew is believed, because it proves that it is the one, and informs arrive."""
    engine = fake_engine()
    async with over_udp(engine) as fake, connected({**as_user(fake.port), "name": "noc"}) as guard:
        await guard.use("send", {"message": "x"})
        engine.boots, engine.time = 8, 3

        answers = await asyncio.gather(*(guard.use("send", {"message": "x"}) for _ in range(5)))

    assert {answer.proof for answer in answers} == {"acknowledged"}
    assert engine.informs == 6


async def test_a_receiver_that_was_replaced():
    """Another engine at the same address is noticed, asked for, and informed."""
    engine = fake_engine()
    async with over_udp(engine) as fake, connected({**as_user(fake.port), "name": "noc"}) as guard:
        await guard.use("send", {"message": "x"})
        engine.engine = b"\x80\x00\x00\x00\x04two"

        answer = await guard.use("send", {"message": "x"})

    assert answer.engine_id == engine.engine.hex()


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_answer_without_proof_is_none(restarted):
    """An acknowledgement, or a clock, that is not authenticated is not believed."""
    engine = fake_engine()
    async with over_udp(engine) as fake, connected({**as_user(fake.port), "name": "noc"}) as guard:
        await guard.use("send", {"message": "x"})
        engine.forged = True
        engine.boots += restarted

        with pytest.raises(Unreachable):
            await guard.use("send", {"message": "x"})


async def test_an_engine_that_never_agrees():
    """A receiver that always has another time is given up."""
    engine = fake_engine()

    def restless(frame: bytes) -> list[bytes]:
        engine.boots += 1
        return engine(frame)

    async with over_udp(restless) as fake:
        error = await failure(as_user(fake.port))

    assert isinstance(error, Unreachable)
    assert "time" in error.message


@pytest.mark.parametrize("engine", [b"", b"1234", b"x" * 33])
async def test_an_engine_has_a_length(engine):
    """Who names no proper engine is no receiver of V3."""
    async with over_udp(fake_engine(engine=engine)) as fake:
        assert isinstance(await failure(as_user(fake.port)), Unreachable)


# Its life


async def until(fact: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_thousand_informs_leave_nothing_behind(snmptrapd, tcp):
    """After 1,000 informs over one socket, and a rest, no socket and no task is left."""
    config = secured(snmptrapd, "INFORM", "AuthSHA", "PrivAES128", timeout=5000)
    places = asyncio.Semaphore(32)

    async def one(guard: Any) -> str:
        async with places:
            return str((await guard.use("send", {"message": "many"})).proof)

    async with connected({**(over_tcp(config) if tcp else config), "name": "noc"}) as guard:
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        proofs = await asyncio.gather(*(one(guard) for _ in range(1000)))
        assert await guard.rest()

        assert set(proofs) == {"acknowledged"}
        await until(lambda: (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before)


async def test_a_thousand_traps_leave_nothing_behind(snmptrapd):
    """After 1,000 traps and a rest no socket and no task is left."""
    async with connected({**real(snmptrapd), "name": "noc"}) as guard:
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        for _ in range(1000):
            await guard.use("send", {"message": "many"})
        assert await guard.rest()

        assert (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before


@pytest.mark.parametrize("kind", ["TRAP", "INFORM"])
@pytest.mark.parametrize("tcp", [False, True])
async def test_it_works_after_a_rest(snmptrapd, words, kind, tcp):
    """After its socket was given back, the next notification goes out all the same."""
    config = real(snmptrapd, messageType=kind)
    async with connected({**(over_tcp(config) if tcp else config), "name": "noc"}) as guard:
        await guard.use("send", {"message": words})
        assert await guard.rest()
        await guard.use("send", {"message": words})

    assert len(await seen(snmptrapd, words, 2)) == 2


async def test_nothing_is_lost_at_the_end(snmptrapd, words):
    """Traps over TCP that are on their way when the connection ends arrive."""
    async with connected({**over_tcp(real(snmptrapd)), "name": "noc"}) as guard:
        await guard.use("send", {"message": "first"})
        sending = [asyncio.create_task(guard.use("send", {"message": words})) for _ in range(50)]
        await asyncio.sleep(0)
        assert guard.in_flight == 50

        await guard.close(grace_s=5)
        answers = await asyncio.gather(*sending)

    assert {answer.proof for answer in answers} == {"delivered"}
    assert len(await seen(snmptrapd, words, 50)) == 50


async def test_closing_ends_what_is_under_way():
    """An inform that waits for its answer when the connection ends fails clearly, and soon."""
    async with (
        over_udp(lambda _: []) as fake,
        connected({**to_fake(fake.port, timeout=20_000), "name": "noc"}) as guard,
    ):
        sending = asyncio.create_task(guard.use("send", {"message": "x"}))
        await until(lambda: bool(fake.heard))

        await guard.close(grace_s=0.1)

        with pytest.raises(Unreachable):
            await asyncio.wait_for(sending, 2)


async def test_a_cancelled_inform_leaves_nothing_waiting():
    """A caller who goes away is forgotten."""
    async with (
        over_udp(lambda _: []) as fake,
        connected({**to_fake(fake.port, timeout=20_000), "name": "noc"}) as guard,
    ):
        with pytest.raises(Unreachable):
            await guard.use("send", {"message": "x"}, 0.2)

        assert guard.connector._exchange._waiting == {}


async def test_both_event_loops(snmptrapd):
    """The loop that workers run on sends informs and traps too, over UDP and TCP."""

    async def all_of_them() -> set[str]:
        plain = [real(snmptrapd, messageType=kind) for kind in ("TRAP", "INFORM")]
        return {(await sent(config, "x")).proof for one in plain for config in (one, over_tcp(one))}

    assert await asyncio.to_thread(uvloop.run, all_of_them()) == {"none", "delivered", "acknowledged"}


async def test_opening_does_no_network_io():
    """A connection opens without its receiver."""
    async with connected({**to_fake(9), "name": "noc"}) as guard:
        assert not guard.started


async def test_there_is_no_native_client():
    """Who asks for a driver's client is told to use the operation."""
    async with connected({**to_fake(9), "name": "noc"}) as guard:
        with pytest.raises(Misconfigured, match="driver's client"):
            await guard.native()


# The probe


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_probe_of_an_inform_is_a_proof(snmptrapd, tcp):
    """A probe sends one inform, and passes when it was acknowledged."""
    config = informing(snmptrapd)
    async with connected({**(over_tcp(config) if tcp else config), "name": "noc"}) as guard:
        report = await guard.probe()

    connect = [("connect", "passed")] if tcp else []
    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), *connect, ("acknowledged", "passed"),
    ]  # fmt: skip


async def test_the_probe_of_a_trap_knows_nothing():
    """A probe sends no trap, and says that nobody knows."""
    async with (
        over_udp(lambda _: []) as fake,
        connected({**to_fake(fake.port, messageType="TRAP"), "name": "noc"}) as guard,
    ):
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [("resolve", "passed"), ("sent", "unknown")]
    assert fake.heard == []


async def test_the_probe_of_a_trap_over_tcp_connects(snmptrapd):
    """Over TCP a probe of a trap shows that somebody listens."""
    async with connected({**over_tcp(real(snmptrapd)), "name": "noc"}) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps][:2] == [("resolve", "passed"), ("connect", "passed")]


async def test_the_probe_says_where_it_stopped(snmptrapd):
    """A wrong passphrase is told at the step of the acknowledgement."""
    config = secured(snmptrapd, "INFORM", "AuthSHA", "PrivAES128", authPassphrase=CANARY)
    async with connected({**config, "name": "noc"}) as guard:
        report = await guard.probe()

    assert report.failure is not None
    assert (report.failure.name, report.failure.code) == ("acknowledged", "rejected")
    assert CANARY not in str(report.steps)
