"""What a syslog config accepts, refuses and warns of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.syslog import TYPE
from mooring.types.syslog.model import FACILITIES, SEVERITIES, Facility, Severity, SyslogConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
MINIMAL = {"syslogServerHostname": "syslog.example.com"}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> SyslogConfig:
    return read_config(SyslogConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted."""
    assert body["type"] == TYPE.name
    read_config(SyslogConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(SyslogConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults() -> None:
    """What is left out has its documented default."""
    assert {key: value for key, value in config().wire().items() if value is not None} == {
        "syslogServerHostname": "syslog.example.com",
        "syslogProtocolType": "TCP",
        "syslogPort": 514,
        "syslogTimeout": 500,
        "syslogMessageFormat": "RFC_3164",
        "syslogAppName": "Apinizer",
        "syslogFacility": "AUDIT",
        "syslogSeverity": "INFORMATIONAL",
        "syslogSslEnabled": False,
        "verifyHostname": True,
    }


def test_every_facility_and_severity_has_its_number() -> None:
    """The tables of numbers cover exactly the allowed words, in order."""
    assert list(FACILITIES.items()) == list(zip(get_args(get_args(Facility)[0]), range(24), strict=True))
    assert list(SEVERITIES.items()) == list(zip(get_args(get_args(Severity)[0]), range(8), strict=True))


def test_there_is_nothing_to_lift() -> None:
    """The message host name is no secret: all of the config is its public half."""
    whole = config(syslogMessageHostname="a-token").wire()

    assert split(SyslogConfig, whole) == (whole, {})
    assert join(SyslogConfig, whole, {}) == (whole, set())


def test_the_message_hostname_stays_out_of_representations() -> None:
    """A token in the message host name does not show in what a log would print."""
    assert "a-token" not in f"{config(syslogMessageHostname='a-token')!r} {config(syslogMessageHostname='a-token')}"


def test_tls_over_udp_is_warned_of() -> None:
    """UDP has no TLS here; the flag is kept and said to be without effect."""
    assert warned(syslogProtocolType="UDP", syslogSslEnabled=True) == {"ssl_needs_tcp"}
    assert warned(syslogProtocolType="${transport}", syslogSslEnabled=True) == set()


def test_rfc5425_without_tls_is_warned_of() -> None:
    """RFC_5425 wants TCP and TLS."""
    assert warned(syslogMessageFormat="RFC_5425") == {"rfc5425_tls"}
    assert warned(syslogMessageFormat="RFC_5425", syslogProtocolType="UDP") == {"rfc5425_tls"}
    assert warned(syslogMessageFormat="RFC_5425", syslogSslEnabled=True) == set()


def test_header_fields_are_words() -> None:
    """Blanks and letters beyond ASCII in a header field are accepted with a warning."""
    assert warned(syslogAppName="two words") == warned(syslogMessageHostname="ğ") == {"header_word"}
    assert warned(syslogAppName="${two} words") == set()


def test_a_long_app_name_is_warned_of() -> None:
    """More than 48 characters are accepted with a warning, more than 255 are not."""
    assert warned(syslogAppName="a" * 48) == set()
    assert warned(syslogAppName="a" * 49) == {"app_name_length"}
    assert "/syslogAppName" in refused(syslogAppName="a" * 256)


def test_switched_off_verification_is_warned_of() -> None:
    """Not comparing the host name is accepted with a warning where TLS is on."""
    assert warned(syslogSslEnabled=True, verifyHostname=False) == {"hostname_not_verified"}
    assert warned(verifyHostname=False) == set()


def test_stores_count_only_with_tls() -> None:
    """Keystore and truststore are references only where messages go over TLS."""
    stores = {"trustStoreName": "ca", "keyStoreName": "me"}

    assert config(**stores).references() == {}
    assert config(**stores, syslogSslEnabled=True, syslogProtocolType="UDP").references() == {}
    assert config(**stores, syslogSslEnabled=True).references() == stores


def test_destination() -> None:
    """Server and transport are the destination; what messages say is not."""
    assert config().destination() != config(syslogServerHostname="other").destination()
    assert config().destination() != config(syslogSslEnabled=True).destination()
    assert config().destination() == config(syslogAppName="other").destination()


@pytest.mark.parametrize(
    "name", [info.alias for info in SyslogConfig.model_fields.values() if "bool" not in str(info.annotation)]
)
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(syslogMessageHostname="fake\nsecret", syslogPort="fake-secret", syslogFacility="fake-secret")

    assert len(problems) == 3
    assert "fake" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(SyslogConfig, typed(example)).warnings()) == []
