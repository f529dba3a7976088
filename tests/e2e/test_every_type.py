"""Every variant of every type: created by the API, deployed, used through a worker, and read back from the other side."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from mooring.plugin.materials import Store
from tests.e2e.support import PROJECT, create
from tests.support.keystores import keystore, keystores_path
from tests.support.plane import Dev, connection_path
from tests.support.targets import StoreFile, Target, variants

SEEN_WITHIN_S = 20.0

ALL = [pytest.param(variant, id=variant.id) for variant in variants()]


@pytest.mark.parametrize("variant", ALL)
def test_what_a_worker_did_is_seen_from_the_other_side(dev, variant, record_property):
    """The effect of an operation is there, by the system's own tool."""
    record_property("variant", f"{variant.type}-{variant.name}")
    with variant.opening() as target:
        name = f"{variant.type}-{uuid.uuid4().hex[:8]}"
        for store in target.stores:
            keep(dev, store, target)
        create(dev, {**target.body, "name": name})

        used = dev.use(PROJECT, name, target.operation, target.request)

        assert used.status_code == 200, used.text
        assert seen(target, used.json()), f"not seen on the other side: {used.text}"
        record_property("verified", (variant.type, variant.name, target.server, target.tls))


@pytest.mark.parametrize("variant", ALL)
def test_a_worker_proves_that_it_works(dev, variant):
    """The test route answers with the probe's steps, and none of them failed."""
    with variant.opening() as target:
        name = f"{variant.type}-{uuid.uuid4().hex[:8]}"
        for store in target.stores:
            keep(dev, store, target)
        create(dev, {**target.body, "name": name})

        tested = dev.api.post(f"{connection_path(name)}test/").json()["deploymentResult"]

        assert tested["success"], tested


def seen(target: Target, answer: dict[str, Any]) -> Any:
    """What can be read on the other side, once it can."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while True:
        found = target.seen(answer)
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def keep(dev: Dev, name: str, target: Target) -> None:
    """A keystore of that name, made by the API; one that is there already is replaced."""
    file = target.files.get(name) or as_pem(target.stores[name])
    body = keystore(name, file.content, file.kind, **({"password": file.password} if file.password else {}))
    response = dev.api.post(keystores_path(), json=body)
    if response.status_code != 200:
        response = dev.api.put(keystores_path(name), json=body)
    assert response.status_code == 200, response.text


def as_pem(store: Store) -> StoreFile:
    text = "\n".join(part for part in (store.key, store.chain, store.trusted) if part)
    return StoreFile("PEM", text.encode())
