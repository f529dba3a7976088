"""Requests drawn from the route table: any route that is added to it is asked from then on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlencode

from mooring.api.routes import ROUTES, RouteCard
from tools.fuzz import bodies, values
from tools.fuzz.door import Asked
from tools.fuzz.oracle import CANARY, SECRET

PROJECT = "MyProject"
NAMES = tuple(f"fuzz-{number}" for number in range(60))
_HEAVY = 0.004
"""A keystore is opened in a process of its own: seldom asked here, and often by the target `parsers`."""

_KEPT = (f"/projects/{PROJECT}", "/environments/development")
"""What all the others need, and nobody deletes."""

_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "get", "PROPFIND", "X" * 300)
_TRICKS: tuple[bytes, ...] = (
    b"//", b"/", b"/%2f", b"/%5c", b"/%00", b"/..", b"/.", b"/%2e%2e", b"/;x", b"/a;b", b"%", b"%zz", b"/%ff", b"/%c0%ae", b"/\xff", b"/%25%32%66", b"?", b"#", b"/%0d%0aX:y", b"/*",
    b"/%E2%80%AE", b"/" + b"a" * 3000, b"/" * 200, b"/%ed%a0%80", b"\\", b"/ ", b"/%20", b"/%09", b"/%7f",
)  # fmt: skip
_TYPES = (
    b"application/json", b"application/json", b"application/json", b"application/json; charset=utf-8", b"application/json;charset=UTF-16", b"text/plain", b"", b"application/xml",
    b"application/x-www-form-urlencoded", b"multipart/form-data", b"multipart/form-data; boundary=x", b"APPLICATION/JSON", b"application/json\xff", b"application/jsonx",
)  # fmt: skip


@cache
def _weighted() -> tuple[list[RouteCard], list[float]]:
    weights = []
    for card in ROUTES:
        weight = 2.0 if "/connections" in card.path else 1.0
        if card.path.endswith("/connections/{name}"):
            weight = 12.0 if card.method in ("POST", "PUT") else 4.0
        if ("/keystores" in card.path or "/certificates" in card.path) and card.method in ("POST", "PUT"):
            weight = _HEAVY * 100
        if (card.method == "DELETE" and card.path == "/apiops/projects/{project}") or "export" in card.path:
            weight = 0.1  # it would empty what the others ask for; and what is whole takes long
        weights.append(weight)
    return list(ROUTES), weights


def drawn(random: random.Random, known: Mapping[str, list[str]], identities: Mapping[str, str]) -> Asked:
    """One request. *known* are ids that answers had, by what they are of; *identities* are tokens by name."""
    [card] = random.choices(*_weighted())
    method = card.method if random.random() < 0.97 else random.choice(_METHODS)
    path = _path(random, card, known)
    if method == "DELETE" and unquote(path.decode("latin-1")).rstrip("/").endswith(_KEPT):
        method = "GET"
    identity = random.choices(tuple(identities), (14 if name == "admin" else 1 for name in identities))[0]
    headers = _headers(random, identities[identity])
    body = b""
    if card.body is not None or method in ("POST", "PUT") or random.random() < 0.02:
        body, content_type = body_of(random, card, path)
        if random.random() < 0.04:
            content_type = random.choice(_TYPES)
        headers.append((b"content-type", content_type))
        length = (
            str(len(body)).encode()
            if random.random() < 0.97
            else random.choice((b"0", b"abc", b"9" * 30, b"-1", b"\xb2", b"300000"))
        )
        headers.append((b"content-length", length))
    return Asked(
        method,
        path,
        _query(random, card),
        headers,
        body,
        identity,
        f"10.{random.randrange(256)}.{random.randrange(256)}.9",
    )


def _path(random: random.Random, card: RouteCard, known: Mapping[str, list[str]]) -> bytes:
    parts: list[str] = []
    ends_project = card.method == "DELETE" and card.path == "/apiops/projects/{project}"
    for part in card.path.split("/"):
        if part[:1] != "{":
            parts.append(part)
            continue
        chance, name = random.random(), part[1:-1]
        if name == "project" and chance < 0.9:
            parts.append(random.choice(NAMES) if ends_project else PROJECT)
        elif chance < 0.7:
            parts.append(random.choice(known.get(name) or NAMES))
        elif chance < 0.8:
            parts.append(random.choice(("development" if ends_project else PROJECT, "email", "KAFKA", *NAMES)))
        else:
            parts.append(
                quote(
                    random.choice(values.TEXTS).encode("utf-8", "replace")[:600],
                    safe=random.choice(("", "/%;", "!*'()")),
                )
            )
    path = "/".join(parts).encode("ascii", "replace")
    if random.random() < 0.03:
        position = random.randrange(len(path) + 1)
        path = path[:position] + random.choice(_TRICKS) + path[position:]
    if random.random() < 0.3:
        path += b"/"
    return path.split(b"?", 1)[0]


def _query(random: random.Random, card: RouteCard) -> bytes:
    pairs: list[tuple[str, str]] = []
    if card.query and random.random() < 0.5:
        for name in random.sample(card.query, random.randrange(len(card.query) + 1)):
            pairs.append(
                (
                    name,
                    random.choice(
                        (
                            "1",
                            "0",
                            "10",
                            "name,asc",
                            "updatedAt,desc",
                            "email",
                            "development",
                            "30d",
                            "true",
                            values.text(random),
                        )
                    ),
                )
            )
    if random.random() < 0.02:
        return random.randbytes(random.randrange(40)).replace(b"#", b"")
    if random.random() < 0.03:
        pairs.append((random.choice(values.TEXTS), values.text(random)))
    pairs = [
        (name, "0" if name == "waitSeconds" and text not in ("0", "") and random.random() < 0.7 else text)
        for name, text in pairs
    ]
    return urlencode(pairs, errors="replace").encode()


def _headers(random: random.Random, token: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"host", b"mooring.test")]
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode("latin-1")))
    if random.random() < 0.12:
        odd = values.text(random).replace(CANARY, "").encode("utf-8", "replace")[:500]
        name = random.choice(
            (
                b"if-match",
                b"if-none-match",
                b"idempotency-key",
                b"prefer",
                b"x-forwarded-for",
                b"x-request-id",
                b"accept",
                b"expect",
                b"range",
                b"cookie",
                b"origin",
                b"transfer-encoding",
                b"content-encoding",
                b"authorization",
                b"x-http-method-override",
            )
        )
        usual = random.choice((b'"1"', b"*", b"key-1", b"wait=0", b"gzip", b"100-continue", b"127.0.0.1"))
        headers.append((name, random.choice((odd, usual))))
    return headers


def body_of(random: random.Random, card: RouteCard, path: bytes) -> tuple[bytes, bytes]:
    """A body for the route, and its content type."""
    if isinstance(card.body, str) and card.body not in ("connection", "draft"):
        return (
            form(random) if random.random() < 0.5 else urlencode(_fields(random), errors="replace").encode()
        ), random.choice((b"multipart/form-data; boundary=fuzz", b"application/x-www-form-urlencoded"))
    body: Any
    if isinstance(card.body, str):
        chosen = random.choice(bodies.cards())
        body = {**bodies.good_body(chosen)}
        name = path.rstrip(b"/").rsplit(b"/", 2)[-2 if card.body == "draft" else -1].decode("latin-1")
        body["name"] = name
        if random.random() < 0.75:
            body = bodies.mutated(random, body, tuple(chosen.schema["properties"]))
    elif card.body is not None:
        body = bodies.fitting(random, bodies.schema_of(card.body))
        if isinstance(body, dict) and "name" in body and random.random() < 0.7:
            body["name"] = random.choice(
                (path.rstrip(b"/").rsplit(b"/", 1)[-1].decode("latin-1"), random.choice(NAMES))
            )
        if random.random() < 0.6:
            body = bodies.mutated(random, body)
    else:
        body = values.value(random)
    return bodies.written(random, body), b"application/json"


def _fields(random: random.Random) -> list[tuple[str, str]]:
    names = (
        "grant_type",
        "client_id",
        "client_secret",
        "name",
        "file",
        "password",
        "environmentName",
        "type",
        "alias",
        "override",
        "certificateName",
        "pemEncodedFile",
    )
    usual = ("client_credentials", "fuzz-1", "JKS", "PEM", "development", "true", SECRET)
    return [
        (name, random.choice((random.choice(usual), values.text(random))))
        for name in random.sample(names, random.randrange(len(names)))
    ]


def form(random: random.Random) -> bytes:
    """`multipart/form-data`, mostly whole."""
    made = bytearray()
    for name, text in _fields(random):
        file = random.choice(('; filename="a.jks"', "", "", "; filename*=x"))
        made += (
            f'--fuzz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            + text.encode("utf-8", "replace")
            + b"\r\n"
        )
    made += b"--fuzz--\r\n"
    if random.random() < 0.2 and made:
        position = random.randrange(len(made))
        made[position : position + random.randrange(6)] = random.randbytes(random.randrange(4))
    return bytes(made)
