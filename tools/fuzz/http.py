"""The target `http`: the whole API in this process, on a database of its own for each round."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mooring.api.app import control_app
from mooring.api.routes import ROUTES, RouteCard
from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.domain.rights import EVERY_GRANT
from mooring.kit.settings import Settings
from mooring.serve import DEV_ENVIRONMENT, DEV_PROJECT, opened_plane
from tools.fuzz import bodies, oracle, requests
from tools.fuzz.door import Answered, Asked, ask
from tools.fuzz.findings import Findings

AT_ONCE = 12
ROUND = 5_000
_KNOWN_MOST = 50
_OWN_SHARE = 0.06
"""How many of the steps are scenarios, of some requests each."""


class Session:
    """One control plane, those who ask it, and what they have seen."""

    def __init__(self, app: Any, identities: dict[str, str], findings: Findings, draw: random.Random) -> None:
        self.app, self.identities, self.findings, self.random = app, identities, findings, draw
        self.known: dict[str, list[str]] = {}
        self.asked = 0
        self.statuses: dict[int, int] = {}

    async def ask(self, asked: Asked) -> Answered | None:
        """One request, judged. None where the application raised."""
        self.asked += 1
        try:
            async with asyncio.timeout(30):
                answered = await ask(self.app, asked)
        except Exception as exc:  # whatever leaves the application is a finding
            self.findings.answered(f"5xx: {type(exc).__name__} left the application", asked, None)
            return None
        self.statuses[answered.status] = self.statuses.get(answered.status, 0) + 1
        for what in oracle.wrong(asked, answered):
            if what.startswith("slow") and not await self._is_slow_alone(asked):
                continue
            self.findings.answered(what, asked, answered)
        if answered.status == 200:
            self._learn(asked, answered)
        return answered

    async def _is_slow_alone(self, asked: Asked) -> bool:
        """Others were waited for too; so the request is asked again, twice."""
        for _ in range(2):
            answered = await ask(self.app, asked)
            if answered.took_s <= oracle.SLOW_S:
                return False
        return True

    def _learn(self, asked: Asked, answered: Answered) -> None:
        """Remember ids, so that some later paths lead somewhere."""
        if asked.method != "GET" or self.random.random() > 0.2 or len(answered.body) > 20_000:
            return
        with contextlib.suppress(ValueError, AttributeError, TypeError, KeyError):
            for row in json.loads(answered.body)["resultList"][:5]:  # a list, or there is nothing to learn
                for parameter in ("token", "worker", "deployment", "type", "user", "variable", "name"):
                    value = row.get("name" if parameter in ("name", "type") else "id")
                    own = any(str(value) in text for text in self.identities.values())  # whose token ends asks no more
                    if isinstance(value, str) and re.fullmatch(r"[\w-]+", value, re.ASCII) and not own:
                        found = self.known.setdefault(parameter, [])
                        found.append(value)
                        del found[:-_KNOWN_MOST]

    def step(self) -> Awaitable[Any]:
        """The next thing to do."""
        if self.random.random() < _OWN_SHARE:
            return self.random.choice(SCENARIOS)(self)
        return self.ask(requests.drawn(self.random, self.known, self.identities))

    def call(
        self, method: str, path: str, body: Any = None, *, identity: str = "admin", raw: bytes | None = None
    ) -> Awaitable[Answered | None]:
        """A request as a client would make it."""
        headers = [
            (b"authorization", b"Bearer " + self.identities[identity].encode()),
            (b"content-type", b"application/json"),
        ]
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        return self.ask(Asked(method, path.encode(), b"", headers, sent, identity, "10.1.1.1"))


async def _life(session: Session) -> None:
    """Create, read, put back what was read with a change, delete; a wrong turn at any point."""
    draw = session.random
    card = draw.choice(bodies.cards())
    name = draw.choice(requests.NAMES)
    path = f"/apiops/projects/{DEV_PROJECT}/connections/{name}/"
    created = await session.call("POST", path, {**bodies.good_body(card), "name": name})
    if created is not None and created.status not in (200, 400):
        session.findings.add(f"a good {card.name} answered {created.status}", {"text": created.text[:2000]})
    read = await session.call("GET", path, identity=draw.choice(("admin", "reader")))
    if read is None or read.status != 200:
        return
    document = json.loads(read.body)["resultList"][0]
    back = await session.call("PUT", path, document)
    if back is not None and back.status not in (200, 404, 409, 412) and "already exists" not in back.text:
        session.findings.add("what was read cannot be put back", {"document": document, "text": back.text[:2000]})
    for _ in range(draw.randrange(3)):
        changed = bodies.mutated(draw, document, tuple(card.schema["properties"]))
        await session.call("PUT", path, raw=bodies.written(draw, changed), identity=draw.choice(("admin", "editor")))
    if draw.random() < 0.7:
        await session.call("DELETE", path)
        await session.call("GET", path)


async def _same_name(session: Session) -> None:
    """Several at once for one name: at most one creates it."""
    draw = session.random
    name = f"race-{draw.randrange(10)}"
    path = f"/apiops/projects/{DEV_PROJECT}/connections/{name}"
    body = {**bodies.good_body(draw.choice(bodies.cards())), "name": name}
    await session.call("DELETE", path)
    answers = await asyncio.gather(*(session.call("POST", path, body) for _ in range(3)))
    if sum(answer is not None and answer.status == 200 for answer in answers) > 1:
        session.findings.add("one name was created twice", {"name": name})


@cache
def _families() -> list[list[RouteCard]]:
    """Routes that share a path which ends in a name, and have a body of their own: a family makes and changes one thing."""
    found: dict[str, list[RouteCard]] = {}
    for card in ROUTES:
        if card.path.endswith("}") and "/connections/" not in card.path:
            found.setdefault(card.path, []).append(card)
    return [cards for cards in found.values() if any(isinstance(card.body, type) for card in cards)]


async def _thing(session: Session) -> None:
    """Something other than a connection: made with a fitting body, read, changed, used by name, and deleted."""
    draw = session.random
    family = draw.choice(_families())
    name = draw.choice(requests.NAMES)
    for method in ("POST", "GET", "PUT", "PUT", "DELETE"):
        card = next((card for card in family if card.method == method), None)
        if card is None or (method == "DELETE" and draw.random() < 0.5):
            continue
        path = re.sub(r"\{\w+\}$", name, card.path).replace("{project}", DEV_PROJECT)
        body = None
        if isinstance(card.body, type):
            body = bodies.fitting(draw, bodies.schema_of(card.body))
            if "name" in body:
                body["name"] = name
            if method == "PUT" and draw.random() < 0.5:
                body = bodies.mutated(draw, body)
        await session.call(method, path, body)


async def _exchange(session: Session) -> None:
    """A token for a token, with right and wrong credentials."""
    draw = session.random
    text = session.identities[draw.choice(("admin", "reader", "revoked", "garbage"))]
    identifier = text.split("_")[2] if text.count("_") > 2 else "x"
    fields = {
        "grant_type": draw.choice(("client_credentials", "password")),
        "client_id": draw.choice((identifier, "x")),
        "client_secret": text,
    }
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    await session.ask(
        Asked(
            "POST",
            b"/apiops/auth/token",
            b"",
            headers,
            urlencode(fields).encode(),
            "none",
            f"10.9.{draw.randrange(256)}.1",
        )
    )


SCENARIOS: tuple[Callable[[Session], Awaitable[None]], ...] = (
    _life,
    _life,
    _life,
    _same_name,
    _thing,
    _thing,
    _exchange,
)


@contextlib.asynccontextmanager
async def opened_session(folder: Path, findings: Findings, draw: random.Random) -> AsyncIterator[Session]:
    """A fresh control plane with a project, an environment, and tokens of every sort."""
    async with opened_plane(Settings(data_dir=folder)) as (plane, token):
        assert token is not None
        actor = system_actor()
        await plane.projects.create(actor, DEV_PROJECT, "The first project")
        await plane.projects.create(actor, "Other", "Another project")
        await plane.environments.create(actor, DEV_ENVIRONMENT, description="", type_name="TEST")
        yield Session(control_app(plane), await _identities(plane, token), findings, draw)


async def _identities(plane: Plane, admin: str) -> dict[str, str]:
    actor = system_actor()

    async def made(project: str | None, *grants: str) -> str:
        found = [grant for grant in grants if grant in EVERY_GRANT]
        return (await plane.tokens.create(actor, "fuzz", grants=found, project_name=project))[1]

    revoked, revoked_text = await plane.tokens.create(actor, "fuzz", grants=[])
    await plane.tokens.revoke(actor, revoked.id)
    return {
        "none": "", "garbage": "mrg_pat_x", "revoked": revoked_text, "admin": admin,
        "reader": await made(DEV_PROJECT, "connections:view", "environments:view", "workers:view"),
        "editor": await made(DEV_PROJECT, "connections:view", "connections:manage", "connections:test"),
        "other": await made("Other", "connections:view", "connections:manage"),
        "nothing": await made(None),
    }  # fmt: skip


async def round_of(seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """Ask *wanted* requests, or until that is true; how many were asked."""
    with tempfile.TemporaryDirectory(prefix="mooring-fuzz-") as folder:
        async with opened_session(Path(folder), findings, random.Random(seed)) as session:
            while session.asked < wanted and not until():
                await asyncio.gather(*(session.step() for _ in range(AT_ONCE)))
            logging.getLogger("fuzz").debug("statuses %s", session.statuses)
            findings.statuses = session.statuses
            return session.asked


def run(seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """One round of the target."""
    import uvloop

    return uvloop.run(round_of(seed, wanted, findings, until))
