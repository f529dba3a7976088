"""What an LDAP config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.ldap import TYPE
from mooring.types.ldap.model import LdapConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {
    "serverAddress": "ldap://ldap.example.com:389",
    "username": "cn=reader,dc=example,dc=com",
    "password": "fake-password",
    "baseDn": "dc=example,dc=com",
}
TLS = {"serverAddress": "ldaps://ldap.example.com:636", "useSsl": True}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> LdapConfig:
    return read_config(LdapConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"], ids=lambda body: body["name"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted, and its wire form is accepted again."""
    found = read_config(LdapConfig, typed(body))

    assert TYPE.name == body["type"]
    assert LdapConfig.from_wire(found.wire()).wire() == found.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, the problem points at the field, and nothing that was sent is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(LdapConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]
    assert not any("fake" in problem.message for problem in caught.value.problems)


def test_the_example_is_accepted() -> None:
    """The example that documents the room is a body of this type, without warnings."""
    body = json.loads((ROOM / "example.json").read_text(encoding="utf-8"))

    assert TYPE.name == body["type"]
    assert not list(read_config(LdapConfig, typed(body)).warnings())


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert {key: value for key, value in wire.items() if key not in MINIMAL and value is not None} == {
        "requireCertificateType": "NOT_REQUIRED",
        "searchScope": "SUBTREE",
        "useSsl": False,
        "connectionTimeout": 30000,
        "useStartTls": False,
    }


@pytest.mark.parametrize("value", [None, 0, -5, "0", "-1"])
def test_no_timeout_means_the_default(value: Any) -> None:
    """Nothing, 0 and less mean the default of 30 seconds."""
    assert config(connectionTimeout=value).connection_timeout == 30000


def test_a_checked_certificate_must_be_named() -> None:
    """With useSsl, a check needs something to trust, and the problem names every field of the rule."""
    message = refused(**TLS, requireCertificateType="REQUIRED_CN")["/certificateId"]

    for name in ("useSsl", "requireCertificateType", "certificateName", "trustStoreName"):
        assert name in message


@pytest.mark.parametrize("name", ["certificateId", "certificateName", "trustStoreName"])
def test_any_trusted_material_satisfies_the_check(name: str) -> None:
    """A certificate by id or name, or a truststore, is something to trust."""
    assert config(**TLS, requireCertificateType="REQUIRED_AN_PN", **{name: "x"}).checks_certificate()


def test_problems_of_a_filter_say_what_is_wrong() -> None:
    """A broken filter is refused with a reason, and is not quoted."""
    message = refused(customFilter="(uid=quoted-nowhere")["/customFilter"]

    assert "parenthesis" in message
    assert "quoted-nowhere" not in message


def test_a_filter_with_a_variable_is_not_parsed() -> None:
    """A filter is checked when its variables are resolved."""
    assert config(customFilter="${FILTER}").custom_filter == "${FILTER}"


@pytest.mark.parametrize(
    "dn", ["dc=example", "OU=a b, DC=example", "cn=a+sn=b,o=c", r"cn=a\, b,o=\c3\96", "2.5.4.3=x", "cn=#0403", "o="]
)
def test_distinguished_names(dn: str) -> None:
    """A base DN may have everything that RFC 4514 allows."""
    assert config(baseDn=dn).base_dn == dn


@pytest.mark.parametrize("dn", ["example", "=x", "dc=a,,dc=b", "dc=a;dc=b", "dc=<a>", "dc=a\\", "dc=a+"])
def test_texts_that_are_no_distinguished_names(dn: str) -> None:
    """A base DN that cannot be one is refused, and not quoted."""
    assert "distinguished name" in refused(baseDn=dn)["/baseDn"]


def test_an_ldap_address_with_use_ssl_warns() -> None:
    """useSsl asks for an ldaps address."""
    assert "scheme_matches_ssl" in warned(useSsl=True)
    assert "scheme_matches_ssl" not in warned(**TLS)
    assert "scheme_matches_ssl" not in warned(useSsl=True, serverAddress="${LDAP_URL}")


def test_two_ways_of_tls_warn() -> None:
    """useSsl and useStartTls exclude one another; both are accepted with a warning."""
    assert "ssl_xor_starttls" in warned(**TLS, useStartTls=True)


def test_an_unchecked_certificate_warns() -> None:
    """The documented default does not check the certificate, and a warning says so; without TLS there is nothing to say."""
    assert warned(**TLS) == {"certificate_not_checked"}
    assert not warned()


def test_a_certificate_by_id_warns() -> None:
    """An id alone satisfies the documented rule, yet a certificate is found by its name."""
    assert warned(**TLS, requireCertificateType="REQUIRED_CN", certificateId="x") == {"certificate_by_id"}


def test_secrets_are_lifted_and_come_back() -> None:
    """The password leaves the public half, and returns to its place."""
    whole = config().wire()

    public, secrets = split(LdapConfig, whole)

    assert secrets == {"password": "fake-password"}
    assert "fake-" not in json.dumps(public)
    assert join(LdapConfig, public, secrets) == (whole, {"password"})


def test_the_destination_is_address_account_and_trust() -> None:
    """Another address, account or check is another destination; another base is not."""
    before = config().destination()

    assert before == config(baseDn="dc=other").destination()
    assert before != config(serverAddress="ldap://elsewhere.example.com").destination()
    assert before != config(username="cn=other").destination()
    assert before != config(useStartTls=True).destination()


def test_only_material_that_is_used_is_referred_to() -> None:
    """Without TLS nothing is referred to, and without a check nothing that would be trusted."""
    named = {"certificateName": "c", "trustStoreName": "t", "keyStoreName": "k"}

    assert config(**named).references() == {}
    assert config(**TLS, **named).references() == {"keyStoreName": "k"}
    assert config(**TLS, **named, requireCertificateType="REQUIRED_CN").references() == named


def test_variables_stand_anywhere() -> None:
    """A variable stands in for any text, number or choice."""
    fields = (
        "serverAddress",
        "username",
        "password",
        "baseDn",
        "customFilter",
        "requireCertificateType",
        "searchScope",
    )
    found = config(**dict.fromkeys((*fields, "connectionTimeout", "certificateName"), "${X}"))

    assert found.wire()["connectionTimeout"] == "${X}"
