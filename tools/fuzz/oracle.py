"""What must hold of every answer, whatever was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tools.fuzz.door import Answered, Asked

CANARY = "qz7canary"
"""Stands in values that are sent, and in no error."""

SECRET = "qz7secret"
"""Stands in secrets that are sent, and in no answer at all."""

SLOW_S = 1.0
_INNARDS = re.compile(
    r"Traceback|File \"|\.py\b|sqlite|apsw|SELECT |INSERT |pydantic|site-packages|starlette|0x[0-9a-f]{8}|<class '|object at"
)
_NAMED = re.compile(
    r"in body \(.*\)|\b(?:Environment|Project|Connection|Key ?[Ss]tore|Certificate|Worker|User|Variable|Role)\b.{0,60}?[('].*[)']",
    re.DOTALL,
)
"""The documented texts that say which thing is meant: a name is no value."""

_CODE = re.compile(r"[a-z][a-z_]{1,40}")
_DOCUMENTED = frozenset({400, 401, 403, 404, 405, 409, 412, 413, 422, 429})


def wrong(asked: Asked, answered: Answered, *, slow_s: float = SLOW_S) -> Iterator[str]:
    """What is wrong with *answered*, in words; what begins with "5xx" is a server error."""
    status, text = answered.status, answered.text
    if not answered.whole or not status:
        yield "5xx: no whole answer"
        return
    if status >= 500 and not (status == 503 and ("error_description" in text or '"reason"' in text)):
        yield f"5xx: {status}"
    if "x-request-id" not in answered.headers:
        yield "no request id"
    if answered.took_s > slow_s:
        yield f"slow: {answered.took_s:.2f} s"
    if SECRET in text:
        yield "a secret came back"
    if status >= 400:
        yield from _error(asked, answered)
    elif "json" in answered.headers.get("content-type", "") and asked.method != "HEAD":
        one_a_line = "ndjson" in answered.headers["content-type"]
        try:
            for text in answered.body.splitlines() if one_a_line else [answered.body]:
                json.loads(text)
        except ValueError:
            yield "not JSON"


def _error(asked: Asked, answered: Answered) -> Iterator[str]:
    if answered.status < 500 and answered.status not in _DOCUMENTED:
        yield f"undocumented status {answered.status}"
    found = _INNARDS.search(answered.text)
    if found:
        yield f"innards: {found[0]}"
    if answered.status in (429, 503) and "retry-after" not in answered.headers and b"readyz" not in asked.path:
        yield f"{answered.status} without Retry-After"
    if asked.method == "HEAD" or b"readyz" in asked.path:
        return
    try:
        said = json.loads(answered.body)
    except ValueError:
        yield "an error that is not JSON"
        return
    if not isinstance(said, dict) or not {"error", "error_description"} <= said.keys() <= {
        "error",
        "error_description",
        "errors",
    }:
        yield "an error of another shape"
        return
    if not isinstance(said["error"], str) or not _CODE.fullmatch(said["error"]) or not said["error_description"]:
        yield "an error without a code or a description"
    # The key of a property is a key, and named; whatever field it stands in.
    problems = said.get("errors", ())
    keys = [problem["message"] for problem in problems if str(problem.get("path", "")).endswith("/key")]
    description = said["error_description"]
    if CANARY in _NAMED.sub("", description) and not description.startswith(tuple(keys)):
        yield "a sent value came back in an error"
    for problem in problems:
        if set(problem) != {"path", "code", "message"} or not all(isinstance(value, str) for value in problem.values()):
            yield "a problem of another shape"
        elif problem["path"] and not problem["path"].startswith("/"):
            yield "a path that is no pointer"
        elif problem["message"] in keys:
            continue
        elif CANARY in _NAMED.sub("", problem["message"]) or CANARY in problem["path"]:
            yield "a sent value came back in a problem"
