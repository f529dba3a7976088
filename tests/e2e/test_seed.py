"""The documented curl examples, as users paste them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.plane import Dev

CURLS = sorted((Path(__file__).parent / "seed").glob("*.sh"))
DOCUMENTED = {"success": True, "deploymentResult": {"success": True}}


def run(script: str, dev: Dev) -> tuple[int, dict[str, Any]]:
    """What the pasted command answers: status and body."""
    script = script.replace("https://mooring.example.com", dev.url).replace("YOUR_TOKEN", dev.token)
    script = script.replace("curl ", "curl --silent --max-time 30 --write-out '\\n%{http_code}' ", 1)
    text = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout
    body, _, status = text.rpartition("\n")
    return int(status), json.loads(body)


def documented_part(body: dict[str, Any]) -> dict[str, Any]:
    return {"success": body["success"], "deploymentResult": {"success": body["deploymentResult"]["success"]}}


def test_the_three_examples_run_unchanged_and_again(fresh_dev):
    """Each documented example creates its connection; a second time the name is taken, in the documented words."""
    assert len(CURLS) == 3
    for curl in CURLS:
        name = f"my-{curl.stem}-connection"

        first, again = run(curl.read_text(), fresh_dev), run(curl.read_text(), fresh_dev)

        assert (first[0], documented_part(first[1])) == (200, DOCUMENTED)
        taken = {"error": "bad_request", "error_description": f"Connection (name: {name}) already exists!"}
        assert again == (400, taken)


def test_a_wrong_token_is_answered_as_documented(dev):
    """An unknown token is 401 in the documented words."""
    script = CURLS[0].read_text().replace("YOUR_TOKEN", "no-such-token")

    assert run(script, dev) == (401, {"error": "unauthorized_client", "error_description": "Invalid token"})


@pytest.mark.parametrize("curl", CURLS, ids=lambda path: path.stem)
def test_a_missing_project_is_answered_as_documented(dev, curl):
    """A project that does not exist is 404 in the documented words."""
    script = curl.read_text().replace("/projects/MyProject/", "/projects/Elsewhere/")

    assert run(script, dev) == (404, {"error": "not_found", "error_description": "Project 'Elsewhere' not found"})
