"""
From a config with references to the one that they mean in an environment.

    join ──► substitute, one pass ──► read_config, in which nothing is a reference any more

What comes out passed the same model and rules as one that was written without references: a variable gets nobody
around an enumeration, a range or a list of what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mooring.domain.variables import is_secret_reference, opens_secret_references, references_in, substitute
from mooring.errors import InvalidConfig, Problem
from mooring.plugin.config import ConnectionConfig, join, read_config, secret_sites, split
from mooring.plugin.fields import resolved_values
from mooring.plugin.problems import label, pointer
from mooring.plugin.secrets import WholeField

C = TypeVar("C", bound=ConnectionConfig)
MAX_NAMED = 10


class NoValue(Exception):
    """What *value_of* raises for a reference that leads nowhere; the message says why, in words after "the"."""


class Unresolved(Exception):
    """References that lead nowhere. The message names each with its field."""

    def __init__(self, missing: Mapping[str, str]) -> None:
        told = [f"{field}: {why}" for field, why in list(missing.items())[:MAX_NAMED]]
        super().__init__("; ".join(told))


def texts_with_references(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The texts in a wire form that may hold references, with their paths."""
    if isinstance(value, str):
        if "${" in value:
            yield path, value
    elif isinstance(value, dict | list):
        items: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from texts_with_references(item, (*path, key))


def secret_references(secrets: Mapping[str, str]) -> dict[str, list[str]]:
    """The references to secrets elsewhere that stand in *secrets*, by their keys."""
    found = {key: [each for each in references_in(text) if is_secret_reference(each)] for key, text in secrets.items()}
    return {key: inners for key, inners in found.items() if inners}


def resolve(model: type[C], public: Mapping[str, Any], secrets: Mapping[str, str], value_of: Callable[[str], str]) -> C:
    """
    The config that *public* and *secrets* mean, with *value_of* what stands between the braces of each reference.

    Raises:
        Unresolved: *value_of* raised `NoValue` for some of them.
        InvalidConfig: the result breaks a rule of its type, or a value reaches beyond its place.
    """
    values, _ = join(model, public, secrets)
    missing: dict[str, str] = {}
    resolved = _resolved(values, (), value_of, missing)
    kept: dict[str, str] = {}
    for key, text in secrets.items():
        if "${" in text:
            whole = _resolved(text, (key,), value_of, missing)
            if not _is_whole(model, key):
                kept[key] = whole
    if missing:
        raise Unresolved(missing)
    misplaced = [path for path, text in texts_with_references(public) if opens_secret_references(text)]
    if misplaced:
        raise InvalidConfig(
            [
                Problem(pointer(path), "invalid", f"{label(path)} is not valid: a reference to a secret may stand in secrets only")
                for path in misplaced
            ]
        )  # fmt: skip
    with resolved_values():
        config = read_config(model, resolved)
        if kept:
            _check_places(model, config, kept)
        return config


def split_resolved(config: ConnectionConfig) -> tuple[dict[str, Any], dict[str, str]]:
    """The halves of a resolved config."""
    with resolved_values():
        return split(type(config), config.wire())


def _check_places(model: type[ConnectionConfig], config: ConnectionConfig, kept: Mapping[str, str]) -> None:
    """A value inside a longer text stays the part that it was: `x@evil.example.com` becomes no host. Raises `InvalidConfig`."""
    _, found = split(model, config.wire())
    parts = set(found.values())
    problems = [
        Problem(f"/{key}", "invalid", f"{key} is not valid: its value does not fit in its place; encode it")
        for key, value in kept.items()
        if value and value not in parts
    ]
    if problems:
        raise InvalidConfig(problems)


def _is_whole(model: type[ConnectionConfig], key: str) -> bool:
    return any(isinstance(site, WholeField) and site.name == key for site in secret_sites(model))


def _resolved(value: Any, path: tuple[str | int, ...], value_of: Callable[[str], str], missing: dict[str, str]) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value

        def found(inner: str) -> str:
            try:
                return value_of(inner)
            except NoValue as exc:
                missing.setdefault(label(path), str(exc))
                return ""

        return substitute(value, found)
    if isinstance(value, dict):
        return {key: _resolved(item, (*path, key), value_of, missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, (*path, index), value_of, missing) for index, item in enumerate(value)]
    return value
