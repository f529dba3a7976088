"""TLS contexts: shared where they can be, never where they hold an identity."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from mooring.kit.tls import client_context

CA = trustme.CA()
OTHER = trustme.CA()


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def identity(name: str = "client.example.com") -> str:
    made = CA.issue_cert(name)
    return "".join([made.private_key_pem.bytes().decode(), *(part.bytes().decode() for part in made.cert_chain_pems)])


def context(**options: object) -> ssl.SSLContext:
    return client_context(**{"purpose": "test", **options})  # type: ignore[arg-type]


def test_like_contexts_are_one() -> None:
    """Thousands of connections share a context of the same wishes."""
    assert context() is context()
    assert context(trusted_pem=pem(CA)) is context(trusted_pem=pem(CA))


def test_unlike_contexts_are_apart() -> None:
    """Other purposes, trust, checks or versions have contexts of their own."""
    made = [
        context(), context(purpose="other"), context(verify=False), context(verify_hostname=False),
        context(trusted_pem=pem(CA)), context(trusted_pem=pem(OTHER)), context(versions=("TLSv1.3",)),
    ]  # fmt: skip

    assert len({id(one) for one in made}) == len(made)


def test_an_identity_is_never_shared() -> None:
    """Each caller with a client certificate has a context of its own, even with the same certificate."""
    mine = identity()

    first, second, none = context(identity_pem=mine), context(identity_pem=mine), context()

    assert first is not second and none not in (first, second)


def test_an_identity_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private key is handed over in memory, and no descriptor stays open."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))

    context(identity_pem=identity())

    assert list(tmp_path.iterdir()) == [] and len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "wrong", ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----"]
)
def test_what_is_no_identity_is_refused(wrong: str) -> None:
    """At once, and not at the first connection."""
    with pytest.raises(ssl.SSLError):
        context(identity_pem=wrong)


def test_certificates_are_verified_by_default() -> None:
    """And the host's name is."""
    made = context()

    assert made.verify_mode is ssl.CERT_REQUIRED and made.check_hostname


def test_without_host_names_the_issuer_is_still_checked() -> None:
    """The one does not switch off the other."""
    made = context(verify_hostname=False)

    assert made.verify_mode is ssl.CERT_REQUIRED and not made.check_hostname


def test_without_verification_nothing_is_checked() -> None:
    """Also where names should be: there is nothing to compare them with."""
    made = context(verify=False)

    assert made.verify_mode is ssl.CERT_NONE and not made.check_hostname


def test_trusted_certificates_stand_alone() -> None:
    """With certificates of its own a connection trusts those, and not the system's too."""
    trusted = context(trusted_pem=pem(CA)).get_ca_certs(binary_form=True)

    assert [ssl.DER_cert_to_PEM_cert(one) for one in trusted] == [pem(CA)]


def test_a_ca_file_is_trusted_beside_the_system_s(tmp_path: Path) -> None:
    """One certificate more than without it."""
    file = tmp_path / "ca.pem"
    file.write_text(pem(CA))

    assert len(context(ca_file=str(file)).get_ca_certs()) == len(context().get_ca_certs()) + 1


def test_a_changed_ca_file_is_read_again(tmp_path: Path) -> None:
    """A worker need not be started anew."""
    file = tmp_path / "ca.pem"
    file.write_text(pem(CA))
    first = context(ca_file=str(file))
    file.write_text(pem(CA) + pem(OTHER))
    os.utime(file, ns=(1, 1))

    second = context(ca_file=str(file))

    assert len(second.get_ca_certs()) == len(first.get_ca_certs()) + 1


@pytest.mark.parametrize(
    ("versions", "least", "most"),
    [
        (("TLSv1.2",), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
        (("TLSv1.3",), ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        (("TLSv1.3", "TLSv1.2"), ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_versions_are_a_span(versions: tuple[str, ...], least: ssl.TLSVersion, most: ssl.TLSVersion) -> None:
    """From the lowest to the highest that is named."""
    made = context(versions=versions)

    assert (made.minimum_version, made.maximum_version) == (least, most)


def test_unknown_versions_change_nothing() -> None:
    """Names that the library does not know are passed over."""
    assert context(versions=("SSLv9",)).minimum_version == context().minimum_version
