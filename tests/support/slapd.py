"""The real OpenLDAP, and what its own tools say about it."""

from __future__ import annotations

import base64
import subprocess

import pytest
from tools.services.servers.slapd import url_of

from tests.support.services import ProgramFailed, Service, service


@pytest.fixture(scope="session")
def slapd() -> Service:
    """A real OpenLDAP: plain with StartTLS, LDAPS, and LDAPS that wants a client's certificate."""
    return service("slapd")


def ldapsearch(
    service: Service, asked: str, *attributes: str, base: str | None = None, admin: bool = False
) -> dict[str, dict[str, list[str]]]:
    """What `ldapsearch` finds: for each DN the values of its attributes."""
    who = "admin_" if admin else ""
    said = _run(
        service, "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-D", service[f"{who}user"], "-w",
        service[f"{who}password"], "-b", base or service["base"], asked, *attributes,
    )  # fmt: skip
    found: dict[str, dict[str, list[str]]] = {}
    for block in said.split("\n\n"):
        pairs = [_pair(line) for line in block.splitlines() if ": " in line and line[0] != "#"]
        if pairs and pairs[0][0] == "dn":
            entry = found.setdefault(pairs[0][1], {})
            for name, value in pairs[1:]:
                entry.setdefault(name, []).append(value)
    return found


def ldapwhoami(service: Service, dn: str, password: str) -> str:
    """The DN as which `ldapwhoami` logs in; empty when the directory refuses it."""
    try:
        return _run(service, "ldapwhoami", "-D", dn, "-w", password).strip().removeprefix("dn:")
    except ProgramFailed:
        return ""


def ldapmodify(service: Service, ldif: str) -> None:
    """Change entries as the directory's administrator."""
    _run(service, "ldapmodify", "-D", service["admin_user"], "-w", service["admin_password"], text=ldif)


def _run(service: Service, program: str, *arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        [program, "-x", "-H", url_of(service), *arguments], input=text, timeout=20,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # 10: a part of the answer lies on another server.
    if done.returncode not in (0, 10):
        raise ProgramFailed(f"{program} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    if name.endswith(":"):
        return name[:-1], base64.b64decode(value).decode("utf-8", "replace")
    return name, value
