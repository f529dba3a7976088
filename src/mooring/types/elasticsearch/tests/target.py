"""What the suites that all rooms share need to know of this one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.search import ask, document, keystore, pem, truststore
from tests.support.services import Service, service
from tests.support.targets import Body, Ends, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store

FIRST_USE: tuple[str, dict[str, Any]] = ("index", {"document": {"hello": "world"}})
WORD = "a word for files"


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to one node at another address."""
    return {**body, "elasticHostList": [{**body["elasticHostList"][0], "host": host, "port": port}]}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection, as somebody else."""
    changes = {"elasticUsername": user, "elasticPassword": password}
    return {**body, **{key: value for key, value in changes.items() if value is not None}}


def anybody(node: Service, **fields: Any) -> Body:
    """A connection to *node* that does not log in."""
    host = {"scheme": node["scheme"], "host": node["host"], "port": node["port"]}
    index = f"t-{uuid.uuid4().hex}"
    _made.append((node, index))
    return {"type": "elasticsearch", "elasticHostList": [host], "indexName": index, **fields}


_made: list[tuple[Service, str]] = []


def take_away() -> None:
    """Delete the indices of all bodies that were made until now: each costs its node some memory."""
    while _made:
        node, index = _made.pop()
        ask(node, "DELETE", f"/{index}*")


def body_of(node: Service, **fields: Any) -> Body:
    """A connection to *node*, trusting what the worker trusts."""
    login = {"authenticate": True, "elasticUsername": node["user"], "elasticPassword": node["password"]}
    return anybody(node, **login, **fields)


def encrypted(kind: str, **fields: Any) -> Body:
    """What says that TLS material of that kind comes with the connection."""
    return {"encryptCommunication": True, "encryptCommunicationType": kind, **fields}


def with_pem(node: Service) -> Body:
    return body_of(node, **encrypted("CA_IN_PEM_FILE", caInPemFile=pem(node.ca)))


def with_pkcs12(node: Service) -> Body:
    file = truststore(node.ca, WORD)
    return body_of(node, **encrypted("CA_CERTIFICATE_IN_PKCS_12", caCertInPkcs12File=file, caTruststoreFilePass=WORD))


def with_client_certificate(node: Service) -> Body:
    """The certificate is the login."""
    client = keystore(node.certificates["client"], node.certificates["client_key"], WORD)
    files = {
        "caKeystoreFile": client, "caKeystoreFilePass": WORD, "caTruststoreFile": truststore(node.ca, WORD),
        "caTruststoreFilePass": WORD,
    }  # fmt: skip
    return anybody(node, **encrypted("CERT_AND_PRIVATE_KEY_IN_PKCS_12", **files))


def with_stores(node: Service) -> Body:
    """The same by names."""
    return anybody(node, encryptCommunication=True, trustStoreName="search-ca", keyStoreName="search-client")


def stores(node: Service) -> dict[str, Store]:
    """The materials that `with_stores` names."""
    text = {name: Path(node.certificates[name]).read_text() for name in ("client", "client_key")}
    return {
        "search-ca": Store(trusted=Path(node.ca).read_text()),
        "search-client": Store(chain=text["client"], key=text["client_key"]),
    }


@contextmanager
def _target(
    server: str, title: str, made: Callable[[Service], Body], *, tls: str = "", operation: str = "index"
) -> Iterator[Target]:
    node = service(server)
    body, number, word = made(node), uuid.uuid4().hex, uuid.uuid4().hex
    asked = {"document": {"word": word}, "id": number}
    target = Target(
        body=body,
        operation=operation,
        request=asked if operation == "index" else {"documents": [asked]},
        seen=lambda answer: document(node, body["indexName"], number) == {"word": word},
        server=f"{title} {node['version']}",
        tls=tls,
        stores=stores(node) if "keyStoreName" in body else {},
        aimed=aimed,
        with_login=with_login if "elasticUsername" in body else None,
        ends=_IN_TLS if tls else _PLAIN,
    )
    try:
        yield target
    finally:
        take_away()


_IN_TLS = {
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}
_PLAIN = {"garbage": Ends(Misconfigured, "login"), "endless": Ends(Misconfigured, "login")}
_E7 = partial(_target, "elasticsearch_7", "Elasticsearch")
_E8 = partial(_target, "elasticsearch", "Elasticsearch")
_E9 = partial(_target, "elasticsearch_9", "Elasticsearch")
_OS = partial(_target, "opensearch", "OpenSearch")

TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "Elasticsearch 7": partial(_E7, body_of),
    "Elasticsearch 7 without login": partial(_E7, anybody),
    "Elasticsearch 8": partial(_E8, body_of, tls="TLS"),
    "Elasticsearch 8 bulk": partial(_E8, body_of, tls="TLS", operation="bulk"),
    "Elasticsearch 8 CA_IN_PEM_FILE": partial(_E8, with_pem, tls="TLS"),
    "Elasticsearch 8 CA_CERTIFICATE_IN_PKCS_12": partial(_E8, with_pkcs12, tls="TLS"),
    "Elasticsearch 8 CERT_AND_PRIVATE_KEY_IN_PKCS_12": partial(_E8, with_client_certificate, tls="mutual TLS"),
    "Elasticsearch 8 named stores": partial(_E8, with_stores, tls="mutual TLS"),
    "Elasticsearch 9": partial(_E9, body_of, tls="TLS"),
    "OpenSearch": partial(_OS, body_of, tls="TLS"),
    "OpenSearch named stores": partial(_OS, with_stores, tls="mutual TLS"),
}

SAME_WEATHER = dict.fromkeys(
    (
        "Elasticsearch 7 without login", "Elasticsearch 8", "Elasticsearch 8 bulk", "Elasticsearch 8 CA_IN_PEM_FILE",
        "Elasticsearch 8 CA_CERTIFICATE_IN_PKCS_12", "Elasticsearch 9", "OpenSearch",
    ),
    "OpenSearch named stores",
)  # fmt: skip
