"""The destination rule over variables: every type, every destination field that a variable can stand in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import pytest

from mooring.control.plane import Plane
from mooring.domain.rights import ALL_BUT_REVEAL
from mooring.errors import AlreadyExists, InvalidConfig, SecretRequired
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import read_config
from tests.control.test_destination import ACTOR, ASK, CASES, bodies, changes, typed
from tests.support.plane import DEV_PROJECT

EDITOR = replace(ACTOR, grants=ALL_BUT_REVEAL)


FURTHER = {"hostKeyFingerprint": ["SHA256:" + "A" * 43, "SHA256:" + "B" * 42 + "A"]}
"""Values where one example is too few."""


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
    else:
        for key, item in items:
            yield from leaves(item, (*path, key))


def with_leaf(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    if isinstance(value, dict):
        return {**value, path[0]: with_leaf(value[path[0]], path[1:], leaf)}
    return [with_leaf(item, path[1:], leaf) if index == path[0] else item for index, item in enumerate(value)]


def by_variable(card: ConnectionType, body: dict[str, Any], field: str) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Bodies in which a variable stands in the destination *field*, with its value now and another that moves it."""
    first, *others = states = [
        body,
        *islice(changes(card, body, field), 6),
        *({**body, field: text} for text in FURTHER.get(field, ())),
    ]
    for before, after in [*((first, each) for each in others), *pairwise(states[1:])]:
        old, new = dict(leaves(before.get(field))), dict(leaves(after[field]))
        differing = [path for path in old if path in new and old[path] != new[path]]
        if old.keys() != new.keys() or len(differing) != 1:
            continue
        (path,) = differing
        was, becomes = old[path], new[path]
        if any(isinstance(each, bool) or not isinstance(each, str | int) or each == "" for each in (was, becomes)):
            continue
        made = {**before, field: with_leaf(before[field], path, "${X}")}
        if is_taken(card, made):
            yield made, str(was), str(becomes)


def is_taken(card: ConnectionType, body: dict[str, Any]) -> bool:
    try:
        read_config(card.config, typed(body))
    except InvalidConfig:
        return False
    return True


async def set_variable(plane: Plane, value: str) -> None:
    body = {"name": "X", "global": True, "globalValue": value}
    try:
        await plane.variables.create(EDITOR, DEV_PROJECT, "X", body, ASK)
    except AlreadyExists:
        await plane.variables.update(EDITOR, DEV_PROJECT, "X", body, ASK)


@pytest.mark.parametrize(("card", "field"), CASES)
async def test_no_variable_takes_a_secret_elsewhere(card: ConnectionType, field: str, plane: Plane) -> None:
    """A new value of the variable in a destination field is refused, and names the field."""
    tried = 0
    for body in bodies(card):
        for made, was, becomes in islice(by_variable(card, body, field), 3):
            await set_variable(plane, was)
            await plane.connections.create(ACTOR, DEV_PROJECT, "moved", json.dumps(made).encode(), ASK)
            try:
                await set_variable(plane, becomes)
            except SecretRequired as exc:
                assert field in exc.message
                tried += 1
            await plane.connections.delete(ACTOR, DEV_PROJECT, "moved", ASK)
        if tried:
            break

    if not tried:
        # A flag, or a file: no variable can stand there at all.
        assert not any(is_taken(card, {**body, field: "${X}"}) for body in bodies(card))
