"""
Every secret that the product takes, in one life: created, read, listed, changed, tested, deployed, used, failed,
rotated, exported; then every place where it might have come to light is searched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from mooring.errors import InvalidConfig
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import read_config, secret_fields, split
from mooring.plugin.registry import Registry
from tests.canary.sinks import in_folder, in_processes
from tests.canary.words import MARK, Search, canary
from tests.support.keystores import authority, b64, keystores_path
from tests.support.plane import DEV_ENVIRONMENT, DEV_PROJECT, Dev, connection_path

TYPES = list(Registry(""))
OPERATIONS = ("send", "publish", "query", "search", "authenticate", "list", "index", "run")


def with_canaries(card: ConnectionType) -> tuple[dict[str, Any], int]:
    """The type's example with a canary in place of each of its secrets, and how many they are."""
    body: dict[str, Any] = {**card.example, "name": f"canary-{card.name}"}
    text = json.dumps(body)
    fields = {
        key: value
        for key, value in body.items()
        if key not in ("type", "name", "description", "enabled", "deployToWorker")
    }
    _, secrets = split(card.config, read_config(card.config, dict(fields)).wire())
    for value in secrets.values():
        if len(value) > 3:
            text = text.replace(json.dumps(value)[1:-1], canary(card.name))
    body = json.loads(text)
    for name in secret_fields(card.config):  # those that the example leaves out
        if name not in body:
            fuller = {**body, name: canary(f"{card.name}.{name}")}
            try:
                read_config(card.config, {key: value for key, value in fuller.items() if key in fields or key == name})
            except InvalidConfig:
                continue
            body = fuller
    return body, json.dumps(body).count(MARK)


@pytest.mark.parametrize("card", TYPES, ids=lambda card: card.name)
def test_every_type_has_its_canaries(card: ConnectionType) -> None:
    """A type without a secret is known to have none: the scenario cannot pass by missing them."""
    _, count = with_canaries(card)

    assert count > 0 or card.name in {"graylog", "logback", "syslog"}


@pytest.fixture
def life() -> Iterator[Dev]:
    """`mooring dev` whose own settings hold canaries too, where they are secrets."""
    running = Dev({"MOORING_LOG_LEVEL": "debug"})
    running.start()
    yield running
    running.stop()


def test_no_secret_comes_to_light_anywhere(life: Dev) -> None:
    """Answers, files, the database and its log, what was printed, processes, the command line: none holds one."""
    search, answers = Search(), list[bytes]()
    api = life.api

    def ask(method: str, path: str, body: Any = None, *, refused: bool = False) -> dict[str, Any]:
        response = api.request(method, path, json=body)
        answers.append(response.content + str(response.headers).encode())
        assert (response.status_code == 200) != refused, (method, path, response.text)
        return dict(response.json()) if response.headers["content-type"].startswith("application/json") else {}

    password = canary("keystore")
    identity = authority("Canary")
    file = serialize_key_and_certificates(
        b"me", identity.key, identity.certificate, None, BestAvailableEncryption(password.encode())
    )
    entry = {"environmentName": DEV_ENVIRONMENT, "keyStoreType": "PKCS12", "file": b64(file), "password": password}
    for sent in (password, canary("wrong-password")):
        ask(
            "POST",
            keystores_path(),
            {"name": f"mine-{sent == password}", "keyStoreEnvironmentList": [{**entry, "password": sent}]},
            refused=sent != password,
        )
    ask("GET", keystores_path())
    variables = f"/apiops/projects/{DEV_PROJECT}/environmentVariables/"
    hidden = {"name": "hidden", "global": True, "globalValue": canary("variable"), "globalVisible": False}
    for method, path, body in (
        ("POST", f"{variables}hidden/", hidden),
        ("GET", variables, None),
        ("GET", f"{variables}hidden/", None),
    ):
        ask(method, path, body)
    sent = 0
    for card in TYPES:
        body, count = with_canaries(card)
        sent += count
        path = connection_path(body["name"])
        made = ask("POST", f"{path}?waitSeconds=2", body)
        assert made.get("success"), made
        ask("POST", f"{path}?waitSeconds=0", body, refused=True)
        ask("POST", connection_path("bad"), {**body, "name": "bad", "nonsense": canary("unknown-field")}, refused=True)
        ask("GET", path)
        ask("PUT", f"{path}?waitSeconds=1", {**body, "description": "changed"})
        ask("POST", f"{path}test/")
        ask("GET", f"{path}deployments/")
        for operation in OPERATIONS:
            used = life.use(DEV_PROJECT, body["name"], operation, {})
            answers.append(used.content)
    ask("POST", "/apiops/data-keys/rotate/")
    for path in (
        f"/apiops/projects/{DEV_PROJECT}/connections/", f"/apiops/projects/{DEV_PROJECT}/environments/", "/readyz",
        "/apiops/audit/?limit=1000", "/apiops/audit/export/", "/apiops/audit/head/", "/apiops/workers/", "/apiops/tokens/", "/apiops/data-keys/",
    ):  # fmt: skip
        ask("GET", path)
    shown = [
        _command(life, *words)
        for words in (
            ("keystore", "list", DEV_PROJECT),
            ("keys", "list"),
            ("token", "list"),
            ("worker", "list"),
            ("settings",),
        )
    ]
    for card in TYPES[:3]:
        ask("DELETE", connection_path(f"canary-{card.name}"))

    findings = in_processes(search, life.pid) + in_folder(search, life.data_dir)
    findings += [f"answer: {found}" for answer in answers if (found := search.found_in(answer))]
    findings += [f"command line: {found}" for text in shown if (found := search.found_in(text))]

    assert findings == []
    assert sent >= 20 and len(answers) > 100


def _command(dev: Dev, *words: str) -> bytes:
    environment = {**os.environ, "MOORING_CONFIG": os.devnull, "MOORING_URL": dev.url, "MOORING_TOKEN": dev.token}
    done = subprocess.run(
        [sys.executable, "-m", "mooring", *words], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
