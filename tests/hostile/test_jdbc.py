"""Hostile database addresses, sent as bodies: a 400 that names what is wrong and never what was sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import read_config
from mooring.types.database.model import DatabaseConfig
from tests.hostile.jdbc import CANARY, ODD, PLACES, Hostile, corpus, generated
from tests.support.plane import connection_path


def body(text: str, dialect: str) -> dict[str, object]:
    return {"dbType": dialect, "jdbcUrl": text, "username": "u", "password": "p"}


def wrong(dialect: str, hostiles: Iterator[Hostile]) -> Iterator[str]:
    """What is not as it should be, in words."""
    for hostile in hostiles:
        try:
            read_config(DatabaseConfig, body(hostile.text, dialect))
        except InvalidConfig as exc:
            problems = exc.problems
        else:
            yield f"accepted: {hostile.text!r}"
            continue
        said = " ".join(problem.message for problem in problems)
        if not any(problem.path == "/jdbcUrl" for problem in problems):
            yield f"not blamed: {hostile.text!r}"
        if CANARY in said or "evil" in said:
            yield f"quoted: {said!r}"
        if hostile.named and hostile.named not in said:
            yield f"not named: {hostile.text!r}: {said!r}"


def test_the_corpus_is_large():
    """The corpus has many thousand different addresses, of all ten products."""
    texts = {hostile.text for _, hostile in corpus()}

    assert len(texts) > 5_000
    assert len(ODD) > 150
    assert len(PLACES) == 10


@pytest.mark.parametrize("dialect", PLACES)
def test_dangerous_parameters(dialect):
    """Every dangerous parameter is refused by name, wherever it stands and however it is written."""
    assert list(wrong(dialect, generated(dialect))) == []


def test_odd_addresses():
    """Odd addresses are refused, each."""
    assert list(wrong("POSTGRES", map(Hostile, ODD))) == []


async def test_by_the_api(http):
    """The API answers 400 with the field, and no word of the value."""
    found = []
    every = [
        (dialect, hostile)
        for number, (dialect, hostile) in enumerate(corpus())
        if number % 17 == 0 or hostile.text in ODD
    ]
    for dialect, hostile in every:
        answer = await http.post(
            connection_path("x"), json={"type": "database", "name": "x", **body(hostile.text, dialect)}
        )
        paths = [problem["path"] for problem in answer.json().get("errors", [])]
        if answer.status_code != 400 or CANARY in answer.text or (paths and "/jdbcUrl" not in paths):
            found.append((hostile.text, answer.status_code, answer.text))

    assert len(every) >= 600
    assert found == []
