"""
The words that models are written in: field types, and `field()` with what a person needs to know.

Any text or integer may hold a variable reference, `${name}`, in its place; such a value satisfies every
format, range and enumeration until it is resolved for an environment. `$${` is a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mooring.domain.variables import references_in as found_in

_DIGITS = re.compile(r"-?[0-9]{1,20}")
REFERENCE_SCHEMA = {"type": "string", "pattern": r"\$\{[^{}]*\}", "description": "A variable reference."}


_RESOLVED: ContextVar[bool] = ContextVar("resolved", default=False)


@contextmanager
def resolved_values() -> Iterator[None]:
    """Within it a text that looks like a reference is just a text: everything was resolved, in one pass."""
    before = _RESOLVED.set(True)
    try:
        yield
    finally:
        _RESOLVED.reset(before)


def has_reference(value: object) -> bool:
    """Whether *value* is a text with a reference in it, to a variable or to a secret elsewhere."""
    return isinstance(value, str) and "${" in value and bool(references_in(value))


def references_in(value: str) -> list[str]:
    """What stands between the braces of the references in *value*; none where everything was resolved."""
    return [] if _RESOLVED.get() else found_in(value)


class _OrReference:
    """Lets a variable reference stand in the place of the annotated type."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            if type(value) is str and has_reference(value):
                return value
            if type(value) is bool:
                # JSON's true is no number; the library would read it as 1.
                raise PydanticCustomError("bool_refused", "must not be true or false")
            if source is int and type(value) is str and not _DIGITS.fullmatch(value):
                # The library would take blanks, underscores and a fraction of zero too.
                raise PydanticCustomError("digits", "must be a whole number")
            return inner(value)

        return core_schema.no_info_wrap_validator_function(
            validate, handler(source), serialization=core_schema.plain_serializer_function_ser_schema(lambda v: v)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner = dict(handler(schema))
        if "$ref" in inner:
            inner = dict(handler.resolve_ref_schema(inner))
        return {"anyOf": [inner, dict(REFERENCE_SCHEMA)]}


OrReference: Final = _OrReference()
"""Annotation: a variable reference may stand here. Put it last: it wraps what is before it."""


def _flag(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if value in ("true", "false") and isinstance(value, str):
        return value == "true"
    raise PydanticCustomError("flag", "must be true or false")


def _secret_text(value: Any) -> Any:
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and "\0" in value:
        raise PydanticCustomError("control", "must not contain the NUL character")
    return value


NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"

Flag = Annotated[bool, BeforeValidator(_flag, json_schema_input_type=bool | Literal["true", "false"])]
"""true or false; their texts are taken too."""

Text = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=4096)]
"""One line of text."""

NonEmpty = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=4096)]
"""One line of text that must say something."""

LongText = Annotated[str, StringConstraints(max_length=200_000)]
"""Text of many lines, such as a file in base64."""

Secret = Annotated[
    SecretStr, BeforeValidator(_secret_text, json_schema_input_type=str), StringConstraints(max_length=200_000)
]
"""A value that must never be shown by accident; a field of this type is sealed, and null on read."""

Integer = Annotated[int, Ge(-(2**31)), Le(2**31 - 1), OrReference]
Count = Annotated[int, Ge(0), Le(2**31 - 1), OrReference]
Positive = Annotated[int, Ge(1), Le(2**31 - 1), OrReference]
LongCount = Annotated[int, Ge(0), Le(2**63 - 1), OrReference]
Port = Annotated[int, Ge(1), Le(65535), OrReference]
Milliseconds = Annotated[int, Ge(0), Le(2**31 - 1), OrReference]
Seconds = Annotated[int, Ge(0), Le(2**31 - 1), OrReference]


def field(
    default: Any = ...,
    *,
    title: str | None = None,
    description: str,
    example: Any = None,
    group: str = "General",
    unit: str | None = None,
    destination: bool = False,
    reference: Literal["keystore", "truststore", "certificate"] | None = None,
    no_effect: str | None = None,
    alias: str | None = None,
    also: tuple[str, ...] = (),
) -> Any:
    """
    A field of a connection's config, with what a person needs to know about it.

    Args:
        default: The value when the key is absent or null. Left out: the field is required.
        title: A label; made from the name when left out.
        description: One sentence. It ends up in the schema, the docs, the forms.
        example: A value that is accepted.
        group: The heading it stands under in a form.
        unit: `ms`, `s`, `bytes`, ...
        destination: It says where a secret goes. A kept secret never follows a changed destination.
        reference: It names a keystore, truststore or certificate.
        no_effect: Why this field is accepted and does nothing.
        alias: The key on the wire, where it is not the camelCase of the name.
        also: Other keys that are accepted for it in requests.
    """
    extra: dict[str, Any] = {"x-group": group}
    if unit:
        extra["x-unit"] = unit
    if destination:
        extra["x-destination"] = True
    if reference:
        extra["x-reference"] = reference
    if no_effect:
        extra["x-noEffect"] = no_effect
        description = f"{description} Accepted and without effect: {no_effect}"
    if also:
        extra["x-aliases"] = list(also)
    return Field(
        default,
        title=title,
        description=description,
        examples=None if example is None else [example],
        alias=alias,
        json_schema_extra=extra,
    )
