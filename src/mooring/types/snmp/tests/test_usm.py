"""Keys, digests and encryption are what the standards and another implementation say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyasn1.type.univ import OctetString
from pysnmp.entity import config

from mooring.kit.ber import Unintelligible
from mooring.types.snmp.tests.receiver import AUTHENTICATIONS, PRIVACIES
from mooring.types.snmp.usm import Keys, User

ENGINE = bytes.fromhex("000000000000000000000002")


@pytest.mark.parametrize(
    ("digest", "key"),
    [("AuthMD5", "526f5eed9fcce26f8964c2930787d82b"), ("AuthSHA", "6695febc9288e36282235fc7151f128497b38f3f")],
)
def test_the_standards_example(digest, key):
    """The passphrase of RFC 3414, appendix A.3, becomes the key that is printed there."""
    assert User("me", digest, "maplesyrup").keys(ENGINE).authentication.hex() == key


@pytest.mark.parametrize("privacy", PRIVACIES)
@pytest.mark.parametrize("digest", AUTHENTICATIONS)
def test_keys_are_those_of_another(digest, privacy):
    """For every pair of algorithms the keys are the ones that pysnmp makes."""
    keys = User("me", digest, "a-passphrase", privacy, "another-passphrase").keys(ENGINE)

    hashing = getattr(config, f"USM_AUTH_{AUTHENTICATIONS[digest]}")
    ciphering = getattr(config, f"USM_PRIV_{PRIVACIES[privacy]}")
    service, engine = config.PRIV_SERVICES[ciphering], OctetString(ENGINE)
    theirs = service.localize_key(hashing, service.hash_passphrase(hashing, "another-passphrase"), engine)
    assert keys.privacy == bytes(theirs)
    service = config.AUTH_SERVICES[hashing]
    assert keys.authentication == bytes(service.localize_key(service.hash_passphrase("a-passphrase"), engine))


@pytest.mark.parametrize("privacy", PRIVACIES)
@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=200), boots=st.integers(0, 2**31 - 1), time=st.integers(0, 2**31 - 1))
def test_what_is_encrypted_comes_back(privacy, data, boots, time):
    """What was encrypted is decrypted to the same, but for padding."""
    user = User("me", "AuthSHA", "a-passphrase", privacy, "another-passphrase")
    keys = user.keys(ENGINE)

    ciphered, salt = user.encrypt(keys, boots, time, data)

    assert user.decrypt(keys, boots, time, salt, ciphered).rstrip(b"\0") == data.rstrip(b"\0")


@pytest.mark.parametrize("privacy", ["PrivDES", "PrivAES128"])
def test_no_salt_is_used_twice(privacy):
    """Each message has a salt of its own."""
    user = User("me", "AuthSHA", "a-passphrase", privacy, "another-passphrase")
    keys = user.keys(ENGINE)

    assert len({user.encrypt(keys, 1, 1, b"same")[1] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("salt", "data"), [(b"", b"x" * 8), (b"s" * 8, b"x" * 7), (b"s" * 9, b"x" * 8)])
def test_what_cannot_be_encrypted_data_is_refused(salt, data):
    """Data or a salt of a wrong length is unintelligible."""
    user = User("me", "AuthSHA", "a-passphrase", "PrivDES", "another-passphrase")

    with pytest.raises(Unintelligible):
        user.decrypt(user.keys(ENGINE), 1, 1, salt, data)


def test_keys_of_few_engines_are_kept():
    """Engines without number do not fill the memory with keys."""
    user = User("me", "AuthMD5", "a-passphrase")

    for number in range(20):
        user.keys(bytes([number]) * 8)

    assert sum(user.knows(bytes([number]) * 8) for number in range(20)) == 4


def test_keys_are_not_shown():
    """Neither keys nor passphrases are in what is printed of them."""
    user = User("me", "AuthMD5", "a-passphrase")

    assert repr(user.keys(ENGINE)) == "Keys()"
    assert "passphrase" not in repr(user)
    assert Keys() == User("me").keys(ENGINE)
