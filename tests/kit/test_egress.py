"""Where a worker may connect to."""

from __future__ import annotations

import pytest

from mooring.errors import BadRequest, EgressDenied
from mooring.kit.egress import ANYWHERE_HERE, Egress, as_address, canonical, read_rules
from mooring.kit.settings import read_settings

NOBODY_SHOULD = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "fd00:ec2::254", "fd20:ce::254", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "239.255.255.250", "ff02::1",
    "255.255.255.255", "240.0.0.1", "64:ff9b:1::a9fe:a9fe", "::ffff:169.254.169.254", "::169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "2001:0:808:808::5601:5601",
    "fd12::5efe:a9fe:a9fe",
]  # fmt: skip
"""The last but one is a Teredo client at 169.254.169.254, the very last an ISATAP interface there."""

THIS_MACHINE = [
    "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2001:0:7f00:1::f7f7:f7f7", "2001:0:808:808::80ff:fffe",
]  # fmt: skip

ELSEWHERE = [
    "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "fd12::1", "192.0.2.1", "8.8.8.8", "2606:4700::1111",
    "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("policy", [Egress(), ANYWHERE_HERE, Egress.read("0.0.0.0/0 ::/0", "", True)], ids=str)
@pytest.mark.parametrize("address", NOBODY_SHOULD)
def test_what_no_worker_needs_is_denied_whatever_the_settings(policy, address):
    """Metadata, link-local, multicast and such are denied, also where they travel inside another address."""
    with pytest.raises(EgressDenied):
        policy.check_all("host", [address])


@pytest.mark.parametrize("address", THIS_MACHINE)
def test_loopback_is_denied_by_default(address):
    """This machine is denied in every form of its address; a range of everything does not mean it."""
    for policy in (Egress(), Egress.read("0.0.0.0/0,::/0")):
        with pytest.raises(EgressDenied) as denied:
            policy.check_all("host", [address])

        assert "MOORING_EGRESS_LOOPBACK" in str(denied.value.hint)


@pytest.mark.parametrize("address", THIS_MACHINE)
def test_loopback_can_be_allowed(address):
    """MOORING_EGRESS_LOOPBACK allows it, beside an allow list as well."""
    ANYWHERE_HERE.check_all("host", [address])
    Egress.read("10.0.0.0/8", "", True).check_all("host", [address])


def test_an_allow_list_may_speak_of_loopback_itself():
    """A range that lies inside loopback allows that part of it, and nothing else."""
    policy = Egress.read("127.0.0.2")

    policy.check_all("host", ["127.0.0.2"])

    with pytest.raises(EgressDenied):
        policy.check_all("host", ["127.0.0.1"])


@pytest.mark.parametrize("address", ELSEWHERE)
def test_private_and_public_addresses_are_allowed_by_default(address):
    """Systems of one's own network are what a worker is for."""
    Egress().check_all("host", [address])


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"])
def test_a_deny_list_sees_through_every_form(address):
    """What is denied as IPv4 is denied inside IPv6 too, and no allow list helps."""
    policy = Egress.read("10.0.0.0/8", "10.0.0.0/24")

    with pytest.raises(EgressDenied, match="deny list"):
        policy.check_all("host", [address])


def test_an_allow_list_is_exclusive():
    """Where there is one, what is not on it is denied."""
    policy = Egress.read("10.0.0.0/8, db.example.com *.internal.example.com")

    policy.check_all("any", ["10.9.9.9"])
    policy.check_all("db.example.com", ["192.0.2.1"])
    policy.check_all("a.b.internal.example.com", ["192.0.2.1"])

    for host in ("example.com", "internal.example.com", "xdb.example.com"):
        with pytest.raises(EgressDenied, match="allow list"):
            policy.check_all(host, ["192.0.2.1"])


def test_an_allowed_name_does_not_lead_to_denied_addresses():
    """A name on the allow list may still not resolve to metadata or to this machine."""
    policy = Egress.read("db.example.com")

    for address in ("169.254.169.254", "127.0.0.1"):
        with pytest.raises(EgressDenied):
            policy.check_all("db.example.com", [address])


def test_one_denied_address_denies_the_name():
    """Every address counts: a name with one denied address is denied."""
    with pytest.raises(EgressDenied):
        Egress().check_all("host", ["192.0.2.1", "127.0.0.1"])


SPELLINGS = [
    "127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.", "[::1]",
    "[::ffff:7f00:1]", "\uff11\uff12\uff17.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_an_address_is_known_without_a_look_up_however_it_is_spelled(host):
    """Octal, hexadecimal, decimal, short and full-width spellings are addresses all the same."""
    with pytest.raises(EgressDenied):
        Egress().check_host(host)

    ANYWHERE_HERE.check_host(host)


@pytest.mark.parametrize("host", ["", "/var/run/postgresql", "a/b", "fe80::1%eth0", "a\0b"])
def test_what_is_no_host_is_refused(host):
    """A path, for a Unix socket, an empty text and a zone are no hosts."""
    with pytest.raises(EgressDenied):
        ANYWHERE_HERE.check_host(host)


def test_a_denied_name_is_denied_in_every_spelling():
    """Case, a trailing dot, and IDN do not matter."""
    policy = Egress.read("", "db.example.com bücher.example *.bad.example")

    for host in ("DB.Example.Com", "db.example.com.", "BÜCHER.example", "xn--bcher-kva.example", "a.bad.example"):
        with pytest.raises(EgressDenied, match="deny list"):
            policy.check_host(host)
    policy.check_host("bad.example")


def test_names_alone_deny_every_other_name_without_a_look_up():
    """Where only names are allowed, no look-up can make another one right."""
    with pytest.raises(EgressDenied):
        Egress.read("db.example.com").check_host("other.example.com")


def test_a_message_does_not_tell_what_a_name_resolves_to():
    """Whoever may write connections does not learn the addresses of the worker's network."""
    with pytest.raises(EgressDenied) as denied:
        Egress.read("", "10.0.0.0/8").check_all("db.example.com", ["10.1.2.3"])

    assert "db.example.com" in denied.value.message
    assert "10." not in denied.value.message + str(denied.value.hint)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "-x-?", "http://a", "10.0.0", "a..b", "1.2.3.4.5"])
@pytest.mark.parametrize("name", ["egress_allow", "egress_deny"])
def test_a_list_that_cannot_be_read_fails_at_the_start(name, text):
    """A policy that nobody understands is no policy: the process says which entry is wrong."""
    with pytest.raises(BadRequest, match=f"MOORING_{name.upper()}: .*no range") as refused:
        read_settings(**{name: text})

    assert text in refused.value.message


def test_the_settings_are_the_policy():
    """What the settings say is what holds."""
    policy = read_settings(egress_allow="10.0.0.0/8,db.example", egress_deny="10.0.0.7", egress_loopback=True).egress

    assert str(policy) == "allow 10.0.0.0/8,db.example; deny 10.0.0.7/32; loopback yes"


def test_small_readers():
    """Names and addresses are told apart as a look-up would."""
    assert as_address("db.example.com") is None
    assert as_address("0.de") is None
    assert canonical("[::1]") == "::1"
    assert not read_rules("  , ")
