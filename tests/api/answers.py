"""Reading answers in tests: the documented shapes, and nothing beside them."""

from __future__ import annotations

from typing import Any

import httpx2

JSON = "application/json;charset=UTF-8"


def refusal(response: httpx2.Response) -> tuple[int, str, str]:
    """Status, code and text of a refusal in the documented shape; for validation `errors` may stand beside them."""
    body = response.json()
    assert response.headers["content-type"] == JSON, response.headers
    more = {"retry_after"} if response.status_code == 429 else {"errors"}
    assert {"error", "error_description"} <= body.keys() <= {"error", "error_description", *more}, body
    assert all(problem.keys() == {"path", "code", "message"} for problem in body.get("errors", ())), body
    assert response.headers["x-request-id"].startswith("req_")
    return response.status_code, body["error"], body["error_description"]


def problems(response: httpx2.Response) -> list[str]:
    """The paths of the problems that a refused body has."""
    assert refusal(response)[:2] == (400, "bad_request")
    return [problem["path"] for problem in response.json().get("errors", ())]


def done(response: httpx2.Response) -> dict[str, Any]:
    """The body of a mutation that was carried out."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JSON
    body: dict[str, Any] = response.json()
    assert body["success"] is True
    return body


def listed(response: httpx2.Response) -> list[dict[str, Any]]:
    """The objects of a list whose count is right."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JSON
    body = response.json()
    assert body["success"] is True
    assert body["resultCount"] == len(body["resultList"])
    found: list[dict[str, Any]] = body["resultList"]
    return found


def one(response: httpx2.Response) -> dict[str, Any]:
    """The only object of a list."""
    (found,) = listed(response)
    return found
