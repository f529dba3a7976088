"""Bodies: good ones of every route, what is wrong with bad ones, and how JSON is written badly."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from mooring.plugin.card import ConnectionType
from mooring.plugin.config import read_config, split
from mooring.plugin.registry import Registry
from tools.fuzz import values
from tools.fuzz.oracle import CANARY, SECRET

_COMMON = ("type", "name", "description", "deployToWorker", "enabled")
_DEEPEST = 6


@cache
def cards() -> tuple[ConnectionType, ...]:
    return tuple(Registry())


@cache
def good_body(card: ConnectionType) -> dict[str, Any]:
    """The example of the type, with secrets that are known again."""
    body = copy.deepcopy(card.example)
    typed = {key: item for key, item in body.items() if key not in _COMMON}
    _, held = split(card.config, read_config(card.config, typed).wire())
    text = json.dumps(body)
    for secret in sorted(set(held.values()), key=len, reverse=True):
        if len(secret) > 5 and json.dumps(secret)[1:-1] in text:
            text = text.replace(json.dumps(secret)[1:-1], SECRET)
    marked: dict[str, Any] = json.loads(text)
    try:
        read_config(card.config, {key: item for key, item in marked.items() if key not in _COMMON})
    except Exception:  # a secret with a shape of its own, such as a key in PEM
        return body
    return marked


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a body that is no connection."""
    return _schema_of(model)


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def fitting(random: random.Random, schema: dict[str, Any], root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """A value that fits *schema*, more or less: what it does not understand, it guesses."""
    root = root if root is not None else schema
    if "$ref" in schema:
        return fitting(random, root.get("$defs", {}).get(schema["$ref"].rsplit("/", 1)[1], {}), root, depth + 1)
    if depth > _DEEPEST:
        return None
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return fitting(random, random.choice(schema[key]), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            properties = schema.get("properties")
            if properties is None:
                inner = schema.get("additionalProperties")
                return {
                    f"k{number}": fitting(random, inner if isinstance(inner, dict) else {}, root, depth + 1)
                    for number in range(random.randrange(3))
                }
            needed = schema.get("required", ())
            return {
                name: _by_name(random, name) or fitting(random, inner, root, depth + 1)
                for name, inner in properties.items()
                if name in needed or random.random() < 0.6
            }
        case "array":
            return [fitting(random, schema.get("items", {}), root, depth + 1) for _ in range(random.randrange(4))]
        case "integer" | "number":
            lowest, highest = schema.get("minimum", 0), schema.get("maximum", 1000)
            return random.choice((lowest, highest, random.randint(int(lowest), int(highest))))
        case "boolean":
            return random.random() < 0.5
        case "null":
            return None
        case "string":
            examples = schema.get("examples") or (["x"] if "writeOnly" not in schema else [SECRET])
            return random.choice((random.choice(examples), f"{CANARY}{random.randrange(9)}"))
    return values.value(random)


def _by_name(random: random.Random, name: str) -> Any:
    """What leads somewhere, in the fields that say where; None elsewhere, and sometimes there too."""
    found = {"environmentName": "development", "environmentList": ["development"], "projectName": "MyProject"}.get(name)
    return found if random.random() < 0.8 else None


def mutated(random: random.Random, body: Any, schema_properties: tuple[str, ...] = ()) -> Any:
    """*body* with something wrong, or odd, in one to three places."""
    made = copy.deepcopy(body)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        made = _one_mutation(random, made, schema_properties)
    return made


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every container in *value* with each of its keys."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _places(item, depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value[:20]):
            yield value, number
            yield from _places(item, depth + 1)


def _one_mutation(random: random.Random, body: Any, known: tuple[str, ...]) -> Any:
    places = list(_places(body))
    if not places or random.random() < 0.01:
        return values.value(random)
    holder, key = random.choice(places)
    chance = random.random()
    if isinstance(holder, dict) and key in ("name", "key"):
        # A value is a secret by the name of its header or property, and under another name it is none.
        holder.update({other: _without_secret(value) for other, value in holder.items() if other != key})
    if chance < 0.45:
        holder[key] = values.value(random)
    elif chance < 0.55 and known and isinstance(body, dict):
        body[random.choice(known)] = values.value(random)
    elif chance < 0.63:
        del holder[key]
    elif chance < 0.70 and isinstance(holder, dict):
        holder[
            random.choice((values.text(random).replace(CANARY, ""), "x", f"{key}s", str(key).upper(), f" {key}"))
        ] = values.value(random)
    elif chance < 0.76 and isinstance(holder, dict):
        holder[str(key).swapcase()] = holder.pop(key)
    elif chance < 0.84:
        other, other_key = random.choice(places)
        # A secret that somebody writes into a name, or as a type, is shown as one.
        holder[key] = _without_secret(other[other_key])
    elif chance < 0.90 and isinstance(holder[key], str):
        holder[key] = spliced(random, holder[key])
    elif chance < 0.94:
        holder[key] = [holder[key]]
    elif chance < 0.97 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[:5]) * random.choice((1, 3, 60)))
    else:
        holder[key] = str(holder[key])
    return body


def _without_secret(value: Any) -> Any:
    """A copy of *value* in which nothing is taken for a secret."""
    if isinstance(value, str):
        return value.replace(SECRET, "moved")
    if isinstance(value, dict):
        return {key: _without_secret(item) for key, item in value.items()}
    return [_without_secret(item) for item in value] if isinstance(value, list) else value


def spliced(random: random.Random, text: str) -> str:
    """*text* with something odd in the middle, or a piece missing or twice."""
    position = random.randrange(len(text) + 1)
    chance = random.random()
    if chance < 0.6:
        return text[:position] + random.choice(values.TEXTS) + text[position:]
    if chance < 0.8:
        return text[:position] + text[position + random.randrange(5) :]
    return text[:position] + text[max(0, position - 9) :]


# --- writing -----------------------------------------------------------------------------------------------------


def written(random: random.Random, body: Any) -> bytes:
    """*body* as bytes: mostly as JSON, sometimes in another encoding, sometimes damaged."""
    text = json.dumps(body, ensure_ascii=random.random() < 0.5, separators=random.choice(((",", ":"), (", ", ": "))))
    if random.random() < 0.9:
        return text.encode("utf-8", "surrogatepass")
    return random.choice(_WAYS)(random, text)


def _damaged(random: random.Random, text: str) -> bytes:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(random.randrange(1, 5)):
        position = random.randrange(len(data) + 1)
        match random.randrange(4):
            case 0:
                data[position : position + 1] = bytes([random.randrange(256)])
            case 1:
                del data[position : position + random.randrange(20)]
            case 2:
                data[position:position] = random.choice(
                    (
                        b'"',
                        b"{",
                        b"}",
                        b"[",
                        b"]",
                        b",",
                        b":",
                        b"\\",
                        b"\\ud83d",
                        b"\0",
                        b"\xff",
                        b"\xed\xa0\x80",
                        b"1e9999",
                        b"NaN",
                        b"//",
                        b"/**/",
                        b"'",
                    )
                )
            case _:
                data[position:position] = data[max(0, position - 30) : position]
    return bytes(data)


def _doubled(random: random.Random, text: str) -> bytes:
    """A key that stands twice."""
    if not text.startswith('{"'):
        return text.encode("utf-8", "replace")
    key = random.choice(("type", "name", "enabled", "description", "password", "host"))
    return f'{{"{key}":{json.dumps(random.choice(values.TEXTS))},{text[1:]}'.encode("utf-8", "replace")


def _many(random: random.Random, text: str) -> bytes:
    return (
        b"[" * random.choice((40, 3000, 100_000))
        if random.random() < 0.5
        else b'{"a":' * random.choice((31, 33, 5000)) + b"1" + b"}" * 33
    )


def _ballast(random: random.Random, text: str) -> bytes:
    size = random.choice((60_000, 262_000, 262_144, 262_145, 400_000))
    return text[:-1].encode("utf-8", "replace") + b" " * size + b"}"


def _numbers(random: random.Random, text: str) -> bytes:
    return (
        '{"port":'
        + random.choice(("1" * 4301, "1" * 5000, "1e400", "-1e400", "0x10", "01", "+1", ".5", "1.", "1e", "-"))
        + ',"type":"email"}'
    ).encode()


_WAYS: tuple[Callable[[random.Random, str], bytes], ...] = (
    _damaged, _damaged, _damaged, _damaged, _doubled, _doubled, _many, _ballast, _numbers,
    lambda random, text: b"\xef\xbb\xbf" + text.encode("utf-8", "replace"),
    lambda random, text: text.encode("utf-16", "replace"),
    lambda random, text: text.encode("latin-1", "replace"),
    lambda random, text: text.encode("utf-7", "replace"),
    lambda random, text: random.randbytes(random.randrange(300)),
    lambda random, text: b"",
    lambda random, text: text.encode("utf-8", "replace") * 2,
    lambda random, text: ("a=" + text).encode("utf-8", "replace"),
)  # fmt: skip
