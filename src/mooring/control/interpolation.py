"""Which variables a connection uses, and that references to secrets stand only where secrets do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mooring.domain.records import Reference
from mooring.domain.variables import is_secret_reference, opens_secret_references, references_in
from mooring.errors import InvalidConfig, Problem
from mooring.plugin.problems import label, pointer
from mooring.plugin.resolution import texts_with_references

VARIABLE = "variable"


def variables_in(public: Mapping[str, Any], secrets: Mapping[str, str]) -> tuple[Reference, ...]:
    """
    The variables that a config uses, each with the field that it stands in.

    Raises:
        InvalidConfig: a reference to a secret stands where everybody may read, or has no end.
    """
    problems: list[Problem] = []
    found: dict[tuple[str, str], Reference] = {}
    for path, text in texts_with_references(public):
        for inner in references_in(text):
            if not is_secret_reference(inner):
                found[label(path), inner] = Reference(label(path), VARIABLE, inner)
        if opens_secret_references(text):
            problems.append(
                Problem(
                    pointer(path),
                    "invalid",
                    f"{label(path)} is not valid: a reference to a secret may stand in fields that are secrets only",
                )
            )
    for key, text in secrets.items():
        inners = references_in(text)
        for inner in inners:
            if not is_secret_reference(inner):
                found[key, inner] = Reference(key, VARIABLE, inner)
        if opens_secret_references(text) > sum(map(is_secret_reference, inners)):
            problems.append(Problem(f"/{key}", "invalid", f"{key} is not valid: a reference to a secret has no end"))
    if problems:
        raise InvalidConfig(problems)
    return tuple(found.values())
