"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from tests.support.keystores import PASSWORD, Identity, Tools
from tests.support.services import Service, console_consume, service
from tests.support.targets import Ends, StoreFile, Target

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import Store
from mooring.types.kafka.tests.bodies import body as body_of
from mooring.types.kafka.tests.bodies import login

FIRST_USE: tuple[str, dict[str, Any]] = ("publish", {"value": "hello"})


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """
    *body* pointed at another address, its login kept.

    TLS is switched off: the example's stores exist nowhere, and a missing one is told before the network is.
    """
    body, address = deepcopy(body), f"{host}:{port}"
    body["enableSecure"] = False
    if body.get("bootstrapServers"):
        body["bootstrapServers"] = address
    properties = body.get("propertiesMap") or {}
    if "bootstrap.servers" in properties:
        properties["bootstrap.servers"] = {"value": address, "valueType": "STRING"}
    if properties.get("security.protocol", {}).get("value") == "SASL_SSL":
        properties["security.protocol"]["value"] = "SASL_PLAINTEXT"
    return body


def with_login(body: dict[str, Any], user: str | None, password: str | None) -> dict[str, Any]:
    """*body* with another user or password in its JAAS line."""
    body = deepcopy(body)
    jaas = body["propertiesMap"]["sasl.jaas.config"]
    for name, value in (("username", user), ("password", password)):
        if value is not None:
            jaas["value"] = re.sub(f'{name}="[^"]*"', f'{name}="{value}"', jaas["value"])
    return body


def elsewhere(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """*body* pointed at another address, with all that protects it."""
    body = deepcopy(body)
    body["propertiesMap"]["bootstrap.servers"] = {"value": f"{host}:{port}", "valueType": "STRING"}
    return body


@contextmanager
def _target(
    listener: str, tls: str = "", mechanism: str | None = None, kind: str = "PEM", **stores: str
) -> Iterator[Target]:
    kafka = service("kafka")
    topic, value = f"seen-{uuid.uuid4().hex}", f"value {uuid.uuid4().hex}"
    properties = {"max.block.ms": "5000"}
    if mechanism:
        properties |= login("mooring", kafka["users"]["mooring"], mechanism, tls=bool(tls))
    secured = {"enableSecure": True, "protocolTypes": ["TLS_1_2", "TLS_1_3"], **stores} if tls else {}
    files = kafka.certificates
    trust = Store(trusted=Path(kafka.ca).read_text())
    identity = Store(chain=Path(files["client"]).read_text(), key=Path(files["client_key"]).read_text())
    named = {name: identity if field == "keyStoreName" else trust for field, name in stores.items()}
    yield Target(
        body=body_of(f"localhost:{kafka[listener].rpartition(':')[2]}", topic, properties, **secured),
        operation="publish",
        request={"value": value, "key": "k"},
        seen=lambda _: value in [record.value for record in console_consume(kafka, topic, 1, 10)],
        server=f"Apache Kafka {kafka['version']}",
        tls=tls,
        stores=named,
        files=_files(kafka, stores, kind),
        aimed=elsewhere,
        with_login=with_login if mechanism else None,
        ends=_ends(bool(tls), mechanism is not None),
    )


def _files(kafka: Service, stores: dict[str, str], kind: str) -> dict[str, StoreFile]:
    """The stores as Java's own tool makes files of them; nothing where PEM will do."""
    if kind == "PEM":
        return {}
    files = kafka.certificates
    key = load_pem_private_key(Path(files["client_key"]).read_bytes(), None)
    certificate, *issuers = load_pem_x509_certificates(Path(files["client"]).read_bytes())
    client = Identity(key, certificate, tuple(issuers))  # type: ignore[arg-type]  # an elliptic one, as the test CA makes them
    authority = Identity(key, load_pem_x509_certificates(Path(kafka.ca).read_bytes())[0])  # type: ignore[arg-type]  # an elliptic one, as the test CA makes them
    with tempfile.TemporaryDirectory() as folder:
        tools = Tools(Path(folder))
        made = {"keyStoreName": tools.converted(client, kind), "trustStoreName": tools.trusting(kind, authority)}
    return {name: StoreFile(kind, made[field], PASSWORD) for field, name in stores.items()}


def _ends(encrypted: bool, logs_in: bool) -> dict[str, Ends | str]:
    first = "tls" if encrypted else "sasl" if logs_in else "topic"
    return {
        "closed_port": Ends(Unreachable, "bootstrap"),
        "wrong_user": Ends(Rejected, "sasl"),
        "wrong_password": Ends(Rejected, "sasl"),
        "black_hole": Ends(Unreachable, first),
        "garbage": Ends(Misconfigured if encrypted else Unreachable, first),
        "endless": Ends(Misconfigured if encrypted else Unreachable, first),
    } | ({} if logs_in else {"wrong_user": "nobody logs in", "wrong_password": "nobody logs in"})


STORES = {"trustStoreName": "kafka-brokers", "keyStoreName": "kafka-client"}
JKS = {"trustStoreName": "kafka-brokers-jks", "keyStoreName": "kafka-client-jks"}
PKCS12 = {"trustStoreName": "kafka-brokers-p12", "keyStoreName": "kafka-client-p12"}

TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "PLAINTEXT": lambda: _target("plaintext"),
    "SSL, PEM stores": lambda: _target("ssl", "mutual TLS", **STORES),
    "SSL, JKS stores": lambda: _target("ssl", "mutual TLS", kind="JKS", **JKS),
    "SSL, PKCS12 stores": lambda: _target("ssl", "mutual TLS", kind="PKCS12", **PKCS12),
    "SASL_PLAINTEXT PLAIN": lambda: _target("sasl_plaintext", "", "PLAIN"),
    "SASL_PLAINTEXT SCRAM-SHA-256": lambda: _target("sasl_plaintext", "", "SCRAM-SHA-256"),
    "SASL_PLAINTEXT SCRAM-SHA-512": lambda: _target("sasl_plaintext", "", "SCRAM-SHA-512"),
    "SASL_SSL SCRAM-SHA-512": lambda: _target("sasl_ssl", "mutual TLS", "SCRAM-SHA-512", **STORES),
}

SAME_WEATHER = {
    "SSL, JKS stores": "SSL, PEM stores",
    "SSL, PKCS12 stores": "SSL, PEM stores",
    "SASL_PLAINTEXT SCRAM-SHA-256": "SASL_PLAINTEXT SCRAM-SHA-512",
}

UNVERIFIED = {
    "SASL GSSAPI": "not built into the driver's wheel; refused with that reason",
    "SASL OAUTHBEARER": "no token server was at hand; checked as configuration only",
}
