"""
The field tables in the rooms' READMEs, written from the models so that the two cannot disagree.

    python -m mooring.plugin.reference            rewrite the table of every room
    python -m mooring.plugin.reference --check    say which are out of date, and fail if any is
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mooring.plugin.card import ConnectionType
from mooring.plugin.config import secret_fields
from mooring.plugin.fields import REFERENCE_SCHEMA
from mooring.plugin.registry import Registry

BEGIN, END = "<!-- fields -->", "<!-- /fields -->"

_HEAD = ("Field", "Type", "Required", "Default", "Meaning", "Marks")
_MACHINE_BOUNDS = frozenset({-(2**31), 2**31 - 1, 2**53, 2**63 - 1})
"""Limits of the integer types themselves, which tell a person nothing."""
_ORDINARY_LENGTHS = frozenset({4096, 200_000})
_TRUE_OR_FALSE = ("true", "false")


class ReadmeBroken(Exception):
    """A room's README is missing, or has no place for the field table."""


@dataclass(frozen=True)
class _Row:
    name: str
    type: str
    required: bool
    default: str
    meaning: str
    marks: tuple[str, ...]

    def cells(self) -> tuple[str, ...]:
        return (
            f"`{self.name}`", self.type, "yes" if self.required else "no", self.default, self.meaning, ", ".join(self.marks),
        )  # fmt: skip


def field_table(card: ConnectionType) -> str:
    """A Markdown table of the type's own fields; those of objects inside stand below their field, with a path for a name."""
    lines = [_line(_HEAD), _line("---" for _ in _HEAD)]
    lines += (_line(row.cells()) for row in _Table(card).rows())
    return "\n".join(lines)


def fill_readme(card: ConnectionType) -> bool:
    """
    Write the field table into the README of the type's room; whether that changed it.

    Raises:
        ReadmeBroken: where there is no README, or no pair of markers in it.
    """
    path = card.folder / "README.md"
    before = _readme(card)
    after = _filled(card, before)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def is_current(card: ConnectionType) -> bool:
    """Whether the README of the type's room shows its fields as they are. Raises `ReadmeBroken`."""
    text = _readme(card)
    return _filled(card, text) == text


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite every room's table, or with `--check` verify them; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mooring.plugin.reference", description=(__doc__ or "").strip().splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a README is out of date")
    check = parser.parse_args(arguments).check
    failed = False
    for card in Registry():
        try:
            stale = not is_current(card) if check else fill_readme(card)
        except ReadmeBroken as exc:
            print(f"{card.name}: {exc}")
            failed = True
            continue
        if stale:
            print(f"{card.name}: the field table in its README {'is out of date' if check else 'was rewritten'}")
            failed = failed or check
    return 1 if failed else 0


class _Table:
    """Walks the JSON Schema of one type."""

    def __init__(self, card: ConnectionType) -> None:
        self.schema = card.schema
        self.secrets = frozenset(secret_fields(card.config))
        self.partly_secret = frozenset(getattr(site, "field", None) for site in card.config.SECRET_SITES)

    def rows(self) -> Iterator[_Row]:
        yield from self._rows_of(self.schema, "")

    def _rows_of(self, schema: dict[str, Any], place: str) -> Iterator[_Row]:
        needed = schema.get("required", ())
        for key, described in schema.get("properties", {}).items():
            name = place + key
            yield self._row(name, described, key in needed)
            inner, many = self._object_in(described)
            if inner:
                yield from self._rows_of(inner, f"{name}[]." if many else f"{name}.")

    def _row(self, name: str, described: dict[str, Any], required: bool) -> _Row:
        shapes = self._shapes(described)
        secret = name in self.secrets
        words = "secret text" if secret else " or ".join(dict.fromkeys(self._words(shape) for shape in shapes))
        if unit := described.get("x-unit"):
            words += f", in {unit}"
        return _Row(
            name, words, required, _default(described), _meaning(described), tuple(self._marks(name, described))
        )

    def _marks(self, name: str, described: dict[str, Any]) -> Iterator[str]:
        if name in self.secrets:
            yield "secret"
        if name in self.partly_secret:
            yield "holds secrets"
        if described.get("x-destination"):
            yield "destination"
        if reference := described.get("x-reference"):
            yield f"names a {reference}"
        if described.get("x-noEffect"):
            yield "no effect"

    def _shapes(self, described: dict[str, Any]) -> list[dict[str, Any]]:
        """The shapes that a value may have; neither null nor a variable reference is told apart."""
        described = self._resolved(described)
        if "anyOf" not in described:
            return [] if described.get("type") == "null" or described == REFERENCE_SCHEMA else [described]
        shapes = [shape for part in described["anyOf"] for shape in self._shapes(part)]
        if any(shape.get("type") == "boolean" for shape in shapes):
            shapes = [shape for shape in shapes if tuple(shape.get("enum", ())) != _TRUE_OR_FALSE]
        return shapes

    def _resolved(self, described: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in described:
            return described
        found: dict[str, Any] = self.schema["$defs"][described["$ref"].rpartition("/")[2]]
        return self._resolved(found)

    def _object_in(self, described: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """The object with fields of its own that a value is, or is a list of; and which of the two."""
        for shape in self._shapes(described):
            if "properties" in shape:
                return shape, False
            for item in self._shapes(shape["items"]) if shape.get("items") else ():
                if "properties" in item:
                    return item, True
        return None, False

    def _words(self, shape: dict[str, Any]) -> str:
        if "const" in shape:
            return f"`{shape['const']}`"
        if "enum" in shape:
            return "one of " + ", ".join(f"`{member}`" for member in shape["enum"])
        words = self._WORDS.get(shape.get("type", ""))
        return words(self, shape) if words else "any value"

    def _list_words(self, shape: dict[str, Any]) -> str:
        items = [
            "objects" if "properties" in item else self._words(item) for item in self._shapes(shape.get("items", {}))
        ]
        words = "list of " + (" or ".join(dict.fromkeys(items)) if items else "any value")
        if "maxItems" in shape:
            words += f", at most {shape['maxItems']} entries"
        return words + (", not empty" if shape.get("minItems") else "")

    def _object_words(self, shape: dict[str, Any]) -> str:
        if "properties" in shape:
            return "object"
        values = shape.get("additionalProperties")
        inner = [self._words(value) for value in self._shapes(values)] if isinstance(values, dict) and values else []
        return "map of names to " + (" or ".join(dict.fromkeys(inner)) if inner else "any value")

    _WORDS: ClassVar[dict[str, Callable[[_Table, dict[str, Any]], str]]] = {
        "string": lambda _, shape: "text" + _length(shape),
        "integer": lambda _, shape: "whole number" + _range(shape),
        "number": lambda _, shape: "number" + _range(shape),
        "boolean": lambda _, __: "true or false",
        "array": _list_words,
        "object": _object_words,
    }


def _length(shape: dict[str, Any]) -> str:
    most = shape.get("maxLength")
    return "" if most is None or most in _ORDINARY_LENGTHS else f" of at most {most} characters"


def _range(shape: dict[str, Any]) -> str:
    least, most = (
        None if bound in _MACHINE_BOUNDS else bound for bound in (shape.get("minimum"), shape.get("maximum"))
    )
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", at least {least}"
    return "" if most is None else f", at most {most}"


def _default(described: dict[str, Any]) -> str:
    default = described.get("default")
    return "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _meaning(described: dict[str, Any]) -> str:
    also = described.get("x-aliases", ())
    written = f" Also written {', '.join(f'`{name}`' for name in also)}." if also else ""
    return f"{described.get('description', '')}{written}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


def _readme(card: ConnectionType) -> str:
    try:
        return (card.folder / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReadmeBroken("its room has no README.md") from None


def _filled(card: ConnectionType, text: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ReadmeBroken(f"its README.md has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{field_table(card)}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
