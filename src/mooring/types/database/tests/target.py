"""For the conformance suite: the same connection aimed elsewhere, and its first use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mooring.types.database.jdbc import Endpoint, parse, render


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """*body* pointed at another address."""
    moved = {**body, "host": host, "port": port}
    if body.get("jdbcUrl"):
        moved["jdbcUrl"] = render(replace(parse(body["jdbcUrl"]), hosts=(Endpoint(host, port),)))
    return moved


FIRST_USE: tuple[str, dict[str, Any]] = ("query", {"sql": "select 1"})
