"""Every path that stores or tests settings with kept secrets asks the destination rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mooring.control
from mooring.store import base

CARRIERS = {"SaveConnection", "Candidate", "SaveMaterial", "SaveEnvironment"}
"""What brings settings and secrets together: made only where the rule was asked."""

RULE = {"check", "check_shared", "commit_watched"}
KEEP_NOTHING = {
    "connections.Connections.create": "all its secrets were sent just now",
    "environments.Environments.create": "nothing has been stored for a new environment",
}
"""Makers of carriers that need not ask, and why."""

CONTROL = Path(mooring.control.__file__).parent


def functions() -> Iterator[tuple[str, ast.AST]]:
    """Every method and function of the control plane, by module and name."""
    for path in sorted(CONTROL.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield from (
                    (f"{path.stem}.{node.name}.{each.name}", each)
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                )
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.stem}.{node.name}", node


def calls(node: ast.AST) -> set[str]:
    """What is called in there, by the last part of its name."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Call):
            name = each.func
            if isinstance(name, ast.Name):
                found.add(name.id)
            elif isinstance(name, ast.Attribute):
                whose = name.value.id if isinstance(name.value, ast.Name) else ""
                found.add(f"{whose}.{name.attr}" if whose == "destinations" else name.attr)
    return found


def asks(name: str, node: ast.AST) -> bool:
    return bool({f"destinations.{each}" for each in RULE} & calls(node))


def test_every_path_asks() -> None:
    """Whoever makes one of the carriers asks first, or stands in the list with the reason why not."""
    makers = {name: node for name, node in functions() if CARRIERS & calls(node)}

    silent = {name for name, node in makers.items() if not asks(name, node)}

    assert silent == set(KEEP_NOTHING)


def test_the_known_paths_are_found() -> None:
    """The search looks where it should: an update and a draft are among those that ask."""
    found = {name for name, node in functions() if asks(name, node)}

    assert {"connections.Connections._update_once", "connections.Connections.candidate"} <= found


def test_carriers_are_there() -> None:
    """They are looked for under the names that they have."""
    assert CARRIERS - {"Candidate"} <= set(vars(base))
