"""
The model of a connection type's config, and the walk from a body to it.

    body ──read_config──► config ──wire──► dict ──split──► public half + secrets
                                            ▲                      │
                                            └────────── join ◄─────┘
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from mooring.errors import InvalidConfig, Problem
from mooring.plugin.fields import has_reference
from mooring.plugin.problems import problems_of
from mooring.plugin.secrets import SecretSite, WholeField


def words(key: str) -> str:
    """A camelCase key as people write it: `elasticPassword` is "Elastic password"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", key)
    parts = [part if part.isupper() else part.lower() for part in spaced.split(" ")]
    return " ".join([parts[0][:1].upper() + parts[0][1:], *parts[1:]])


class Part(BaseModel):
    """An object inside a config, such as one header of a list; and what it shares with configs."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        frozen=True,
        allow_inf_nan=False,
        field_title_generator=lambda name, info: words(info.alias or to_camel(name)),
    )

    @model_validator(mode="before")
    @classmethod
    def _tolerate(cls, value: Any) -> Any:
        """Null equals absent; documented aliases and misspellings become the canonical key, which wins over them."""
        if type(value) is not dict:
            return value
        also = _also(cls)
        if also:
            value = dict(value)
            for other, name in also.items():
                if other in value:
                    taken = value.pop(other)
                    if value.get(name) is None:
                        value[name] = taken
        if None in value.values():
            value = {key: item for key, item in value.items() if item is not None}
        return value

    def __repr__(self) -> str:
        # Values stay inside: a config may hold secrets in places that only its sites know.
        return f"<{type(self).__name__}>"

    __str__ = __repr__


class ConnectionConfig(Part):
    """
    The typed fields of a connection type.

    A room's model declares fields (`mooring.plugin.fields.field`) and, where needed, overrides `rules`,
    `warnings`, `destination`, and `SECRET_SITES` for secrets that are not whole fields.
    """

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = ()
    """Places that hold secrets, beside the fields of type `Secret`, which are found by themselves."""

    RETIRED_KEYS: ClassVar[frozenset[str]] = frozenset()
    """Response-only keys of older documents that requests may repeat; they are ignored."""

    def rules(self) -> Iterator[Problem]:
        """What is wrong between fields. Values that hold a variable reference must count as fine."""
        yield from ()

    def warnings(self) -> Iterator[Problem]:
        """What is accepted and probably not meant."""
        yield from ()

    def destination(self) -> dict[str, Any]:
        """Where the secrets go: the fields that a kept secret must not outlive, by wire name."""
        return {wire_name(type(self), name): getattr(self, name) for name in _destination_fields(type(self))}

    def references(self) -> dict[str, str]:
        """The keystores, truststores and certificates that this config really uses, by wire name of the field."""
        return {wire: value for name, wire in _reference_fields(type(self)) if (value := getattr(self, name))}

    def wire(self) -> dict[str, Any]:
        """Every field under its wire name, secrets in the clear."""
        values = self.model_dump(by_alias=True)
        for name in secret_fields(type(self)):
            if isinstance(values[name], SecretStr):
                values[name] = values[name].get_secret_value() or None
        return values

    @classmethod
    def from_wire(cls, values: Mapping[str, Any]) -> Self:
        """A config from its wire form. Raises `InvalidConfig` with every problem."""
        return read_config(cls, dict(values))


C = TypeVar("C", bound=ConnectionConfig)


def read_config(model: type[C], values: dict[str, Any]) -> C:
    """
    The config that *values* describe.

    Raises:
        InvalidConfig: with all problems at once, those of single fields and those between fields.
    """
    if model.RETIRED_KEYS:
        values = {key: value for key, value in values.items() if key not in model.RETIRED_KEYS}
    problems = _unfilled(model, values)
    try:
        config = model.model_validate(values)
    except ValidationError as exc:
        problems += problems_of(exc, lambda path: known_keys(model, path))
        problems += _rules_beside(model, values, problems)
        raise InvalidConfig(problems) from None
    problems += config.rules()
    if problems:
        raise InvalidConfig(problems)
    return config


def split(model: type[ConnectionConfig], values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The public half of a wire form, with holes, and the secrets by key."""
    public = deepcopy(values) if model.SECRET_SITES else dict(values)
    secrets: dict[str, str] = {}
    for site in secret_sites(model):
        site.lift(public, secrets)
    return public, secrets


def join(
    model: type[ConnectionConfig], public: Mapping[str, Any], secrets: Mapping[str, str]
) -> tuple[dict[str, Any], set[str]]:
    """*public* with *secrets* in its holes, and the keys of the secrets that found one."""
    values = deepcopy(dict(public))
    used: set[str] = set()
    for site in secret_sites(model):
        site.fill(values, secrets, used)
    return values, used


@cache
def secret_sites(model: type[ConnectionConfig]) -> tuple[SecretSite, ...]:
    """Every place of *model* that may hold secrets."""
    return (*(WholeField(name) for name in secret_fields(model)), *model.SECRET_SITES)


@cache
def reference_kinds(model: type[ConnectionConfig]) -> dict[str, str]:
    """The fields that name materials, by wire name: keystore, truststore or certificate."""
    fields = model.model_fields.items()
    return {
        wire_name(model, name): str(_extra(info)["x-reference"])
        for name, info in fields
        if _extra(info).get("x-reference")
    }


@cache
def secret_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """The wire names of the fields that are secrets as a whole."""
    return tuple(
        wire_name(model, name)
        for name, info in model.model_fields.items()
        if info.annotation is SecretStr or SecretStr in get_args(info.annotation) or "SecretStr" in str(info.annotation)
    )


@cache
def wire_name(model: type[BaseModel], name: str) -> str:
    """The key on the wire of the field *name*."""
    return model.model_fields[name].alias or name


def known_keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The keys that are known in the object that the last part of *path* stands in."""
    parts = [part for part in path if not isinstance(part, int)][:-1]
    for part in parts:
        inner = next((info for name, info in model.model_fields.items() if wire_name(model, name) == part), None)
        found = _model_in(inner.annotation) if inner else None
        if found is None:
            return []
        model = found
    return [wire_name(model, name) for name in model.model_fields]


def unresolved(values: Any) -> Iterator[str]:
    """The variable references that stand anywhere in a wire form, as `field`-like labels."""

    def walk(value: Any, where: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from walk(item, f"{where}.{key}" if where else key)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, f"{where}[{index}]")
        elif has_reference(value):
            yield where

    yield from walk(values, "")


def _rules_beside(model: type[ConnectionConfig], values: dict[str, Any], problems: list[Problem]) -> list[Problem]:
    """
    What is wrong between the fields that are right.

    A field with a problem of its own is replaced by something that satisfies every rule (a variable
    reference), or left to its default; what the rules then say about it is dropped.
    """
    broken = {problem.path.split("/")[1].replace("~1", "/").replace("~0", "~") for problem in problems if problem.path}
    patched = {key: value for key, value in values.items() if key not in broken}
    try:
        config = model.model_validate(patched)
    except ValidationError:
        stand_ins = {wire_name(model, name): "${_}" for name, info in model.model_fields.items() if info.is_required()}
        try:
            config = model.model_validate({**{key: stand_ins[key] for key in broken if key in stand_ins}, **patched})
        except ValidationError:
            return []
    return [
        problem
        for problem in config.rules()
        if problem.path.split("/")[1] not in broken and not broken & set(re.findall(r"\w+", problem.message))
    ]


def _unfilled(model: type[ConnectionConfig], values: dict[str, Any]) -> list[Problem]:
    return [
        Problem(
            "/" + key,
            "secret_required",
            f"{key} is not valid: it holds the placeholder of a stored secret, and none is stored; send the secret itself",
        )
        for site in secret_sites(model)
        for key in site.unfilled(values)
    ]


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


@cache
def _also(model: type[BaseModel]) -> dict[str, str]:
    return {
        other: wire_name(model, name)
        for name, info in model.model_fields.items()
        for other in _extra(info).get("x-aliases", ())
    }


@cache
def _destination_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, info in model.model_fields.items() if _extra(info).get("x-destination"))


@cache
def _reference_fields(model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    fields = model.model_fields.items()
    return tuple((name, wire_name(model, name)) for name, info in fields if _extra(info).get("x-reference"))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
