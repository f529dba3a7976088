"""What a RabbitMQ config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.rabbitmq import TYPE
from mooring.types.rabbitmq.model import RabbitMqConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
MINIMAL = {"hostPortList": [{"host": "mq.example.com"}]}
LOGIN = {"authenticationEnabled": True, "connectionFactoryUsername": "u", "connectionFactoryPassword": "fake-password"}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> RabbitMqConfig:
    return read_config(RabbitMqConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted."""
    assert TYPE.name == body["type"]
    read_config(RabbitMqConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(RabbitMqConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert wire["hostPortList"] == [{"host": "mq.example.com", "port": 5672}]
    assert {key: wire[key] for key in wire if wire[key] is not None and key != "hostPortList"} == {
        "connectionFactoryVirtualHost": "/",
        "authenticationEnabled": False,
        "connectionFactoryConnectionTimeout": 60000,
        "connectionFactoryRequestedChannelMax": 2047,
        "connectionFactoryRequestedFrameMax": 0,
        "connectionFactoryRequestedHeartbeat": 60,
        "connectionFactoryUseSslProtocol": False,
        "connectionFactorySslProtocol": "TLSv1.2",
        "channelExchange": "",
        "channelRoutingKey": "<queue-name>",
        "basicPropertiesAppId": "apinizer",
        "basicPropertiesContentType": "application/json",
        "verifyHostname": True,
    }


def test_an_entry_without_host_is_localhost_with_a_warning() -> None:
    """A host list entry may leave out the host; localhost is used, and said."""
    assert config(hostPortList=[{"port": 5673}]).host_port_list[0].host == "localhost"
    assert "host_defaulted" in warned(hostPortList=[{}])
    assert "host_defaulted" not in warned()


def test_login_needs_both_parts() -> None:
    """With authenticationEnabled both the name and the password are needed, and the rule is named."""
    problems = refused(authenticationEnabled=True)

    assert set(problems) == {"/connectionFactoryUsername", "/connectionFactoryPassword"}
    assert all("authenticationEnabled" in message for message in problems.values())


def test_an_empty_password_is_no_password() -> None:
    """An empty password does not satisfy authenticationEnabled."""
    assert "/connectionFactoryPassword" in refused(**{**LOGIN, "connectionFactoryPassword": ""})


def test_secrets_are_lifted_and_come_back() -> None:
    """The password and credential-named client properties leave the public half, and return to their places."""
    properties = {"product": "orders", "api_token": "fake-token", "auth": {"Password": "fake-inner", "realm": "r"}}
    whole = config(**LOGIN, connectionFactoryClientProperties=properties).wire()

    public, secrets = split(RabbitMqConfig, whole)

    assert secrets == {
        "connectionFactoryPassword": "fake-password",
        "connectionFactoryClientProperties/api_token": "fake-token",
        "connectionFactoryClientProperties/auth/Password": "fake-inner",
    }
    assert "fake-" not in json.dumps(public)
    assert public["connectionFactoryClientProperties"]["auth"]["realm"] == "r"
    assert join(RabbitMqConfig, public, secrets) == (whole, set(secrets))


def test_a_placeholder_without_stored_secret_is_refused() -> None:
    """A placeholder that nothing was stored for is no secret."""
    assert "/connectionFactoryClientProperties/token" in refused(
        connectionFactoryClientProperties={"token": "__secret__"}
    )


def test_a_credential_property_must_be_text() -> None:
    """A credential that is not text could not be kept safe, so it is refused by name."""
    assert (
        "token"
        in refused(connectionFactoryClientProperties={"token": {"a": 1}})["/connectionFactoryClientProperties/token"]
    )


def test_lists_of_tables_are_refused() -> None:
    """A list in the client properties holds plain values only."""
    assert "/connectionFactoryClientProperties/a" in refused(
        connectionFactoryClientProperties={"a": [{"password": "x"}]}
    )
    config(connectionFactoryClientProperties={"a": [1, "b", True]})


def test_tables_have_a_depth() -> None:
    """Client properties are nested three deep at most."""
    config(connectionFactoryClientProperties={"a": {"b": {"c": 1}}})
    assert refused(connectionFactoryClientProperties={"a": {"b": {"c": {"d": {"e": 1}}}}})


def test_short_strings_are_counted_in_bytes() -> None:
    """AMQP short strings have 255 bytes, not characters."""
    config(basicPropertiesType="x" * 255)
    assert "/basicPropertiesType" in refused(basicPropertiesType="ş" * 200)


def test_a_foreign_user_id_is_warned_of() -> None:
    """A user id that is not the login is accepted with a warning, because the broker will refuse the message."""
    assert "user_id_matches" in warned(**LOGIN, basicPropertiesUserId="other")
    assert "user_id_matches" not in warned(**LOGIN, basicPropertiesUserId="u")
    assert "user_id_matches" not in warned(**LOGIN, basicPropertiesUserId="${user}")


def test_odd_tls_versions_are_warned_of() -> None:
    """Unknown and old TLS versions are accepted with a warning where TLS is on."""
    assert warned(connectionFactoryUseSslProtocol=True, connectionFactorySslProtocol="TLS") == {"tls_version_unknown"}
    assert warned(connectionFactoryUseSslProtocol=True, connectionFactorySslProtocol="TLSv1.1") == {"tls_version_weak"}
    assert warned(connectionFactoryUseSslProtocol=True, connectionFactorySslProtocol="${tls}") == set()
    assert warned(connectionFactorySslProtocol="TLS") == set()


def test_switched_off_verification_is_warned_of() -> None:
    """Not comparing the host name is accepted with a warning where TLS is on."""
    assert warned(connectionFactoryUseSslProtocol=True, verifyHostname=False) == {"hostname_not_verified"}


def test_stores_count_only_with_tls() -> None:
    """Keystore and truststore are references only where TLS is on."""
    stores = {"trustStoreName": "ca", "keyStoreName": "me"}

    assert config(**stores).references() == {}
    assert config(**stores, connectionFactoryUseSslProtocol=True).references() == stores


def test_destination_covers_the_host_list() -> None:
    """A changed broker list is a changed destination."""
    assert config().destination() != config(hostPortList=[{"host": "elsewhere.example.com"}]).destination()
    assert config().destination() != config(verifyHostname=False).destination()


NOT_TEXT = {"hostPortList", "connectionFactoryClientProperties"}


@pytest.mark.parametrize(
    "name",
    [
        info.alias
        for info in RabbitMqConfig.model_fields.values()
        if "bool" not in str(info.annotation) and info.alias not in NOT_TEXT
    ],
)
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_a_variable_may_stand_for_host_and_port() -> None:
    """The host list takes variable references too."""
    entry = {"host": "${host}", "port": "${port}"}

    assert config(hostPortList=[entry]).wire()["hostPortList"] == [entry]


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(
        basicPropertiesExpiration="fake-secret-text", connectionFactoryRequestedHeartbeat="fake-secret-text"
    )

    assert len(problems) == 2
    assert "fake-secret-text" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(RabbitMqConfig, typed(example)).warnings()) == []
