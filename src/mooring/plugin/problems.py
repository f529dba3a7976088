"""
From a validation error to sentences that name the field and never repeat what was sent.

A pydantic `ValidationError` carries the input, even where it is told to hide it; this is the only place that
reads one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from mooring.errors import Problem
from mooring.plugin.fields import NO_CONTROL

_REASONS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is out of range",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_sub_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "mapping_type": "must be an object",
    "finite_number": "must be a finite number",
}
_PATTERN_REASONS: dict[str, str] = {NO_CONTROL: "must not contain control characters"}


def explain_pattern(pattern: str, reason: str) -> str:
    """Say what a regular expression means to a person ("must be ..."); gives *pattern* back."""
    _PATTERN_REASONS[pattern] = reason
    return pattern


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def label(path: Sequence[str | int]) -> str:
    """The path as people write it: `headerList[2].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text or "body"


def required(name: str, because: str | None = None) -> Problem:
    """The field *name* is missing. *because* names the rule, and every field of it."""
    tail = f" ({because})" if because else ""
    return Problem(pointer([name]), "required", f"{name} value can not be empty!{tail}")


def invalid(path: str | Sequence[str | int], reason: str, code: str = "invalid") -> Problem:
    """The field at *path* breaks a rule; *reason* continues the sentence "... is not valid: it ..."."""
    parts = [path] if isinstance(path, str) else list(path)
    return Problem(pointer(parts), code, f"{label(parts)} is not valid: {reason}")


def as_warning(problem: Problem) -> dict[str, str]:
    """A problem that refuses nothing, as the API shows it: rooms write both in the same words."""
    return {"path": problem.path, "code": problem.code, "message": problem.message.replace(" is not valid: ", ": ", 1)}


def unknown(path: Sequence[str | int], known: Iterable[str]) -> Problem:
    """The key at *path* is not one of *known*."""
    close = get_close_matches(str(path[-1]), list(known), n=1, cutoff=0.6)
    tail = f"; did you mean '{close[0]}'?" if close else ""
    shown = label([part[:80] if isinstance(part, str) else part for part in path])
    return Problem(pointer(path), "unknown_field", f"{shown} is not a known field{tail}")


def problems_of(exc: ValidationError, known_keys: Any = None) -> list[Problem]:
    """
    Every problem in *exc*, in the order of the fields.

    *known_keys* is a function from a path to the keys that are known there, for "did you mean".
    """
    problems = []
    seen: set[tuple[str, str]] = set()
    for error in exc.errors(include_url=False, include_input=False, include_context=True):
        *above, last = error["loc"] or ("",)
        path = [part for part in above if not _is_branch(part)]
        # Whoever wrote an unknown key may have written brackets into it.
        if error["loc"] and (error["type"] == "extra_forbidden" or not _is_branch(last)):
            path.append(last)
        problem = _problem(error, path, known_keys)
        if (problem.path, problem.code) not in seen:
            seen.add((problem.path, problem.code))
            problems.append(problem)
    return problems


def _is_branch(part: str | int) -> bool:
    """Whether a part of a location names a branch of a union and not a key (pydantic mixes the two)."""
    return isinstance(part, str) and (part.endswith(("]", ")")) and ("[" in part or "(" in part))


def _problem(error: Any, path: list[str | int], known_keys: Any) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return Problem(pointer(path), "required", f"{label(path)} value can not be empty!")
    if kind == "extra_forbidden":
        return unknown(path, known_keys(path) if known_keys else ())
    if kind == "string_too_short" and context.get("min_length") == 1:
        return Problem(pointer(path), "required", f"{label(path)} value can not be empty!")
    if kind == "too_short" and context.get("min_length") == 1:
        return Problem(pointer(path), "required", f"{label(path)} value can not be empty!")
    return invalid(path, _reason(kind, context, error["msg"]))


def _reason(kind: str, context: dict[str, Any], message: str) -> str:
    if kind in _REASONS:
        return _REASONS[kind]
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "greater_than":
            return f"must be greater than {context['gt']}"
        case "less_than":
            return f"must be less than {context['lt']}"
        case "literal_error":
            return f"must be one of {context['expected']}".replace("' or '", "', '").replace("'", "")
        case "string_pattern_mismatch":
            return _PATTERN_REASONS.get(context["pattern"], f"must match {context['pattern']}")
        case "string_too_long" | "too_long":
            unit = "characters" if kind.startswith("string") else "entries"
            return f"must have at most {context['max_length']} {unit}"
        case "string_too_short" | "too_short":
            unit = "characters" if kind.startswith("string") else "entries"
            return f"must have at least {context['min_length']} {unit}"
        case "invalid_key":
            return "its keys must be text"
    # The remaining kinds are our own (PydanticCustomError), whose messages are written here in the house.
    return message
