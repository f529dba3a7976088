"""What the shared suites need to know of this room."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme
from tests.support.services import Service, service
from tests.support.slapd import ldapsearch, ldapwhoami
from tests.support.targets import Body, Ends, Target
from tests.weather.peers import certificate_of

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import Store
from mooring.types.ldap.tests.fake import fake_start_tls, relay


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "serverAddress": f"{urlsplit(body['serverAddress']).scheme}://{host}:{port}"}


FIRST_USE: tuple[str, dict[str, Any]] = ("search", {"user": "ada"})

LOGIN = {"wrong_user": Ends(Rejected, "bind"), "wrong_password": Ends(Rejected, "bind")}
PLAIN = {
    **LOGIN,
    "black_hole": Ends(Unreachable, "bind"),
    "garbage": Ends(Unreachable, "bind"),
    "endless": Ends(Unreachable, "bind"),
}
IMPLICIT = {
    **LOGIN,
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}
STARTTLS = {
    **LOGIN,
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Unreachable, "tls"),
    "endless": Ends(Unreachable, "tls"),
}


def real(slapd: Service, **fields: Any) -> Body:
    """A connection to the plain port, by which people are found."""
    return {
        "type": "ldap", "serverAddress": f"ldap://localhost:{slapd['port']}", "username": slapd["user"],
        "password": slapd["password"], "baseDn": f"ou=people,{slapd['base']}", "customFilter": "(uid={0})", **fields,
    }  # fmt: skip


def checked(slapd: Service, port: str, **fields: Any) -> Body:
    """A connection to an LDAPS port of the server."""
    secure = {"useSsl": True, "requireCertificateType": "REQUIRED_AN_PN", "certificateName": "directory-ca"}
    return real(slapd, serverAddress=f"ldaps://localhost:{slapd[port]}", **{**secure, **fields})


def stores(slapd: Service) -> dict[str, Store]:
    """The certificate that signed the server's, and the client's own with its key."""
    certificates = slapd.certificates
    client, key = (Path(certificates[name]).read_text() for name in ("client", "client_key"))
    return {"directory-ca": Store(trusted=Path(slapd.ca).read_text()), "client": Store(chain=client, key=key)}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection, by another account."""
    base = body["username"].partition(",")[2]
    return {
        **body,
        "username": f"cn={user},{base}" if user else body["username"],
        "password": password or body["password"],
    }


def searching(slapd: Service, body: Body, **about: Any) -> Target:
    """A search for a person, whom `ldapsearch` has to find with the same values."""

    def seen(answer: Body) -> bool:
        found = ldapsearch(slapd, "(uid=ayşe)", "cn", "mail", base=body["baseDn"])
        return {entry["dn"]: entry["attributes"] for entry in answer["entries"]} == found != {}

    request = {"user": "ayşe", "attributes": ["cn", "mail"]}
    return _target(slapd, body, "search", request, seen, about)


def checking(slapd: Service, body: Body, **about: Any) -> Target:
    """A person's login, who has to be the same to `ldapwhoami`."""
    password = slapd["person_password"]

    def seen(answer: Body) -> bool:
        return bool(answer["authenticated"]) and ldapwhoami(slapd, answer["dn"], password) == answer["dn"]

    return _target(slapd, body, "authenticate", {"user": "ışıl", "password": password}, seen, about)


def _target(
    slapd: Service, body: Body, operation: str, request: Body, seen: Callable[[Body], bool], about: Body
) -> Target:
    used = {key: stores(slapd)[key] for key in ("directory-ca", "client") if key in body.values()}
    return Target(
        body, operation, request, seen, f"OpenLDAP {slapd['version']}",
        **{"stores": used, "aimed": aimed, "with_login": with_login, "ends": PLAIN, **about},
    )  # fmt: skip


@contextlib.contextmanager
def plain() -> Iterator[Target]:
    slapd = service("slapd")
    yield searching(slapd, real(slapd))


@contextlib.contextmanager
def plain_authenticate() -> Iterator[Target]:
    slapd = service("slapd")
    yield checking(slapd, real(slapd))


@contextlib.contextmanager
def ldaps() -> Iterator[Target]:
    slapd = service("slapd")
    yield checking(slapd, checked(slapd, "tls_port"), tls="TLS", ends=IMPLICIT)


@contextlib.contextmanager
def unchecked() -> Iterator[Target]:
    slapd = service("slapd")
    body = real(slapd, serverAddress=f"ldaps://localhost:{slapd['tls_port']}", useSsl=True)
    never = dict.fromkeys(("wrong_ca", "wrong_name", "expired"), "NOT_REQUIRED: the certificate is not looked at")
    yield searching(slapd, body, tls="TLS, certificate not checked", ends={**IMPLICIT, **never})


@contextlib.contextmanager
def common_name() -> Iterator[Target]:
    slapd = service("slapd")
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("names.do.not.matter", common_name="localhost").configure_cert(context)
        authority.cert_pem.write_to_path(Path(folder) / "ca.pem")
        trusted = Path(slapd.ca).read_text() + (Path(folder) / "ca.pem").read_text()
    with relay(slapd["port"], context) as front:
        body = checked(slapd, "tls_port", requireCertificateType="REQUIRED_CN", certificateName="front-ca")
        yield searching(
            slapd, aimed(body, "localhost", front.port), tls="TLS ended before the server, by common name",
            stores={"front-ca": Store(trusted=trusted)}, ends=IMPLICIT,
        )  # fmt: skip


@contextlib.contextmanager
def mutual() -> Iterator[Target]:
    slapd = service("slapd")
    body = checked(slapd, "mutual_port", keyStoreName="client")
    yield searching(slapd, body, tls="mutual TLS", ends=IMPLICIT)


@contextlib.contextmanager
def starttls() -> Iterator[Target]:
    slapd = service("slapd")
    body = real(slapd, useStartTls=True, requireCertificateType="REQUIRED_AN_PN", certificateName="directory-ca")

    def spoiled(weather: str) -> Callable[[], AbstractContextManager[Body]]:
        @contextlib.contextmanager
        def showing() -> Iterator[Body]:
            with fake_start_tls(*certificate_of(weather, slapd.certificates)) as port:
                yield aimed(body, "localhost", port)

        return showing

    yield checking(
        slapd, body, tls="STARTTLS", ends=STARTTLS,
        spoiled={weather: spoiled(weather) for weather in ("wrong_ca", "wrong_name", "expired")},
    )  # fmt: skip


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "search, plain": plain,
    "authenticate, plain": plain_authenticate,
    "authenticate, StartTLS": starttls,
    "authenticate, LDAPS": ldaps,
    "search, LDAPS unchecked": unchecked,
    "search, LDAPS by common name": common_name,
    "search, LDAPS with client certificate": mutual,
}

UNVERIFIED = {"Active Directory": "there is none to be had; its words for a refused login are a fake's"}
