"""How broker URLs are read, and where their credentials are found."""

from __future__ import annotations

import pytest

from mooring.plugin.secrets import PLACEHOLDER
from mooring.types.activemq.broker_url import BrokerUrlError, parse, refusals, spans


def test_a_single_broker() -> None:
    """A plain URL is one broker with its options."""
    url = parse("tcp://mq.example.com:61616?keepAlive=true&soTimeout=0")

    (broker,) = url.brokers
    assert (broker.scheme, broker.host, broker.port, url.failover) == ("tcp", "mq.example.com", 61616, False)
    assert [(option.name, option.value) for option in broker.options] == [("keepAlive", "true"), ("soTimeout", "0")]


def test_a_failover_list() -> None:
    """A failover URL is its brokers in order, each with its own options, and the options of the list."""
    url = parse("failover:(tcp://a:1?keepAlive=true,ssl://[::1]:2)?randomize=false")

    assert [(broker.scheme, broker.address) for broker in url.brokers] == [("tcp", "a:1"), ("ssl", "[::1]:2")]
    assert [option.name for option in url.options] == ["randomize"]
    assert url.failover and url.uses_tls


@pytest.mark.parametrize(
    "text", ["failover:(tcp://a:1,tcp://b:2)", "failover://(tcp://a:1,tcp://b:2)", "FAILOVER:tcp://a:1,tcp://b:2"]
)
def test_failover_is_written_three_ways(text: str) -> None:
    """The slashes and the parentheses of a failover URL may be left out."""
    assert [broker.address for broker in parse(text).brokers] == ["a:1", "b:2"]


def test_default_ports_follow_the_scheme() -> None:
    """Where no port is given, the scheme says which."""
    assert [parse(f"{scheme}://h").brokers[0].address for scheme in ("tcp", "ssl", "amqp", "amqps")] == [
        "h:61616", "h:61617", "h:5672", "h:5671",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "tcp", "tcp:h", "tcp://", "tcp://:1", "tcp://h:0", "tcp://h:1:2", "tcp://h:1#f", "tcp://h:1/x", "tcp://h:1?x", "tcp://h:1?=x",
     "failover:", "failover:(", "failover:()", "failover:(tcp://a:1,)", "failover:(tcp://a:1)x", "tcp://a:1,tcp://b:1", "tcp://h h:1"],
)  # fmt: skip
def test_what_is_no_broker_url(text: str) -> None:
    """What does not follow the grammar is refused."""
    with pytest.raises(BrokerUrlError):
        parse(text)


def test_a_long_list_is_refused() -> None:
    """A failover list has a length."""
    with pytest.raises(BrokerUrlError):
        parse("failover:(" + ",".join(f"tcp://h{index}:1" for index in range(33)) + ")")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vm://x", "vm"), ("peer://x", "peer"), ("discovery:(multicast://default)", None), ("failover:(tcp://a:1,vm://b)", "vm"),
        ("tcp://h:1?brokerConfig=x", "brokerConfig"), ("failover:(tcp://a:1)?updateURIsURL=file:/x", "updateURIsURL"),
        ("failover:(tcp://a:1?jms.blobTransferPolicy.uploadUrl=http://x)", "jms.blobTransferPolicy.uploadUrl"),
        ("amqps://h?transport.trustAll=true", "trustStoreName"), ("ssl://h:1?socket.verifyHostName=false", "verifyHostname"),
        ("tcp://h:1?trace=true&trace=false", "more than once"), ("tcp://h:1?randomize=true", "randomize"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_named(text: str, named: str | None) -> None:
    """A scheme or option that is not on the list is refused by its name."""
    if named is None:
        with pytest.raises(BrokerUrlError):
            parse(text)
        return
    assert any(named in reason for reason in refusals(parse(text)))


def test_refusals_never_repeat_values() -> None:
    """A refusal names the option, never its value."""
    assert "fake-value" not in " ".join(refusals(parse("tcp://h:1?unknown=fake-value")))


def lifted(text: str) -> dict[str, str]:
    return {span.name: text[span.start : span.end] for span in spans(text)}


def test_credentials_are_found() -> None:
    """Userinfo passwords and credential-named options are found, and nothing else."""
    assert lifted("tcp://user:pass-1@h:1?jms.password=pass-2&jms.userName=u&keepAlive=true") == {
        "userinfo": "pass-1",
        "jmspassword": "pass-2",
    }
    assert lifted("tcp://user@h:1") == {}


def test_in_a_list_a_credential_is_known_by_its_broker() -> None:
    """Reordering a failover list moves no password to another broker."""
    one, two = "tcp://u:pass-a@a:1", "tcp://u:pass-b@b:1"

    assert (
        lifted(f"failover:({one},{two})")
        == lifted(f"failover:({two},{one})")
        == {"userinfo@a:1": "pass-a", "userinfo@b:1": "pass-b"}
    )


def test_the_same_parts_are_found_among_placeholders() -> None:
    """The holes of a URL have the names that the secrets had."""
    text = "failover:(tcp://u:pass-a@a:1?jms.password=x,tcp://u:pass-b@b:1)?jms.password=y"
    holes = (
        text.replace("pass-a", PLACEHOLDER)
        .replace("pass-b", PLACEHOLDER)
        .replace("=x", "=" + PLACEHOLDER)
        .replace("=y", "=" + PLACEHOLDER)
    )

    assert list(lifted(text)) == list(lifted(holes))


def test_what_cannot_be_read_is_withheld_whole() -> None:
    """A text that is no URL may hide a credential anywhere, so all of it is one secret."""
    assert lifted("not a url with fake-secret") == {"whole": "not a url with fake-secret"}


def test_a_variable_may_stand_for_parts() -> None:
    """Variables may stand for the whole, a broker, a host, a port or a password."""
    assert lifted("${broker}") == {}
    assert parse("failover:(${a},tcp://${host}:${port})").uses_tls
    assert lifted("tcp://u:${password}@${host}:1") == {"userinfo": "${password}"}
