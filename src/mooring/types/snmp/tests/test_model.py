"""What an SNMP config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.snmp import TYPE
from mooring.types.snmp.model import SnmpConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
MINIMAL = {
    "connectionString": "udp:nms.example.com/162",
    "securityOrCommunityName": "fake-community",
    "pduOidForMessage": ".1.3.6.1.2.1.1.6",
}
V3 = {
    "version": "V3",
    "securityLevel": "AUTH_PRIV",
    "usmUserAuthenticationProtocol": "AuthSHA",
    "authPassphrase": "fake-auth-pass",
    "usmUserPrivacyProtocol": "PrivAES128",
    "privPassphrase": "fake-priv-pass",
}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> SnmpConfig:
    return read_config(SnmpConfig, {**MINIMAL, **changes})


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
    read_config(SnmpConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(SnmpConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = read_config(SnmpConfig, {key: value for key, value in MINIMAL.items() if key != "connectionString"}).wire()

    assert {
        key: value
        for key, value in wire.items()
        if value is not None and key not in ("securityOrCommunityName", "pduOidForMessage")
    } == {
        "version": "V1",
        "connectionString": "udp:192.168.1.2/162",
        "pduVariableMap": {},
        "privacyProtocolList": [],
        "enableUserAuthentication": False,
    }


def test_misspelt_keys_are_understood() -> None:
    """The misspelt keys of old documents are taken for the canonical ones, which are answered."""
    body = {
        "connectionString": "udp:nms/162",
        "securityOrCommunityName": "c",
        "pduUdpForMessage": "1.3.6",
        "pduUdpForTime": "1.3.7",
    }

    wire = read_config(SnmpConfig, {**body, "enabledUserAuthentication": True}).wire()

    assert (wire["pduOidForMessage"], wire["pduOidForTime"], wire["enableUserAuthentication"]) == (
        "1.3.6",
        "1.3.7",
        True,
    )
    assert "pduUdpForMessage" not in wire


def test_the_canonical_key_wins_with_a_warning() -> None:
    """Where both spellings are sent with different values, the canonical one counts and the clash is said."""
    both = config(pduUdpForMessage="1.3.6.1.9")

    assert both.pdu_oid_for_message == MINIMAL["pduOidForMessage"]
    assert [(problem.path, problem.code) for problem in both.warnings()] == [("/pduOidForMessage", "alias_clash")]
    assert warned(pduUdpForMessage=MINIMAL["pduOidForMessage"]) == set()


@pytest.mark.parametrize(("sent", "kept"), [("v1", "V1"), ("v2c", "V2c"), ("V2C", "V2c"), ("v3", "V3")])
def test_versions_have_other_spellings(sent: str, kept: str) -> None:
    """Other spellings of a version are stored as the documented one."""
    assert config(version=sent).version == kept


@pytest.mark.parametrize("version", ["V1", "V2c", "v2c", "${version}"])
def test_a_community_is_a_secret(version: str) -> None:
    """Unless the version is plainly V3, the name is a community: it leaves the public half and comes back."""
    whole = config(version=version).wire()

    public, secrets = split(SnmpConfig, whole)

    assert secrets == {"securityOrCommunityName": "fake-community"}
    assert public["securityOrCommunityName"] is None
    assert join(SnmpConfig, public, secrets) == (whole, set(secrets))


def test_a_v3_user_is_no_secret() -> None:
    """With V3 the name is a user and stays readable; the passphrases are the secrets."""
    whole = config(**V3).wire()

    public, secrets = split(SnmpConfig, whole)

    assert secrets == {"authPassphrase": "fake-auth-pass", "privPassphrase": "fake-priv-pass"}
    assert public["securityOrCommunityName"] == "fake-community"
    assert "pass" not in str(public["authPassphrase"])
    assert join(SnmpConfig, public, secrets) == (whole, set(secrets))


def test_a_kept_community_never_becomes_a_user_name() -> None:
    """Changing the version to V3 does not turn the stored community into a name that everyone may read."""
    values, used = join(
        SnmpConfig, {"version": "V3", "securityOrCommunityName": None}, {"securityOrCommunityName": "fake-community"}
    )

    assert (values["securityOrCommunityName"], used) == (None, set())


def test_a_community_is_kept_where_the_version_is_left_out() -> None:
    """A PUT without version means V1, so an absent community keeps the stored one."""
    values, _ = join(SnmpConfig, {}, {"securityOrCommunityName": "fake-community"})

    assert values["securityOrCommunityName"] == "fake-community"


def test_a_placeholder_without_stored_secret_is_refused() -> None:
    """A placeholder that nothing was stored for is no secret."""
    assert "/securityOrCommunityName" in refused(securityOrCommunityName="__secret__")


def test_the_community_is_not_its_own_destination() -> None:
    """A new community is no new destination; a new V3 user is."""
    assert config().destination() == config(securityOrCommunityName="other").destination()
    assert config(**V3).destination() != config(**V3, securityOrCommunityName="other").destination()
    assert config().destination() != config(connectionString="udp:elsewhere/162").destination()
    assert "fake-community" not in str(config().destination())


def test_passphrases_are_counted_only_with_v3() -> None:
    """The length of a passphrase matters with V3 only, and a variable is exempt."""
    assert "/authPassphrase" in refused(**{**V3, "authPassphrase": "short"})
    config(version="V2c", authPassphrase="short")
    config(**{**V3, "authPassphrase": "${p}"})


def test_every_missing_v3_part_is_named() -> None:
    """AUTH_PRIV without its material names all four parts at once."""
    assert set(refused(version="V3", securityLevel="AUTH_PRIV")) == {
        "/usmUserAuthenticationProtocol",
        "/authPassphrase",
        "/usmUserPrivacyProtocol",
        "/privPassphrase",
    }


def test_an_inform_with_v1_is_warned_of() -> None:
    """V1 knows no informs; the body is accepted with a warning."""
    assert warned(messageType="INFORM") == {"v1_inform"}
    assert warned(messageType="INFORM", version="V2c") == set()


def test_the_default_target_is_warned_of() -> None:
    """The documented default address is an example, so leaving it out is said."""
    assert warned(connectionString=None) == {"target_defaulted"}


def test_the_map_has_a_size() -> None:
    """pduVariableMap holds 64 entries at most."""
    config(pduVariableMap={f"1.3.{index}": "v" for index in range(64)})
    assert "/pduVariableMap" in refused(pduVariableMap={f"1.3.{index}": "v" for index in range(65)})


NOT_TEXT = {"pduVariableMap", "privacyProtocolList"}


@pytest.mark.parametrize(
    "name",
    [
        info.alias
        for info in SnmpConfig.model_fields.values()
        if "bool" not in str(info.annotation) and info.alias not in NOT_TEXT
    ],
)
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(
        **{**V3, "authPassphrase": "fake-1", "connectionString": "fake-2", "timeout": "fake-3", "version": "V3"}
    )

    assert len(problems) == 3
    assert "fake-" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(SnmpConfig, typed(example)).warnings()) == []
