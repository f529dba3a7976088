"""What a Graylog config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.graylog import TYPE
from mooring.types.graylog.model import LEVELS, GraylogConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {"hostname": "graylog.example.com"}
CHAIN = {"tlsCertVerificationEnabled": True, "tlsTrustCertChainFile": "fake-chain"}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> GraylogConfig:
    return read_config(GraylogConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"], ids=lambda body: body["name"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted, and its wire form is accepted again."""
    found = read_config(GraylogConfig, typed(body))

    assert TYPE.name == body["type"]
    assert GraylogConfig.from_wire(found.wire()).wire() == found.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, the problem points at the field, and nothing that was sent is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(GraylogConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]
    assert not any("fake" in problem.message for problem in caught.value.problems)


def test_the_example_is_accepted() -> None:
    """The example that documents the room is a body of this type, without warnings."""
    body = json.loads((ROOM / "example.json").read_text(encoding="utf-8"))

    assert TYPE.name == body["type"]
    assert not list(read_config(GraylogConfig, typed(body)).warnings())


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert {key: value for key, value in wire.items() if key not in MINIMAL and value is not None} == {
        "port": 12201,
        "transportType": "TCP",
        "tlsEnabled": False,
        "tlsCertVerificationEnabled": False,
        "compressionType": "NONE",
        "gelfMessageLevel": "INFO",
        "queueSize": 512,
        "reconnectDelay": 2500,
        "connectTimeout": 10000,
        "tcpNoDelay": True,
        "tcpKeepAlive": False,
        "sendBufferSize": -1,
        "maxInflightSends": 512,
        "threads": 0,
        "appendToAttributes": True,
        "appendToMessage": True,
        "verifyHostname": True,
    }


@pytest.mark.parametrize(("level", "number"), LEVELS.items())
def test_a_level_may_carry_its_number(level: str, number: int) -> None:
    """`INFO(6)` is taken for INFO, and the plain name is answered."""
    assert config(gelfMessageLevel=f"{level}({number})").wire()["gelfMessageLevel"] == level


def test_a_level_with_a_wrong_number_is_refused() -> None:
    """The number must be the level's own."""
    assert "/gelfMessageLevel" in refused(gelfMessageLevel="DEBUG(6)")


def test_checking_needs_what_to_trust() -> None:
    """Verification needs a chain or a truststore, and the problem names every field of the rule."""
    message = refused(tlsCertVerificationEnabled=True)["/tlsTrustCertChainFile"]

    assert "tlsCertVerificationEnabled" in message
    assert "trustStoreName" in message
    assert config(tlsCertVerificationEnabled=True, trustStoreName="t").trust_store_name == "t"


def test_checking_without_tls_warns() -> None:
    """Without TLS there is no certificate to check."""
    assert warned(**CHAIN) == {"verification_needs_tls"}
    assert not warned(**CHAIN, tlsEnabled=True)


def test_tls_over_udp_warns() -> None:
    """GELF over UDP is never encrypted."""
    assert warned(transportType="UDP", tlsEnabled=True) == {"tls_only_tcp"}
    assert "tls_only_tcp" not in warned(transportType="${T}", tlsEnabled=True)


def test_tls_without_a_check_warns() -> None:
    """The documented default does not check the certificate, and a warning says so."""
    assert warned(tlsEnabled=True) == {"certificate_not_checked"}


def test_an_uncompared_name_warns() -> None:
    """TLS without a check of the host name is accepted with a warning."""
    assert warned(**CHAIN, tlsEnabled=True, verifyHostname=False) == {"hostname_not_verified"}


def test_compression_over_tcp_is_accepted() -> None:
    """Documented bodies compress over TCP; nothing is said against it."""
    assert not warned(compressionType="ZLIB")


def test_secrets_are_lifted_and_come_back() -> None:
    """The certificate chain leaves the public half, and returns to its place."""
    whole = config(**CHAIN).wire()

    public, secrets = split(GraylogConfig, whole)

    assert secrets == {"tlsTrustCertChainFile": "fake-chain"}
    assert "fake-" not in json.dumps(public)
    assert join(GraylogConfig, public, secrets) == (whole, {"tlsTrustCertChainFile"})


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "elsewhere.example.com"},
        {"port": 12202},
        {"transportType": "UDP"},
        {"tlsEnabled": True},
        {"tlsCertVerificationEnabled": False},
        {"verifyHostname": False},
        {"trustStoreName": "other"},
        {"keyStoreName": "other"},
    ],
)
def test_what_decides_whom_messages_reach_is_a_destination(change: dict[str, Any]) -> None:
    """Another server, or a weaker check of it, is another destination."""
    assert config(**CHAIN).destination() != config(**{**CHAIN, **change}).destination()


def test_only_stores_that_are_used_are_referred_to() -> None:
    """Without TLS nothing is referred to, and without a check no truststore."""
    stores = {"trustStoreName": "t", "keyStoreName": "k"}

    assert config(**stores).references() == {}
    assert config(**stores, tlsEnabled=True, transportType="UDP").references() == {}
    assert config(**stores, tlsEnabled=True).references() == {"keyStoreName": "k"}
    assert config(**stores, tlsEnabled=True, tlsCertVerificationEnabled=True).references() == stores


def test_variables_stand_anywhere() -> None:
    """A variable stands in for any text, number or choice."""
    numbers = ("port", "queueSize", "reconnectDelay", "connectTimeout", "sendBufferSize", "maxInflightSends", "threads")
    others = ("hostname", "transportType", "compressionType", "gelfMessageLevel", "errorThresholdValue", "sleepWindow")
    found = config(**dict.fromkeys((*numbers, *others), "${X}"))

    assert found.wire()["port"] == "${X}"
    assert not list(found.warnings())
