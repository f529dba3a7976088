"""Whose a request is, with proxies in between."""

from __future__ import annotations

import pytest

from mooring.kit.addresses import client_address, is_loopback, limit_key, parse_networks

PROXIES = parse_networks("10.0.0.0/8, 2001:db8:1::/48")


@pytest.mark.parametrize(("peer", "headers", "client"), [
    ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),                       # not a proxy of ours: it may say what it likes
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
    ("10.0.0.1", ["6.6.6.6, 198.51.100.9"], "198.51.100.9"),            # what the client claims of itself
    ("10.0.0.1", ["6.6.6.6, 198.51.100.9, 10.2.3.4"], "198.51.100.9"),  # two proxies
    ("10.0.0.1", ["6.6.6.6", "198.51.100.9"], "198.51.100.9"),          # two headers are one list
    ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
    ("10.0.0.1", ["198.51.100.9, unknown"], "10.0.0.1"),
    ("10.0.0.1", ["198.51.100.9, , 10.2.3.4"], "10.2.3.4"),
    ("10.0.0.1", ["198.51.100.9:4711"], "198.51.100.9"),
    ("10.0.0.1", ["[2001:db8:2::9]:4711"], "2001:db8:2::9"),
    ("2001:db8:1::1", ["2001:db8:2::9"], "2001:db8:2::9"),
    ("::ffff:10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
    ("10.0.0.1", ["::ffff:198.51.100.9"], "198.51.100.9"),
    ("testclient", ["198.51.100.9"], "testclient"),
])  # fmt: skip
def test_the_first_from_the_right_that_is_no_proxy(peer: str, headers: list[str], client: str) -> None:
    """Only what trusted hops appended is believed."""
    assert client_address(peer, headers, PROXIES) == client


def test_a_long_list_is_not_read_to_its_end() -> None:
    """The work that a header can make is bounded."""
    assert client_address("10.0.0.1", ["198.51.100.9," + ",".join(["10.1.1.1"] * 5000)], PROXIES) == "10.1.1.1"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example.com", "10.0.0.1/8"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """A host bit too many too: it may be a slip of the pen."""
    with pytest.raises(ValueError, match="must be addresses or CIDRs"):
        parse_networks(text)


def test_one_ipv6_client_has_a_whole_64() -> None:
    """So all of its addresses are counted as one; IPv4 addresses each for itself."""
    assert limit_key("2001:db8::1") == limit_key("2001:db8::ffff:1") != limit_key("2001:db8:0:1::1")
    assert limit_key("192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("LOCALHOST.", True),
    ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False),
    ("localhost.example.com", False), ("127.0.0.1.example.com", False), ("", False),
])  # fmt: skip
def test_loopback_is_told_by_its_name(host: str, expected: bool) -> None:
    """Nothing is looked up, so nobody's name server decides."""
    assert is_loopback(host) is expected
