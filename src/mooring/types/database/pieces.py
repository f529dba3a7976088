"""Where the parts of an address stand, whatever they say: what all spellings share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mooring.types.database.address import UrlRefused

MASK = "\ue000"
"""Stands for every character of a variable reference while a text is scanned; nobody may send it."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_{MASK}][A-Za-z0-9_.\-{MASK}]*)"
HOSTS = rf"{HOST}(?::[0-9{MASK}]+)?(?:,{HOST}(?::[0-9{MASK}]+)?)*"
USERINFO = r"(?:(?P<user>[^:@/?#;\s\\]*)(?::(?P<password>[^@/?#;\s\\]*))?@)?"
SEGMENT = r"[^/?#;&=@:,\s\\\"'<>(){}|^`]+"
HOST_AND_PORT = re.compile(rf"({HOST})(?::([0-9{MASK}]+))?")


@dataclass(frozen=True)
class Form:
    """How the addresses behind one prefix are written."""

    prefix: str
    dialect: str
    name: str = ""
    opens: str = r"\?"
    separator: str = "&"
    segments: int = 1
    decodes: bool = True
    plus: bool = False
    """Whether a + in a parameter is a blank, as in these drivers."""

    @property
    def pattern(self) -> str:
        more = rf"(?:/{SEGMENT})" * (self.segments - 1)
        path = f"{SEGMENT}{more and f'(?:{more})?'}"
        database = "" if self.dialect == "SQL_SERVER" else rf"(?:/(?P<database>{path})?)?"
        instance = r"(?:\\(?P<instance>[A-Za-z0-9_$]+))?(?::(?P<port>[0-9]+))?" if self.dialect == "SQL_SERVER" else ""
        return rf"{USERINFO}(?P<hosts>{HOSTS}){instance}{database}(?:{self.opens}(?P<parameters>.*))?"


class Piece(NamedTuple):
    """A part of an address, and where it stands."""

    text: str
    start: int
    end: int


@dataclass
class Pieces:
    """The parts of an address as they stand there: not decoded, not checked."""

    form: Form
    text: str
    hosts: list[tuple[str, str | None]]
    user: Piece | None = None
    password: Piece | None = None
    database: Piece | None = None
    parameters: list[tuple[str, Piece]] = field(default_factory=list)


def malformed(what: str) -> UrlRefused:
    """The refusal of an address that is not written as it should be."""
    return UrlRefused(("malformed_url", what))


def piece_of(match: re.Match[str], group: str, text: str) -> Piece | None:
    """What *group* matched, as it stands in *text*; None where it did not."""
    start, end = match.span(group)
    return None if start < 0 else Piece(text[start:end], start, end)


def scan_hosts(masked: str, text: str, offset: int) -> list[tuple[str, str | None]]:
    """Hosts with their ports, as they stand in *text* from *offset* on."""
    found = []
    for match in HOST_AND_PORT.finditer(masked):
        host = text[offset + match.start(1) : offset + match.end(1)]
        found.append((host, None if match[2] is None else text[offset + match.start(2) : offset + match.end(2)]))
    return found


def scan_parameters(form: Form, text: str, masked: str, start: int, end: int) -> Iterator[tuple[str, Piece]]:
    """The parameters between *start* and *end*. Raises `UrlRefused`."""
    braces = form.dialect == "SQL_SERVER"
    plain = r"[^;{}]*" if braces else (r"[^&#;\s]*" if form.separator == "&" else r"[^;]*")
    value = rf"\{{(?:[^}}]|\}}\}})*\}}|{plain}" if braces else plain
    entry = re.compile(rf"(?P<name>{NAME.pattern})=(?P<value>{value})(?={form.separator}|$)")
    position = start
    while position < end:
        if masked[position] in form.separator:
            position += 1
            continue
        match = entry.match(masked, position, end)
        if match is not None:
            yield match["name"], Piece(text[slice(*match.span("value"))], *match.span("value"))
            position = match.end()
        elif match_all := re.compile(rf"{MASK}+(?={form.separator}|$)").match(masked, position, end):
            position = match_all.end()  # a variable that holds parameters; they are looked at when it is resolved
        else:
            raise malformed("must have its parameters as name=value, with special characters encoded")
