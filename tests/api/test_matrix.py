"""
Who gets which answer on which route: the real route table against a golden file that people read.

Reads ask for what is there; everything else sends a body that is no object, to something that is missing, so that
whoever may gets 400, 404 or 409, and nothing changes. `MOORING_UPDATE_SNAPSHOTS=1` writes the files anew.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from mooring.api.routes import ROUTES, RouteCard
from mooring.control.tokens import system_actor
from mooring.domain.rights import ALL_BUT_REVEAL, ROLES
from mooring.kit.aead import new_receiver_key
from mooring.wire.frames import Enrolment
from tests.support.plane import DEV_ENVIRONMENT, DEV_PROJECT, Opened, client_of, connection_path, webhook

HERE = Path(__file__).parent
SYSTEM = system_actor()
EDITOR = ("connections:view", "connections:manage", "connections:test", "connections:use", "connections:attach")
PASSWORD = "a long enough password"


def path_of(card: RouteCard) -> str:
    """A path that fits the route: to what is there for reads, to nothing otherwise."""
    name = "a" if card.method == "GET" else "ghost"
    values = dict.fromkeys(("name", "deployment", "token", "worker", "user"), name)
    values |= {"project": DEV_PROJECT, "type": "webhook", "word": "x"}
    if card.path == "/apiops/environments/{name}" and card.method == "GET":
        values["name"] = DEV_PROJECT
    return card.path.format(**values)


async def statuses(opened: Opened, tokens: Mapping[str, str | None]) -> str:
    """A line for each route: what every one of *tokens* gets."""
    lines = [" ".join(["".ljust(76), *(who.rjust(len(who)) for who in tokens)])]
    clients = {who: client_of(opened.plane, text) for who, text in tokens.items()}
    found: dict[str, dict[str, int]] = {}
    for who, opening in clients.items():
        async with opening as http:
            for card in ROUTES:
                answer = await _ask(http, card)
                found.setdefault(f"{card.method} {card.path}", {})[who] = answer.status_code
    for route in sorted(found, key=lambda each: each.partition(" ")[::-1]):
        lines.append(" ".join([route.ljust(76), *(str(found[route][who]).rjust(len(who)) for who in tokens)]))
    return "\n".join(line.rstrip() for line in lines) + "\n"


async def _ask(http: httpx2.AsyncClient, card: RouteCard) -> httpx2.Response:
    if card.method in ("POST", "PUT"):
        return await http.request(
            card.method, path_of(card), content="[]", headers={"Content-Type": "application/json"}
        )
    return await http.request(card.method, path_of(card))


def agrees(name: str, now: str) -> bool:
    """Whether the golden file says the same."""
    path = HERE / name
    if os.environ.get("MOORING_UPDATE_SNAPSHOTS"):
        path.write_text(now)
    assert now == path.read_text(), "who may what has changed; if it should, write the file anew and look at the diff"
    return True


async def _token(
    opened: Opened, *grants: str, project: str | None = DEV_PROJECT, expires_in_s: int | None = None
) -> str:
    _, text = await opened.plane.tokens.create(
        SYSTEM, "t", grants=grants, project_name=project, expires_in_s=expires_in_s
    )
    return text


async def _worker(opened: Opened) -> str:
    text, _ = await opened.plane.workers.enrolment(SYSTEM, DEV_ENVIRONMENT)
    _, public = new_receiver_key()
    body = Enrolment(token=text, environment=DEV_ENVIRONMENT, name="w", public_key=base64.b64encode(public).decode())
    return (await opened.plane.workers.enrol(body, request_id="r", address="")).credential


@pytest.fixture
async def furnished(opened: Opened, http: httpx2.AsyncClient) -> Opened:
    """A control plane with one connection, and another project."""
    await http.post(connection_path("a"), json=webhook("a"))
    await http.post("/apiops/projects/Other/", json={})
    return opened


async def test_every_route_answers_every_identity_as_agreed(furnished: Opened) -> None:
    """A route that is not in the file fails this; so does one that opened or closed."""
    revoked = await _token(furnished, *EDITOR)
    await furnished.plane.tokens.revoke(SYSTEM, revoked.split("_")[2])

    now = await statuses(
        furnished,
        {
            "none": None, "garbage": "garbage", "expired": await _token(furnished, *EDITOR, expires_in_s=-1),
            "revoked": revoked, "other": await _token(furnished, *sorted(ALL_BUT_REVEAL), project="Other"),
            "reader": await _token(furnished, "connections:view"), "editor": await _token(furnished, *EDITOR),
            "worker": await _worker(furnished), "administrator": furnished.token,
        },
    )  # fmt: skip

    assert agrees("matrix_identities.txt", now)


async def test_every_role_may_what_is_agreed(furnished: Opened) -> None:
    """Each role, held in the path's project by a user who has no other."""
    tokens = {}
    for role in ROLES:
        await furnished.plane.users.create(SYSTEM, role, PASSWORD, roles={DEV_PROJECT: [role]})
        text, _ = await furnished.plane.tokens.exchange(
            "client_credentials", role, PASSWORD, request_id="r", address=""
        )
        tokens[role] = text

    now = await statuses(furnished, tokens)

    assert agrees("matrix_roles.txt", now)
