"""The target `described`: schemathesis reads our own OpenAPI, and asks what fits it and what breaks it."""

from __future__ import annotations

import asyncio
import random
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from mooring.api.routes import ROUTES
from mooring.plugin.registry import Registry
from mooring.wire.openapi import describe
from tools.fuzz import http
from tools.fuzz.door import Asked
from tools.fuzz.findings import Findings

ROUND = 500
_BASE = "http://mooring.test"


def asked_by(case: Any, token: str) -> Asked:
    """A case of schemathesis, byte for byte."""
    from requests import Request

    prepared = Request(
        **{
            key: value
            for key, value in case.as_transport_kwargs(base_url=_BASE).items()
            if key in ("method", "url", "headers", "params", "data", "json", "files", "cookies")
        }
    ).prepare()
    parts = urlsplit(prepared.url or "")
    body = prepared.body or b""
    headers = [
        (key.lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for key, value in prepared.headers.items()
    ]
    headers = [pair for pair in headers if pair[0] != b"authorization"] + [
        (b"authorization", f"Bearer {token}".encode())
    ]
    return Asked(
        prepared.method or "GET", parts.path.encode("ascii", "replace"), parts.query.encode("ascii", "replace"), headers,
        body.encode() if isinstance(body, str) else bytes(body), "admin", "10.2.2.2",
    )  # fmt: skip


def run(seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """One round: every operation, in fitting and in broken requests."""
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.config import SchemathesisConfig

    config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    schema = schemathesis.openapi.from_dict(describe(Registry(), ROUTES, "0"), config=config)
    operations = [result.ok() for result in schema.get_all_operations()]
    random.Random(seed).shuffle(operations)
    each = max(2, wanted // (2 * len(operations)))
    with (
        tempfile.TemporaryDirectory(prefix="mooring-fuzz-") as folder,
        asyncio.Runner() as runner,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        opening = http.opened_session(Path(folder), findings, random.Random(seed))
        session = runner.run(opening.__aenter__())
        try:
            for operation in operations:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    if until() or session.asked >= wanted:
                        return session.asked
                    _ask(
                        operation,
                        mode,
                        each,
                        seed,
                        lambda case: runner.run(session.ask(asked_by(case, session.identities["admin"]))),
                    )
            return session.asked
        finally:
            runner.run(opening.__aexit__(None, None, None))


def _ask(operation: Any, mode: Any, examples: int, seed: int, ask: Callable[[Any], Any]) -> None:
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except Exception:  # without input there is nothing to get wrong
        return

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every(case: Any) -> None:
        if operation.path == "/apiops/tokens/{token}":
            return  # it might end the token that asks
        ask(case)

    from hypothesis.errors import Unsatisfiable

    try:
        every()
    except Unsatisfiable:
        return
