"""What an FTP config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.ftp import TYPE
from mooring.types.ftp.model import FtpConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {
    "host": "files.example.com",
    "username": "orders",
    "password": "fake-password",
    "protocol": "FTP",
}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> FtpConfig:
    return read_config(FtpConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"], ids=lambda body: body["name"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted, and its wire form is accepted again."""
    found = read_config(FtpConfig, typed(body))

    assert TYPE.name == body["type"]
    assert FtpConfig.from_wire(found.wire()).wire() == found.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, the problem points at the field, and nothing that was sent is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(FtpConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]
    assert not any("fake" in problem.message for problem in caught.value.problems)


def test_the_example_is_accepted() -> None:
    """The example that documents the room is a body of this type, without warnings."""
    body = json.loads((ROOM / "example.json").read_text(encoding="utf-8"))

    assert TYPE.name == body["type"]
    assert not list(read_config(FtpConfig, typed(body)).warnings())


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert {key: value for key, value in wire.items() if key not in MINIMAL and value is not None} == {
        "port": 21,
        "workingDir": "/",
        "timeout": 30000,
        "retryCount": 3,
        "useImplicit": False,
        "useExplicit": False,
        "verifyHostname": True,
    }


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ({"protocol": "FTP"}, 21),
        ({"protocol": "SFTP"}, 22),
        ({"protocol": "sftp", "port": None}, 22),
        ({"protocol": "FTPS", "useExplicit": True}, 21),
        ({"protocol": "FTPS", "useImplicit": True}, 990),
        ({"protocol": "ftps", "useImplicit": "true"}, 990),
        ({"protocol": "SFTP", "port": 2222}, 2222),
        ({"protocol": "FTP", "useImplicit": True}, 21),
        ({"protocol": "${PROTOCOL}"}, 21),
    ],
)
def test_a_port_left_out_follows_the_protocol(fields: dict[str, Any], port: int) -> None:
    """Where no port is given, the usual one of the protocol is taken."""
    assert config(**fields).port == port


def test_the_protocol_is_answered_in_upper_case() -> None:
    """The protocol is taken in any case."""
    assert config(protocol="sFtp").wire()["protocol"] == "SFTP"


def test_ftps_needs_a_mode() -> None:
    """FTPS needs one of its two modes, and the problem names every field of the rule."""
    message = refused(protocol="FTPS")["/useExplicit"]

    assert "protocol" in message
    assert "useImplicit" in message


def test_the_two_modes_exclude_one_another() -> None:
    """Both modes at once are refused for every protocol, and the problem names both."""
    assert "useExplicit" in refused(protocol="FTPS", useImplicit=True, useExplicit=True)["/useImplicit"]
    assert "/useImplicit" in refused(protocol="SFTP", useImplicit=True, useExplicit=True)


def test_a_mode_is_ignored_by_other_protocols() -> None:
    """A single mode is accepted for FTP and SFTP."""
    assert config(useExplicit=True).use_explicit
    assert config(protocol="SFTP", useImplicit=True).use_implicit


@pytest.mark.parametrize("name", ["host", "username", "password", "workingDir", "sslProtocol"])
def test_no_line_break_reaches_the_control_channel(name: str) -> None:
    """A line break would begin another FTP command, and is refused everywhere."""
    assert list(refused(**{name: "x\r\nDELE y"})) == [f"/{name}"]


def test_an_unknown_host_key_warns() -> None:
    """SFTP without a fingerprint trusts the key at first use, and a warning says so; the others have no such key."""
    assert warned(protocol="SFTP") == {"host_key_unknown"}
    assert not warned(protocol="SFTP", hostKeyFingerprint="SHA256:" + "A" * 43)
    assert not warned()


def test_an_uncompared_name_warns() -> None:
    """FTPS without a check of the host name is accepted with a warning."""
    ftps = {"protocol": "FTPS", "useExplicit": True}

    assert warned(**ftps, verifyHostname=False) == {"hostname_not_verified"}
    assert not warned(**ftps)
    assert not warned(verifyHostname=False)


def test_secrets_are_lifted_and_come_back() -> None:
    """The password leaves the public half, and returns to its place."""
    whole = config().wire()

    public, secrets = split(FtpConfig, whole)

    assert secrets == {"password": "fake-password"}
    assert "fake-" not in json.dumps(public)
    assert join(FtpConfig, public, secrets) == (whole, {"password"})


@pytest.mark.parametrize(
    "change",
    [
        {"host": "elsewhere.example.com"},
        {"port": 2121},
        {"username": "other"},
        {"protocol": "SFTP", "port": 21},
        {"useExplicit": True},
        {"sslProtocol": "TLSv1"},
        {"verifyHostname": False},
        {"trustStoreName": "other"},
        {"hostKeyFingerprint": "SHA256:" + "A" * 43},
    ],
)
def test_what_decides_where_the_password_goes_is_a_destination(change: dict[str, Any]) -> None:
    """Another server, account, protocol or check is another destination."""
    assert config().destination() != config(**change).destination()


def test_the_directory_is_no_destination() -> None:
    """The same password stays good in another directory."""
    assert config().destination() == config(workingDir="/other").destination()


def test_stores_are_referred_to_only_by_ftps() -> None:
    """FTP and SFTP open no store, so none is a reference."""
    stores = {"trustStoreName": "t", "keyStoreName": "k"}

    assert config(**stores).references() == {}
    assert config(**stores, protocol="FTPS", useExplicit=True).references() == stores
    assert config(**stores, protocol="${PROTOCOL}").references() == stores


def test_variables_stand_anywhere() -> None:
    """A variable stands in for any text, number or choice."""
    fields = ("host", "port", "username", "password", "workingDir", "sslProtocol", "protocol", "timeout", "retryCount")
    found = config(**dict.fromkeys(fields, "${X}"), hostKeyFingerprint="${KEY}")

    assert found.wire()["port"] == "${X}"
