"""Keystores from Java, OpenSSL and others, opened; and what is said of those that cannot be."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from mooring.kit.keystore.opened import Opened, Unreadable
from mooring.kit.keystore.reader import MAX_FILE, open_certificate, open_file
from tests.support.keystores import PASSWORD, Identity, Tools, authority, issued

ROOT = authority("Root")
ME = issued(ROOT, "me.example.com")
OTHER = issued(ROOT, "other.example.com")


def refused(kind: str, data: bytes, password: str | None = None, alias: str | None = None) -> tuple[str, str]:
    """The field to correct, and why."""
    with pytest.raises(Unreadable) as caught:
        open_file(kind, data, password, alias)
    return caught.value.field, caught.value.reason


def subjects(pem: str | None) -> list[str]:
    """Who the certificates of a PEM text are of."""
    if pem is None:
        return []
    return [each.subject.rfc4514_string() for each in load_pem_x509_certificates(pem.encode())]


def holds(opened: Opened, identity: Identity) -> bool:
    """Whether its key is that of *identity*."""
    assert opened.key is not None
    found = load_pem_private_key(opened.key.encode(), None)
    return found.public_key() == identity.key.public_key()


@pytest.fixture(scope="module")
def two_keys(tools: Tools) -> dict[str, bytes]:
    """A keystore with the keys `me` and `Other`, as keytool makes it, by type."""
    made = {}
    for kind in ("PKCS12", "JKS"):
        tools.write("two", tools.converted(ME, kind))
        tools.write("second.p12", OTHER.p12(name="Other"))
        tools.keytool(
            "-importkeystore", "-noprompt", "-srckeystore", "second.p12", "-srcstoretype", "PKCS12", "-srcstorepass", PASSWORD,
            "-destkeystore", "two", "-deststoretype", kind, "-deststorepass", PASSWORD,
        )  # fmt: skip
        made[kind] = tools.read("two")
    return made


# what Java makes


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_a_key_from_keytool_comes_with_its_chain(tools: Tools, kind: str) -> None:
    """Key and chain of a keystore that keytool made; its issuer may be trusted too."""
    opened = open_file(kind, tools.converted(ME, kind), PASSWORD, None)

    assert holds(opened, ME)
    assert subjects(opened.chain) == ["CN=me.example.com", "CN=Root"]
    assert subjects(opened.trusted) == ["CN=Root"]


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_a_truststore_from_keytool_holds_trusted_certificates_only(tools: Tools, kind: str) -> None:
    """Trusted entries, which in PKCS12 Java marks in a way of its own."""
    opened = open_file(kind, tools.trusting(kind, ROOT, authority("Second")), PASSWORD, None)

    assert (opened.key, opened.chain) == (None, None)
    assert sorted(subjects(opened.trusted)) == ["CN=Root", "CN=Second"]
    assert sorted((entry["alias"], entry["kind"]) for entry in opened.entries) == [
        ("ca-0", "certificate"), ("ca-1", "certificate"),
    ]  # fmt: skip


def test_java_s_type_does_not_decide(tools: Tools) -> None:
    """As in Java, a PKCS12 file that calls itself JKS is read, and the other way round."""
    assert holds(open_file("JKS", tools.converted(ME, "PKCS12"), PASSWORD, None), ME)
    assert holds(open_file("PKCS12", tools.converted(ME, "JKS"), PASSWORD, None), ME)


def test_a_passwordless_truststore_of_newer_java_opens(tools: Tools) -> None:
    """Without encryption and digest, as current JDKs may write them."""
    java = ("-Dkeystore.pkcs12.certProtectionAlgorithm=NONE", "-Dkeystore.pkcs12.macAlgorithm=NONE")

    opened = open_file("PKCS12", tools.trusting("PKCS12", ROOT, java=java), None, None)

    assert subjects(opened.trusted) == ["CN=Root"]


def test_a_jks_truststore_opens_without_its_password(tools: Tools) -> None:
    """Nothing in it is encrypted; Java reads it so too."""
    assert subjects(open_file("JKS", tools.trusting("JKS", ROOT), None, None).trusted) == ["CN=Root"]


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_the_alias_chooses_among_several_keys(two_keys: dict[str, bytes], kind: str) -> None:
    """Case does not matter, as in Java."""
    assert holds(open_file(kind, two_keys[kind], PASSWORD, "ME"), ME)
    assert holds(open_file(kind, two_keys[kind], PASSWORD, "other"), OTHER)


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_several_keys_need_an_alias(two_keys: dict[str, bytes], kind: str) -> None:
    """Nobody guesses which is meant."""
    assert refused(kind, two_keys[kind], PASSWORD) == (
        "alias", "the file holds 2 private keys; say which one is meant",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_an_unknown_alias_is_the_alias_s_fault(two_keys: dict[str, bytes], kind: str) -> None:
    """The field that is named is the alias."""
    assert refused(kind, two_keys[kind], PASSWORD, "nobody") == ("alias", "the file holds no entry of that name")


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
@pytest.mark.parametrize("password", ["wrong", "", None])
def test_a_wrong_password_is_the_password_s_fault(tools: Tools, kind: str, password: str | None) -> None:
    """Wrong, empty or none: the field that is named is the password."""
    assert refused(kind, tools.converted(ME, kind), password)[0] == "password"


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_a_cut_file_is_the_file_s_fault(tools: Tools, kind: str) -> None:
    """What ends too early is damaged, whatever the password."""
    assert refused(kind, tools.converted(ME, kind)[:-300], PASSWORD)[0] == "file"


def test_a_key_with_a_password_of_its_own_is_told(tools: Tools) -> None:
    """JKS allows one for each key; the keystore's password is asked for, and the way out is named."""
    tools.write("own", tools.converted(ME, "JKS"))
    tools.keytool(
        "-keypasswd", "-keystore", "own", "-storetype", "JKS", "-storepass", PASSWORD, "-alias", "me", "-keypass", PASSWORD,
        "-new", "another-password",
    )  # fmt: skip

    field, reason = refused("JKS", tools.read("own"), PASSWORD)

    assert field == "password" and "keytool -keypasswd" in reason


def test_jceks_is_called_by_its_name(tools: Tools) -> None:
    """With the command that converts it."""
    field, reason = refused("JKS", tools.converted(ME, "JCEKS"), PASSWORD)

    assert field == "file" and "JCEKS" in reason and "-importkeystore" in reason


# what OpenSSL makes


@pytest.mark.parametrize("how", [(), ("-legacy",), ("-keypbe", "NONE", "-certpbe", "NONE", "-nomac")], ids=str)
def test_a_pkcs12_from_openssl_opens(tools: Tools, how: tuple[str, ...]) -> None:
    """Made today, as OpenSSL 1 made it (RC2 and 3DES), or without any protection."""
    key, chain = tools.write("key.pem", ME.key_pem()), tools.write("chain.pem", ME.chain_pem)
    tools.openssl(
        "pkcs12", "-export", "-inkey", key, "-in", chain, "-out", "made.p12", "-passout", f"pass:{PASSWORD}", "-name", "me",
        *how,
    )  # fmt: skip

    opened = open_file("PKCS12", tools.read("made.p12"), PASSWORD, "me")

    assert holds(opened, ME)
    assert subjects(opened.chain) == ["CN=me.example.com", "CN=Root"]


@pytest.mark.parametrize("password", ["", None])
def test_an_empty_password_and_none_are_the_same(tools: Tools, password: str | None) -> None:
    """Programs differ in what they make of an empty password; both kinds open."""
    key, chain = tools.write("key.pem", ME.key_pem()), tools.write("chain.pem", ME.chain_pem)
    tools.openssl("pkcs12", "-export", "-inkey", key, "-in", chain, "-out", "empty.p12", "-passout", "pass:")

    assert holds(open_file("PKCS12", tools.read("empty.p12"), password, None), ME)


def test_more_rounds_than_allowed_are_refused_before_the_first(tools: Tools) -> None:
    """The number stands in the file; nothing is derived before it was looked at."""
    key, chain = tools.write("key.pem", ME.key_pem()), tools.write("chain.pem", ME.chain_pem)
    tools.openssl(
        "pkcs12", "-export", "-inkey", key, "-in", chain, "-out", "slow.p12", "-passout", "pass:x", "-iter", "9"
    )
    # The three counts of the file, set to the largest number that fits in their bytes and the sums around them.
    slow = tools.read("slow.p12").replace(b"\x02\x01\x09", b"\x02\x01\x7f")
    assert refused("PKCS12", slow, "x")[0] == "password"

    field, reason = refused("PKCS12", _with_rounds(2**31 - 1), "x")

    assert field == "file" and "more than 3,000,000 times" in reason


def _with_rounds(rounds: int) -> bytes:
    """A PKCS12 file whose digest asks for so many rounds."""

    def der(tag: int, *parts: bytes) -> bytes:
        body = b"".join(parts)
        size = len(body)
        length = bytes([size]) if size < 128 else bytes([0x82]) + size.to_bytes(2)
        return bytes([tag]) + length + body

    data_oid, sha256 = bytes.fromhex("06092a864886f70d010701"), bytes.fromhex("0609608648016503040201")
    content = der(0x30, data_oid, der(0xA0, der(0x04, der(0x30))))
    digest = der(
        0x30, der(0x30, der(0x30, sha256), der(0x04, bytes(32))), der(0x04, bytes(8)), der(0x02, rounds.to_bytes(5))
    )
    return der(0x30, der(0x02, b"\x03"), content, digest)


# PEM


def test_a_pem_file_with_a_key_is_an_identity() -> None:
    """The chain is the key's certificate and its issuers, whatever their order in the file."""
    backwards = (ROOT.certificate_pem + ME.certificate_pem + ME.key_pem()).encode()

    opened = open_file("PEM", backwards, None, None)

    assert holds(opened, ME)
    assert subjects(opened.chain) == ["CN=me.example.com", "CN=Root"]
    assert subjects(opened.trusted) == ["CN=Root"]


def test_a_pem_file_without_a_key_is_trusted() -> None:
    """Every certificate in it, each once."""
    opened = open_file("PEM", (ROOT.certificate_pem * 2 + ME.certificate_pem).encode(), None, None)

    assert (opened.key, opened.chain) == (None, None)
    assert subjects(opened.trusted) == ["CN=Root", "CN=me.example.com"]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_opens_with_its_password_only(form: PrivateFormat) -> None:
    """In PKCS#8 and in OpenSSL's own form."""
    data = (ME.key_pem(PASSWORD, form) + ME.chain_pem).encode()

    assert holds(open_file("PEM", data, PASSWORD, None), ME)
    assert refused("PEM", data, "wrong")[0] == "password"
    assert refused("PEM", data)[0] == "password"


def test_an_identity_of_a_self_signed_certificate_trusts_itself() -> None:
    """There is no other issuer; servers of tests have such."""
    assert subjects(open_file("PEM", ROOT.pem(), None, None).trusted) == ["CN=Root"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"hello", "there is no PEM block in it"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "a block in it has no end"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----", "a block in it is damaged"),
        (ME.key_pem().encode(), "its private key comes without a certificate that belongs to it"),
        ((ME.key_pem() + OTHER.certificate_pem).encode(), "its private key comes without a certificate that belongs to it"),
        ((ME.key_pem() + OTHER.key_pem()).encode(), "it holds more than one private key; put each into a keystore of its own"),
        (bytes.fromhex("feedfeed") + bytes(40), "it is not a PEM file; say JKS or PKCS12"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pem_file_is_said(data: bytes, reason: str) -> None:
    """Each with its own words."""
    assert refused("PEM", data) == ("file", reason)


# what is shown


def test_an_entry_shows_what_people_look_for() -> None:
    """Subject, issuer, names, dates, algorithm and thumbprints; and those that issued it."""
    (entry,) = open_file("PEM", ME.pem(), None, None).entries

    assert entry["kind"] == "key" and entry["used"] is True
    assert (entry["subjectDn"], entry["issuerDn"]) == ("CN=me.example.com", "CN=Root")
    assert entry["subjectAlternativeNames"] == ["dns:me.example.com"]
    assert entry["serialNumber"] == f"{ME.certificate.serial_number:x}"
    assert entry["algorithm"] == "EC secp256r1"
    assert entry["notAfter"] == f"{ME.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%S}.000Z"
    assert len(entry["sha1Thumbprint"]) == 40 and len(entry["sha256Thumbprint"]) == 64
    assert [each["subjectDn"] for each in entry["chain"]] == ["CN=Root"]


def test_nothing_private_is_shown(tools: Tools) -> None:
    """Neither in what is shown nor in how the result prints itself."""
    opened = open_file("JKS", tools.converted(ME, "JKS"), PASSWORD, None)

    assert "PRIVATE" not in repr(opened.entries) + repr(opened)


def test_a_name_with_control_characters_is_shown_without_them() -> None:
    """A terminal must not be told what to do by a certificate."""
    (entry,) = open_certificate(authority("a\x1b[31mb").certificate_pem.encode()).entries

    assert "\x1b" not in entry["subjectDn"]


# limits


def test_a_file_over_the_limit_is_refused() -> None:
    """512 KiB."""
    assert refused("PEM", bytes(MAX_FILE + 1)) == ("file", "it is larger than 512 KiB")


# one certificate


def test_a_certificate_is_one_certificate() -> None:
    """Neither none nor several."""
    assert subjects(open_certificate(ROOT.certificate_pem.encode()).trusted) == ["CN=Root"]
    with pytest.raises(Unreadable, match="one certificate"):
        open_certificate(ME.chain_pem.encode())


def test_a_certificate_with_a_private_key_is_refused() -> None:
    """Certificates are shown: a key has no place there."""
    with pytest.raises(Unreadable, match="holds a private key"):
        open_certificate(ME.pem())
