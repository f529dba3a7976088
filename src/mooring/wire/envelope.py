"""The bodies that the API answers with, in the documented spelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from mooring.errors import InvalidConfig, MooringError, RateLimited


def dumps(value: Any) -> str:
    """Compact JSON text; what is no ASCII stays readable."""
    return to_json(value).decode()


def listed(documents: Sequence[str]) -> str:
    """The list envelope around documents that are JSON already."""
    return f'{{"success":true,"resultList":[{",".join(documents)}],"resultCount":{len(documents)}}}'


def error_body(error: MooringError) -> dict[str, Any]:
    """The two documented keys; for validation also every problem, and for a limit when to come back."""
    body: dict[str, Any] = {"error": error.code, "error_description": error.message}
    if isinstance(error, InvalidConfig):
        body["errors"] = [{"path": p.path, "code": p.code, "message": p.message} for p in error.problems]
    elif isinstance(error, RateLimited):
        body["retry_after"] = error.retry_after_s
    return body
