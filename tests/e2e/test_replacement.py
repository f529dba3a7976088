"""Certificates from keystores stored here, against real servers, replaced while operations run."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509

from tests.e2e.support import PROJECT
from tests.support.keystores import authority, issued, keystore, keystores_path
from tests.support.plane import Dev, connection_path
from tests.support.services import Service, service

TIMES = 4
"""As many certificates are there."""


def identities_of(served: Service) -> list[bytes]:
    """Keys with certificates that the server believes, each of another subject and serial number."""
    files = served.certificates
    return [
        Path(files[f"{name}_key"]).read_bytes() + Path(files[name]).read_bytes()
        for name in ("server_rsa", "server", "wrong_name", "client")
    ]


def subject_of(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :]).subject.rfc4514_string()


def stored(dev: Dev, body: Mapping[str, Any]) -> None:
    response = dev.api.post(keystores_path(), json=body)
    assert response.status_code == 200, response.text


@contextmanager
def used_all_the_while(dev: Dev, name: str, operation: str, request: Mapping[str, Any]) -> Iterator[list[str]]:
    """Operations one after the other, as long as the block lasts; afterwards the list has each that failed."""
    failed: list[str] = []
    counted, stop = [0], threading.Event()

    def work() -> None:
        while not stop.is_set():
            answer = dev.use(PROJECT, name, operation, dict(request))
            counted[0] += 1
            if answer.status_code != 200:
                failed.append(answer.text)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failed
    finally:
        stop.set()
        thread.join()
    assert counted[0] > TIMES


def replaced(dev: Dev, name: str, pem: bytes) -> None:
    """In one request, which waits until workers have it."""
    answer = dev.api.put(keystores_path(name), json=keystore(name, pem)).json()
    assert answer["deploymentResult"]["success"], answer


def test_kafka_knows_its_client_by_the_new_certificate(dev: Dev) -> None:
    """No publish fails while the certificate changes, and what the broker forbids its name is forbidden from then on."""
    kafka = service("kafka")
    word, identities = uuid.uuid4().hex[:8], identities_of(kafka)
    mine, trust, name, topic = (f"{part}-{word}" for part in ("mine", "trust", "orders", "topic"))
    admin = AdminClient({"bootstrap.servers": kafka["plaintext"], "log_level": 0})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    stored(dev, keystore(mine, identities[0]))
    stored(dev, keystore(trust, Path(kafka.ca).read_bytes()))
    body = {
        "type": "kafka", "name": name, "bootstrapServers": kafka["ssl"], "topicName": topic, "enableSecure": True,
        "protocolTypes": ["TLS_1_2", "TLS_1_3"], "keyStoreName": mine, "trustStoreName": trust,
    }  # fmt: skip
    made = dev.api.post(connection_path(name), json=body)
    assert made.status_code == 200, made.text

    with used_all_the_while(dev, name, "publish", {"value": "x"}) as failed:
        for pem in identities[1:]:
            replaced(dev, mine, pem)
            time.sleep(0.3)

    assert failed == []
    with forbidden(admin, topic, identities[0]):
        assert dev.use(PROJECT, name, "publish", {"value": "x"}).status_code == 200
    with forbidden(admin, topic, identities[-1]):
        refused = dev.use(PROJECT, name, "publish", {"value": "x"})
    assert refused.status_code != 200 and topic in refused.text


@contextmanager
def forbidden(admin: AdminClient, topic: str, pem: bytes) -> Iterator[None]:
    """The broker refuses to write to *topic* for whom it knows by the subject of that certificate."""
    # Java escapes # everywhere. Where a rule is made, whom none allows is forbidden too: hence the first.
    whom = "User:" + subject_of(pem).replace("#", "\\#")
    rules = [
        (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, who, "*", AclOperation.ALL, kind)
        for who, kind in (("User:*", AclPermissionType.ALLOW), (whom, AclPermissionType.DENY))
    ]
    for made in admin.create_acls([AclBinding(*rule) for rule in rules]).values():
        made.result(10)
    time.sleep(1.0)
    try:
        yield
    finally:
        for gone in admin.delete_acls([AclBindingFilter(*rule) for rule in rules]).values():
            gone.result(10)


def test_ldaps_is_searched_without_a_gap(dev: Dev) -> None:
    """A directory that wants a client's certificate: no search fails while it changes, and one that it refuses never serves."""
    slapd = service("slapd")
    word, identities = uuid.uuid4().hex[:8], identities_of(slapd)
    mine, trust, name = (f"{part}-{word}" for part in ("mine", "trust", "people"))
    stored(dev, keystore(mine, identities[0]))
    stored(dev, keystore(trust, Path(slapd.ca).read_bytes()))
    body = {
        "type": "ldap", "name": name, "serverAddress": f"ldaps://localhost:{slapd['mutual_port']}", "baseDn": slapd["base"],
        "username": slapd["user"], "password": slapd["password"], "useSsl": True,
        "requireCertificateType": "REQUIRED_AN_PN", "keyStoreName": mine, "trustStoreName": trust,
    }  # fmt: skip
    made = dev.api.post(connection_path(name), json=body)
    assert made.status_code == 200, made.text

    with used_all_the_while(dev, name, "search", {"filter": "(uid=nobody)"}) as failed:
        for pem in identities[1:]:
            replaced(dev, mine, pem)
            time.sleep(0.3)
        outsider = issued(authority("Nobody"), "outsider").pem()
        refused = dev.api.put(keystores_path(mine), json=keystore(mine, outsider)).json()["deploymentResult"]

    assert failed == []
    # The directory looks at the newest certificate: it turns this one away, and the client before it serves on.
    assert refused["environmentResults"][0]["failures"][0]["reason"] == "PROBE_FAILED", refused
