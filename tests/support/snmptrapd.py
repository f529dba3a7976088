"""The real Net-SNMP trap receiver, and what it wrote down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.services import Service, service

# Bytes in hexadecimal are printed over several lines.
_RECORD = re.compile(r"^(V[12]\t.*?)\|\.$", re.DOTALL | re.MULTILINE)


_LATEST = 512 * 1024


@dataclass(frozen=True)
class Notification:
    """
    A notification as snmptrapd printed it.

    `kind` is such as `TRAP2, SNMP v3, user orders, context`; `name` is the trap's with v1 (enterprise.generic.specific);
    values are what snmptrapd calls their type, and the value.
    """

    kind: str
    source: str
    name: str
    variables: dict[str, tuple[str, str]]


@pytest.fixture(scope="session")
def snmptrapd() -> Service:
    """A real trap receiver, over UDP and TCP."""
    return service("snmptrapd")


def received(service: Service, text: str) -> list[Notification]:
    """The latest notifications with a variable of that text."""
    with Path(service["received"]).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _LATEST))
        printed = file.read().decode("utf-8", "replace")
    found = [_notification(record) for record in _RECORD.findall(printed)]
    return [one for one in found if any(value == text for _, value in one.variables.values())]


def _notification(record: str) -> Notification:
    _, source, kind, name, variables = record.split("\t", 4)
    pairs = (part.split(" = ", 1) for part in variables.split("|#|"))
    return Notification(kind, source, name, {name.strip(): _value(value) for name, value in pairs})


def _value(printed: str) -> tuple[str, str]:
    kind, _, value = printed.partition(": ")
    if kind == "Hex-STRING":
        return "STRING", bytes.fromhex(value).decode("utf-8", "replace")
    if kind == "STRING":
        return kind, re.sub(r"\\(.)", r"\1", value.strip()[1:-1])
    return kind, value.strip()
