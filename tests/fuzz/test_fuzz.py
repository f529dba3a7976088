"""`make fuzz`, for some seconds: and that it would notice."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from tools.fuzz import bodies, counts, described, http, models, oracle, parsers, requests
from tools.fuzz.door import Answered, Asked, ask
from tools.fuzz.findings import Findings

from mooring.api.app import control_app
from mooring.api.routes import ROUTES

QUICK_S = 5.0
GET = Asked("GET", b"/apiops/projects")
JSON_TYPE = [(b"content-type", b"application/json"), (b"x-request-id", b"req_1")]


def test_the_api_withstands_a_quick_run():
    """Requests of all sorts to the whole API for some seconds: nothing is found."""
    findings = Findings("http", 0)
    ends = time.monotonic() + QUICK_S

    asked = http.run(random.SystemRandom().randrange(2**32), 4_000, findings, lambda: time.monotonic() > ends)

    assert findings.sorts == {}
    assert asked > 100


def test_it_gets_through():
    """What is drawn is not only refused: a good share of it is accepted, and most of the documented refusals happen."""
    findings = Findings("http", 0, folder=None)

    http.run(1, 2_500, findings, lambda: False)

    assert findings.statuses[200] > 300
    assert {200, 400, 401, 404, 405} <= findings.statuses.keys()


def answering(status: int, body: object, headers: list[tuple[bytes, bytes]] = JSON_TYPE):
    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": body if isinstance(body, bytes) else json.dumps(body).encode()}
        )

    return app


def error(description: str, **more: object) -> dict[str, object]:
    return {"error": "bad_request", "error_description": description, **more}


@pytest.mark.parametrize(
    ("app", "noticed"),
    [
        (answering(500, error("An unexpected error occurred")), "5xx: 500"),
        (answering(200, {"result": oracle.SECRET}), "a secret came back"),
        (answering(400, error(f"port {oracle.CANARY} is wrong")), "a sent value came back in an error"),
        (answering(400, error("x", errors=[{"path": "/a", "code": "x", "message": oracle.CANARY}])), "a sent value came back in a problem"),
        (answering(400, error('Traceback: File "x", line 1')), "innards: Traceback"),
        (answering(400, error("UNIQUE failed: sqlite")), "innards: sqlite"),
        (answering(400, {"detail": "no"}), "an error of another shape"),
        (answering(400, b"<html>"), "an error that is not JSON"),
        (answering(418, error("x")), "undocumented status 418"),
        (answering(429, error("x")), "429 without Retry-After"),
        (answering(200, b"{", JSON_TYPE), "not JSON"),
        (answering(200, {}, JSON_TYPE[:1]), "no request id"),
    ],
)  # fmt: skip
async def test_planted_faults_are_noticed(app, noticed):
    """An application with a planted fault is found out."""
    answered = await ask(app, GET)

    assert list(oracle.wrong(GET, answered)) == [noticed]


async def test_an_exception_is_noticed():
    """An exception that leaves the application is a server error."""

    async def app(scope, receive, send) -> None:
        raise KeyError("x")

    findings = Findings("http", 0, folder=None)
    await http.Session(app, {"admin": ""}, findings, random.Random(1)).ask(GET)

    assert findings.server_errors == 1


def test_slow_answers_are_noticed():
    """An answer that takes over a second."""
    answered = Answered(200, {"x-request-id": "r"}, b"", 1.5, True)

    assert list(oracle.wrong(GET, answered)) == ["slow: 1.50 s"]


def test_every_route_is_asked():
    """Every route of the table is drawn, sooner or later."""
    draw = random.Random(5)
    drawn = {
        (asked.method, len(asked.path.strip(b"/").split(b"/")))
        for asked in (requests.drawn(draw, {}, {"admin": "x"}) for _ in range(3_000))
    }

    assert {(card.method, len(card.path.strip("/").split("/"))) for card in ROUTES} <= drawn


@pytest.mark.parametrize("card", bodies.cards(), ids=lambda card: card.name)
def test_good_bodies_hold_the_known_secret(card):
    """The body that all others of its type are made of has the secret that no answer may show."""
    if card.name in ("logback", "syslog", "graylog"):
        pytest.skip("its example has no secret")

    assert oracle.SECRET in json.dumps(bodies.good_body(card))


def test_counts_add_up(tmp_path: Path):
    """Counts accumulate, and the next run begins behind the last round."""
    file = tmp_path / "count.json"

    counts.add("http", 100, 7, 0, 1, file)
    counts.add("http", 50, 8, 2, 0, file)

    found = counts.read(file)["http"]
    assert (found.requests, found.last_seed, found.server_errors, found.other) == (150, 8, 2, 1)


def test_models_withstand_a_quick_run():
    """Bodies of all types, drawn by hypothesis, are read, split, joined and read again."""
    findings = Findings("models", 0)

    models.run(random.SystemRandom().randrange(2**32), 300, findings, lambda: False)

    assert findings.sorts == {}


def test_the_description_withstands_a_quick_run():
    """Some of what schemathesis makes of our own description."""
    findings, ends = Findings("described", 0), time.monotonic() + 3

    described.run(random.SystemRandom().randrange(2**32), 100, findings, lambda: time.monotonic() > ends)

    assert findings.sorts == {}


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_parsers_withstand_a_quick_run(name):
    """Damaged inputs of each parser: it reads them, or refuses them in the way that it documents."""
    findings, ends = Findings("parsers", 0), time.monotonic() + 0.2

    parsers.by_chance(name, random.SystemRandom().randrange(2**32), 5_000, findings, lambda: time.monotonic() > ends)

    assert findings.sorts == {}


@pytest.mark.skipif(not parsers.is_guided(), reason="atheris is not installed")
def test_guided_runs_count_their_inputs():
    """Under atheris a round of a parser is a process of its own, and its inputs are counted."""
    findings = Findings("parsers", 0)

    assert parsers.run(sorted(parsers.PARSERS).index("strict_json"), 2_000, findings, lambda: False) >= 2_000
    assert findings.sorts == {}


def test_a_parser_that_breaks_is_noticed(monkeypatch):
    """A parser with a planted fault is found out."""

    def broken(data: bytes) -> None:
        if b"(" in data:
            raise IndexError

    monkeypatch.setitem(parsers.PARSERS, "path", parsers.Parser(broken, (b"abc",)))
    findings = Findings("parsers", 0, folder=None)
    parsers.by_chance("path", 1, 2_000, findings, lambda: False)

    assert list(findings.sorts) == ["5xx: path: IndexError"]


async def test_a_body_whose_last_piece_is_too_much_is_refused_at_once(opened):
    """A body of unknown length that is too large with its last piece: nobody waits for more of it."""
    headers = [(b"authorization", f"Bearer {opened.token}".encode()), (b"content-type", b"application/json")]
    asked = Asked("POST", b"/apiops/projects/MyProject/connections/x", b"", headers, b" " * 262_145)

    answered = await ask(control_app(opened.plane), asked)

    assert answered.status == 413
    assert answered.took_s < 1
