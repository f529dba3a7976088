"""The target `models`: hypothesis draws bodies of all connection types, and they are read, split, joined and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from mooring.errors import InvalidConfig
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import join, read_config, split
from tools.fuzz import bodies, values
from tools.fuzz.findings import Findings
from tools.fuzz.oracle import CANARY, SECRET

ROUND = 1_500
_MARKED = st.text(max_size=12).map(lambda text: CANARY + text)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _MARKED,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("name", "value", "key", "type", "id", "host", "port")), inner, max_size=4)
    ),
    max_leaves=8,
)
_ODD = st.sampled_from(tuple(text for text in values.TEXTS if len(text) < 2_000))


def body_strategy(card: ConnectionType) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of the type: some fields as in a good one, some of the schema's own sort, some anything."""
    good = {
        key: value
        for key, value in bodies.good_body(card).items()
        if key not in ("type", "name", "description", "deployToWorker", "enabled")
    }
    fields = {}
    for name, schema in card.schema["properties"].items():
        choices = [
            _JSON,
            _ODD,
            st.randoms(use_true_random=False).map(
                lambda random, schema=schema: bodies.fitting(random, schema, card.schema)
            ),
        ]
        if name in good:
            choices += [st.just(good[name])] * 6
        fields[name] = st.one_of(choices)
    kept = st.sets(st.sampled_from(sorted(good) or ["x"]), max_size=3).map(
        lambda left_out: {key: value for key, value in good.items() if key not in left_out}
    )
    changed = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )
    return st.builds(lambda base, change: {**base, **change}, kept, changed)


def judge(card: ConnectionType, body: dict[str, Any]) -> str | None:
    """What is wrong with how *body* is read, or None."""
    try:
        config = read_config(card.config, body)
    except InvalidConfig as exc:
        # The key of a property is a key, and named; whatever field it stands in.
        said = [problem.message for problem in exc.problems if not problem.path.endswith("/key")]
        return "a sent value came back in a problem" if any(CANARY in text or SECRET in text for text in said) else None
    wire = config.wire()
    public, secrets = split(card.config, wire)
    if SECRET in json.dumps(public, default=str):
        return "a secret stayed in the public half"
    if join(card.config, public, secrets) != (wire, set(secrets)):
        return "what was taken apart does not fit together again"
    if card.config.from_wire(wire) != config:
        return "what was stored reads back as something else"
    if SECRET in json.dumps([problem.message for problem in config.warnings()]):
        return "a secret came back in a warning"
    config.destination()
    config.references()
    return None


def run(seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """One round: the same number of bodies of each type."""
    cards, asked = bodies.cards(), 0
    for card in cards:
        if until():
            break

        asked += _bodies(card, max(1, wanted // len(cards)), seed, findings)
    return asked


def _bodies(card: ConnectionType, wanted: int, seed: int, findings: Findings) -> int:
    asked = 0

    @seeded(seed)
    @settings(
        max_examples=wanted,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(body_strategy(card))
    def every(body: dict[str, Any]) -> None:
        nonlocal asked
        asked += 1
        try:
            what = judge(card, body)
        except Exception as exc:  # nothing but InvalidConfig may leave
            what = f"5xx: {card.name}: {type(exc).__name__}"
        if what:
            findings.add(
                what if ":" in what else f"{card.name}: {what}", {"type": card.name, "body": repr(body)[:4000]}
            )

    every()
    return asked
