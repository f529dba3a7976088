"""Keystores from the API to a handshake: made by Java, used over mutual TLS, replaced while in use."""

from __future__ import annotations

import contextlib
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.support import PROJECT, Hook, hook_server
from tests.e2e.test_programs import mooring
from tests.support.keystores import (
    PASSWORD,
    Identity,
    Tools,
    authority,
    issued,
    keystore,
    keystores_path,
    server_context,
)
from tests.support.plane import Dev, connection_path, running_dev

WITHIN_S = 10.0


@dataclass
class Shop:
    """A hook that asks for a certificate, and everybody's authority."""

    root: Identity
    hook: Hook

    def body(self, name: str, **more: object) -> dict[str, object]:
        return {
            "type": "webhook", "name": name, "httpMethod": "POST", "fullUrl": f"https://localhost:{self.hook.port}/in",
            "headerList": [{"name": "X-Api-Key", "value": "right"}], "verifyHostname": True, **more,
        }  # fmt: skip


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Shared by the tests of one function: a server that speaks mutual TLS."""
    with mutual() as made:
        yield made


@contextlib.contextmanager
def mutual() -> Iterator[Shop]:
    root = authority()
    context = server_context(issued(root, "localhost"), clients_of=root)
    with hook_server("right", tls=context) as hook:
        yield Shop(root, hook)


def named(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def keep(dev: Dev, body: dict[str, object]) -> dict[str, object]:
    response = dev.api.post(keystores_path(), json=body)
    assert response.status_code == 200, response.text
    return response.json()["deploymentResult"]


def create(dev: Dev, body: dict[str, object]) -> dict[str, object]:
    """Also what is not well yet."""
    response = dev.api.post(connection_path(str(body["name"])), json=body)
    assert response.status_code == 200, response.text
    return response.json()["deploymentResult"]


def use(dev: Dev, name: str) -> int:
    return dev.use(PROJECT, name, "send", {"body": "hello"}).status_code


def eventually(what: Callable[[], object]) -> bool:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
def test_java_s_keystores_are_used_for_mutual_tls(dev: Dev, shop: Shop, tools: Tools, kind: str) -> None:
    """A keystore and a truststore that keytool made let a webhook into a server that asks for a certificate."""
    mine, trust, hook = named("mine"), named("trust"), named("hook")
    keep(dev, keystore(mine, tools.converted(issued(shop.root), kind), kind, password=PASSWORD))
    keep(dev, keystore(trust, tools.trusting(kind, shop.root), kind, password=PASSWORD))

    made = create(dev, shop.body(hook, keyStoreName=mine, trustStoreName=trust))

    assert made["success"], made
    assert use(dev, hook) == 200
    tested = dev.api.post(f"{connection_path(hook)}test/").json()["deploymentResult"]
    assert tested["success"], tested


def test_a_keystore_is_replaced_under_use(dev: Dev, tools: Tools) -> None:
    """A replaced keystore is in the next handshake, with no restart; what it replaced is not."""
    root = authority()
    context = server_context(issued(root, "localhost"), clients_of=root)
    # With 1.3 a client has shaken hands before the server looks at its certificate; a probe of a hook ends there.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with hook_server("right", tls=context) as served:
        mine, hook = named("mine"), named("hook")
        first, second = issued(root, "first"), issued(root, "second")
        keep(dev, keystore(mine, first.pem()))
        keep(dev, keystore(trust := named("trust"), root.certificate_pem.encode()))
        create(dev, Shop(root, served).body(hook, keyStoreName=mine, trustStoreName=trust))
        assert use(dev, hook) == 200
        before = dev.api.get(connection_path(hook)).json()["resultList"][0]["generation"]
        outsider = issued(authority("Nobody"), "outsider")

        changed = dev.api.put(
            keystores_path(mine), json=keystore(mine, tools.converted(second, "JKS"), "JKS", password=PASSWORD)
        ).json()
        refused = dev.api.put(keystores_path(mine), json=keystore(mine, outsider.pem())).json()

        assert changed["deploymentResult"]["success"], changed
        assert "1 connection uses it" in changed["deploymentResult"]["environmentResults"][0]["message"]
        # The server turns the outsider away: the client that works serves on, and that is said.
        told = refused["deploymentResult"]
        assert not told["success"] and told["environmentResults"][0]["failures"][0]["reason"] == "PROBE_FAILED", told
        assert use(dev, hook) == 200
        assert dev.api.get(connection_path(hook)).json()["resultList"][0]["generation"] == before


def test_the_next_handshake_shows_the_new_certificate(dev: Dev) -> None:
    """What the server sees of its client is the certificate of the newest keystore."""
    root = authority()
    context = server_context(issued(root, "localhost"), clients_of=root)
    subjects: list[str] = []

    def note(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
        certificate = connection.getpeercert()
        assert certificate is not None
        subjects.append(certificate["subject"][0][0][1])  # type: ignore[index]  # a tuple of tuples, when there is one

    with hook_server("right", tls=context, shook=note) as served:
        mine, trust, hook = named("mine"), named("trust"), named("hook")
        keep(dev, keystore(mine, issued(root, "first").pem()))
        keep(dev, keystore(trust, root.certificate_pem.encode()))
        create(dev, Shop(root, served).body(hook, keyStoreName=mine, trustStoreName=trust))
        use(dev, hook)

        dev.api.put(keystores_path(mine), json=keystore(mine, issued(root, "second").pem()))
        use(dev, hook)

        assert subjects[0] == "first"
        assert subjects[-1] == "second"


def test_a_missing_keystore_is_named_and_the_connection_heals_when_it_comes(dev: Dev, shop: Shop) -> None:
    """Without its keystore a connection fails, naming field and name; made later, it serves without another change."""
    mine, trust, hook = named("mine"), named("trust"), named("hook")
    keep(dev, keystore(trust, shop.root.certificate_pem.encode()))

    made = create(dev, shop.body(hook, keyStoreName=mine, trustStoreName=trust))
    failure = made["deploymentResults"][0]["failures"][0]
    later = keep(dev, keystore(mine, issued(shop.root).pem()))

    assert failure["reason"] == "KEYSTORE_MISSING"
    assert mine in failure["message"] and "keyStoreName" in failure["message"]
    assert [warning["code"] for warning in made["warnings"]] == ["reference_missing"]
    assert later["success"] is True
    assert use(dev, hook) == 200
    assert dev.api.get(connection_path(hook)).json()["resultList"][0]["warnings"] == []


def test_a_keystore_in_use_stays(dev: Dev, shop: Shop) -> None:
    """Deleting it is 409, which names who uses it; the connection serves on."""
    mine, trust, hook = named("mine"), named("trust"), named("hook")
    keep(dev, keystore(mine, issued(shop.root).pem()))
    keep(dev, keystore(trust, shop.root.certificate_pem.encode()))
    create(dev, shop.body(hook, keyStoreName=mine, trustStoreName=trust))

    refused = dev.api.delete(keystores_path(mine))

    assert refused.status_code == 409 and hook in refused.json()["error_description"]
    assert use(dev, hook) == 200


def test_after_a_crash_the_worker_holds_the_newest_keystore() -> None:
    """kill -9 right after a keystore was replaced: started again, the worker has the new one."""
    with mutual() as shop, running_dev() as dev:
        keep(dev, keystore("mine", issued(authority("Nobody")).pem()))
        keep(dev, keystore("trust", shop.root.certificate_pem.encode()))
        create(dev, shop.body("hook", keyStoreName="mine", trustStoreName="trust"))
        assert use(dev, "hook") != 200

        dev.api.put(keystores_path("mine"), json=keystore("mine", issued(shop.root).pem()), params={"waitSeconds": 0})
        dev.kill()
        dev.restart()

        assert eventually(lambda: use(dev, "hook") == 200)


def test_keystores_by_the_command_line(dev: Dev, tools: Tools) -> None:
    """Created from a file with its password in another, shown, replaced, listed, deleted."""
    settings = {"MOORING_URL": dev.url, "MOORING_TOKEN": dev.token}
    name, file = f"MyProject/{named('cli')}", tools.folder / "cli.jks"
    password = tools.folder / "password"
    password.write_text(PASSWORD + "\n")
    file.write_bytes(tools.converted(issued(authority("First")), "JKS"))
    create = (
        "keystore",
        "create",
        name,
        "--file",
        str(file),
        "--environment",
        "development",
        "--password-file",
        str(password),
    )

    made = mooring(*create, **settings)
    again = mooring(*create, **settings)
    file.write_bytes(tools.converted(issued(authority("Second")), "PKCS12"))
    replaced = mooring(*create, "--replace", **settings)
    shown = mooring("keystore", "get", name, **settings)
    listed = mooring("keystore", "list", "MyProject", **settings)
    gone = mooring("keystore", "delete", name, **settings)

    assert made.returncode == 0 and "Deployed successfully" in made.stdout, made.stderr
    assert again.returncode == 1 and "is already exist" in again.stderr
    assert replaced.returncode == 0, replaced.stderr
    assert "CN=Second" in shown.stdout and "PKCS12" in listed.stdout
    assert gone.returncode == 0 and "Undeployed successfully" in gone.stdout
    assert PASSWORD not in made.stdout + made.stderr + shown.stdout


def test_certificates_by_the_command_line(dev: Dev, tools: Tools) -> None:
    """Created, replaced, listed, shown, deleted."""
    settings = {"MOORING_URL": dev.url, "MOORING_TOKEN": dev.token}
    short = named("ca")
    file = tools.folder / "ca.pem"
    create = ("certificate", "create", f"MyProject/{short}", "--file", str(file), "--environment", "development")
    for subject, more in (("First", ()), ("Second", ("--replace",))):
        file.write_text(authority(subject).certificate_pem)
        made = mooring(*create, *more, **settings)
        assert made.returncode == 0, made.stderr

    listed = mooring("certificate", "list", "MyProject", **settings)
    shown = mooring("certificate", "get", f"MyProject/{short}", **settings)
    gone = mooring("certificate", "delete", f"MyProject/{short}", **settings)

    assert short in listed.stdout
    assert '"subjectDn": "CN=Second"' in shown.stdout
    assert gone.returncode == 0, gone.stderr
