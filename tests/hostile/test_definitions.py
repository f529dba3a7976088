"""Hostile definitions of all types: refused without a word of their values, or used under an audit hook without harm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import read_config
from mooring.plugin.registry import Registry
from tests.hostile.definitions import CANARY, REQUESTS, Case, base, by_hand, walked
from tests.hostile.test_kafka import DRIVER_SETTINGS
from tests.hostile.watched import BEGIN, PLANTS
from tests.support.plane import connection_path
from tests.support.targets import target_module
from tests.weather.peers import garbage, serving

REGISTRY = Registry()
CARDS = list(REGISTRY)
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
EACH = int(os.environ.get("MOORING_HOSTILE_EACH", "20"))
"""How many of the accepted cases of a type are used, evenly taken: half of those by hand, half of the walked ones."""

OURS = frozenset(
    {
        "allow.auto.create.topics", "auto.offset.reset", "enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "error_cb", "fetch.max.bytes",
        "fetch.message.max.bytes", "fetch.wait.max.ms", "group.id", "logger", "queued.max.messages.kbytes", "session.timeout.ms",
    }
)  # fmt: skip
"""What the room itself tells consumers, whatever the definition says."""

ROOT = Path(__file__).parents[2]


def refused(case: Case) -> list[Any] | None:
    """The problems with a case; None where it is accepted."""
    card = REGISTRY.get(case.type)
    try:
        read_config(card.config, {key: value for key, value in case.body.items() if key not in COMMON})
    except InvalidConfig as exc:
        return exc.problems
    return None


def watched(asked: dict[str, Any], folder: Path, *prefix: str) -> dict[str, Any]:
    """What `tests.hostile.watched` saw, in a process of its own, standing in *folder*."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder),
    }
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.hostile.watched"], check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=110 + 3 * EACH, env=environment, cwd=folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def uses(type_name: str) -> list[Any]:
    target = target_module(REGISTRY.get(type_name).config.__module__)
    return [list(target.FIRST_USE), *map(list, REQUESTS.get(type_name, ()))]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_refusals_name_the_field_and_never_the_value(card):
    """Whatever is refused is refused with a problem at its field, and no word of what was sent."""
    wrong, count = [], 0
    for case in (*by_hand(card, 1), *walked(card, 1)):
        problems = refused(case)
        if problems is None:
            continue
        count += 1
        keys = [problem for problem in problems if problem.path.endswith("/key")]  # the key of a property is named
        if any(CANARY in problem.message for problem in problems if problem not in keys):
            wrong.append((case.label, "quoted", [problem.message for problem in problems]))
        if not any(problem.path.startswith(f"/{case.field}") for problem in problems):
            wrong.append((case.label, "not blamed", [problem.path for problem in problems]))

    assert count > 20
    assert wrong == []


async def test_refused_by_the_api(http):
    """The API answers 400 to all that is written by hand and refused, and does not repeat it."""
    wrong, count = [], 0
    for case in (case for card in CARDS for case in by_hand(card, 1)):
        if refused(case) is None:
            continue
        count += 1
        answer = await http.post(connection_path("x"), json={**case.body, "name": "x"})
        text = answer.text.replace(f"/{CANARY}", "") if case.field == "additionalProperties" else answer.text
        if answer.status_code != 400 or CANARY in text:
            wrong.append((case.label, answer.status_code, answer.text))

    assert count > 300
    assert wrong == []


@pytest.mark.timeout(120 + 4 * EACH)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_what_is_accepted_does_no_harm(card, tmp_path):
    """Built, opened, probed and used: nothing is executed, opened or dialled beside what the definition declares."""
    with serving(garbage) as port:
        hand = [case for case in by_hand(card, port) if refused(case) is None]
        walk = [case for case in walked(card, port) if refused(case) is None]
        chosen = [case for found in (hand, walk) for case in found[:: max(1, 2 * len(found) // EACH)]]
        asked = [{"label": "as it is", "body": base(card, port), "uses": uses(card.name)}]
        asked += [
            {"label": case.label, "body": case.body, "uses": uses(card.name)[: 1 + number % 4]}
            for number, case in enumerate(chosen)
        ]
        seen = watched({"ports": [port], "cases": asked}, tmp_path)

    assert seen["violations"] == []
    assert seen["ends"][0] == ["as it is", "used"]
    assert len(seen["ends"]) == len(asked)
    for told in seen["told"]:
        assert_harmless(told)


def assert_harmless(told: dict[str, Any]) -> None:
    """What a driver in C was told names no file, library or command."""
    settings = told["settings"]
    if told["driver"] in ("Producer", "Consumer", "AdminClient"):
        assert settings.keys() - DRIVER_SETTINGS - OURS == set(), told["case"]
    else:
        assert "/tmp" not in settings["text"].lower() or "driver=/tmp" not in settings["text"].lower(), told["case"]


def test_every_planted_violation_is_noticed(tmp_path):
    """The hook notices each forbidden thing, when it is done on purpose."""
    seen = watched({"ports": [], "cases": [], "plants": list(PLANTS)}, tmp_path)

    assert {violation["case"] for violation in seen["violations"]} == set(PLANTS)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_says_the_same_of_librdkafka(tmp_path):
    """Below Python's hooks: with hostile properties, librdkafka runs nothing, opens nothing of them, and dials its broker only."""
    card, log = REGISTRY.get("kafka"), tmp_path / "strace.log"
    with serving(garbage) as port:
        accepted = [case for case in (*by_hand(card, port), *walked(card, port)) if refused(case) is None]
        asked = [
            {"label": case.label, "body": case.body, "uses": uses("kafka")}
            for case in accepted[:: max(1, len(accepted) // 8)]
        ]
        watched(
            {"ports": [port], "cases": asked},
            tmp_path,
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=execve,connect,open,openat,creat",
            "-o",
            str(log),
        )
        lines = log.read_text(errors="replace").splitlines()

    [begin] = [number for number, line in enumerate(lines) if BEGIN in line]
    lines = lines[begin:]
    executed = [line for line in lines if "execve(" in line]
    dialled = [line for line in lines if "connect(" in line and "AF_INET" in line and f"htons({port})" not in line]
    assert executed == []
    assert [line for line in dialled if "127.0.0.1" not in line] == []
    assert [line for line in lines if CANARY in line and "= -1" not in line] == []
