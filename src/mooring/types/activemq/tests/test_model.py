"""What an ActiveMQ config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.activemq import TYPE
from mooring.types.activemq.model import ActiveMqConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
MINIMAL = {
    "activeMqConnectionProtocolType": "TCP",
    "brokerURL": "tcp://mq.example.com:61616",
    "destinationType": "QUEUE",
    "destinationName": "orders",
}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> ActiveMqConfig:
    return read_config(ActiveMqConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted."""
    assert body["type"] in (TYPE.name, *TYPE.aliases)
    read_config(ActiveMqConfig, typed(body))


@pytest.mark.parametrize("case", BODIES["refused"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, and the problem points at the field."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(ActiveMqConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert {key: value for key, value in wire.items() if value is not None and key not in MINIMAL} == {
        "sessionAcknowledgement": "AUTO_ACKNOWLEDGE",
        "sendTimeout": 60000,
        "requestTimeout": 60000,
        "closeTimeout": 60000,
        "connectTimeout": 60000,
        "verifyHostname": True,
    }


def test_wire_spellings() -> None:
    """The odd spellings of the contract are kept: brokerURL, clientID, sessionAcknowledgement."""
    assert {"brokerURL", "clientID", "sessionAcknowledgement", "activeMqConnectionProtocolType"} <= set(config().wire())


def test_other_spellings_are_understood() -> None:
    """sessionAcknowledgment and clientId are taken for their canonical keys, which win where both stand."""
    wire = config(sessionAcknowledgment="CLIENT_ACKNOWLEDGE", clientId="a").wire()

    assert (wire["sessionAcknowledgement"], wire["clientID"]) == ("CLIENT_ACKNOWLEDGE", "a")
    assert config(clientId="a", clientID="b").wire()["clientID"] == "b"


def test_a_refused_option_is_named_and_its_value_is_not() -> None:
    """The sentence about a refused option names it, and holds no value."""
    message = refused(brokerURL="tcp://h:1?brokerConfig=fake-value")["/brokerURL"]

    assert "brokerConfig" in message and "fake-value" not in message


def test_secrets_are_lifted_and_come_back() -> None:
    """Passwords, also those inside the URL, leave the public half and return to their places."""
    whole = config(
        username="u",
        password="fake-1",
        brokerURL="failover:(tcp://u:fake-2@a:1,tcp://u:fake-3@b:2)?jms.password=fake-4",
    ).wire()

    public, secrets = split(ActiveMqConfig, whole)

    assert secrets == {
        "password": "fake-1",
        "brokerURL/userinfo@a:1": "fake-2",
        "brokerURL/userinfo@b:2": "fake-3",
        "brokerURL/jmspassword": "fake-4",
    }
    assert public["brokerURL"] == "failover:(tcp://u:__secret__@a:1,tcp://u:__secret__@b:2)?jms.password=__secret__"
    assert join(ActiveMqConfig, public, secrets) == (whole, set(secrets))


def test_a_placeholder_without_stored_secret_is_refused() -> None:
    """A placeholder that nothing was stored for is no secret."""
    assert any(path.startswith("/brokerURL") for path in refused(brokerURL="tcp://u:__secret__@h:1"))


def test_scheme_and_protocol_should_agree() -> None:
    """A scheme that does not fit the protocol is accepted with a warning."""
    amqp = {"activeMqConnectionProtocolType": "AMQP"}

    assert warned(brokerURL="amqp://h") == {"scheme_vs_protocol"}
    assert warned(**amqp) == {"scheme_vs_protocol"}
    assert warned(**amqp, brokerURL="failover:(amqps://a,tcp://b:1)") == {"scheme_vs_protocol"}
    assert warned(**amqp, brokerURL="failover:(amqps://a,amqp+ssl://b)") == set()
    assert warned(activeMqConnectionProtocolType="${p}", brokerURL="amqp://h") == set()
    assert warned(brokerURL="${url}") == set()


def test_half_a_login_is_warned_of() -> None:
    """A name without a password, or the reverse, is accepted with a warning at the missing half."""
    assert warned(username="u") == warned(password="fake") == {"login_pair"}
    assert warned(username="u", password="fake") == set()


def test_stores_count_only_with_tls() -> None:
    """Keystore and truststore are references only where a broker is, or may be, reached over TLS."""
    stores = {"trustStoreName": "ca", "keyStoreName": "me"}

    assert config(**stores).references() == {}
    assert config(**stores, brokerURL="ssl://h:1").references() == stores
    assert config(**stores, brokerURL="failover:(tcp://h:1,nio+ssl://h:2)").references() == stores
    assert config(**stores, brokerURL="${url}").references() == stores


def test_switched_off_verification_is_warned_of() -> None:
    """Not comparing the host name is accepted with a warning where TLS is used."""
    assert warned(brokerURL="ssl://h:1", verifyHostname=False) == {"hostname_not_verified"}
    assert warned(verifyHostname=False) == set()


def test_a_changed_url_is_a_changed_destination() -> None:
    """Everything in brokerURL says where the password goes."""
    assert config().destination() != config(brokerURL="tcp://elsewhere.example.com:61616").destination()


@pytest.mark.parametrize(
    "name", [info.alias for info in ActiveMqConfig.model_fields.values() if "bool" not in str(info.annotation)]
)
def test_a_variable_may_stand_in_every_field(name: str) -> None:
    """Every text and number may be a variable reference."""
    assert config(**{name: "${variable}"})


def test_errors_never_repeat_what_was_sent() -> None:
    """No problem contains a sent value."""
    problems = refused(brokerURL="http://user:fake-secret@h", sendTimeout="fake-secret", destinationType="fake-secret")

    assert len(problems) == 3
    assert "fake-secret" not in str(problems)


def test_the_example_is_accepted_whole() -> None:
    """example.json is accepted without a warning."""
    example = json.loads((ROOM / "example.json").read_text())

    assert list(read_config(ActiveMqConfig, typed(example)).warnings()) == []
