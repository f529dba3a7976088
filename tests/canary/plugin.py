"""
The harness: over the whole suite, no canary may come to light.

Helpers that make bodies draw their secrets from `tests.canary.words`. After each test, while what it started still
runs, its folder is searched, what it printed and logged, and every answer that the control plane or a worker gave to
it. A test that reveals on purpose says so with `@pytest.mark.reveals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.canary.sinks import in_folder
from tests.canary.words import Search

SEARCH = Search()
_OURS = ("/apiops", "/worker/", "/v1", "/healthz", "/readyz", "/docs", "/openapi", "/metrics")
_answers: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "reveals: an answer may show a secret, because this test asks for it")
    config.addinivalue_line("markers", "plants: this test leaves a canary on purpose, where it looks for it itself")
    _listen(httpx2.Client)
    _listen(httpx2.AsyncClient)


def _listen(client: Any) -> None:
    """Every answer of ours that *client* is given is searched."""
    plain = client.send
    if getattr(plain, "listens", False):
        return
    if client is httpx2.Client:

        def send(self: Any, request: Any, **options: Any) -> Any:
            return _heard(plain(self, request, **options))

    else:

        async def send(self: Any, request: Any, **options: Any) -> Any:
            return _heard(await plain(self, request, **options))

    send.listens = True  # type: ignore[attr-defined]  # a mark on the function, so that it is put in once
    client.send = send


def _heard(response: Any) -> Any:
    request = response.request
    if response.is_closed and request.url.path.startswith(_OURS):
        head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        found = SEARCH.found_in(response.content) or SEARCH.found_in(head.encode())
        if found:
            _answers.append(f"answer {response.status_code} to {request.method} {request.url.path}: {found}")
    return response


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    findings = _answers.copy()
    _answers.clear()
    if item.get_closest_marker("reveals"):
        findings.clear()
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if isinstance(folder, Path):
        findings += in_folder(SEARCH, folder)
    for when, title, text in getattr(item, "_report_sections", ()):
        found = SEARCH.found_in(text.encode(errors="replace"))
        if found:
            findings.append(f"{title} of {when}: {found}")
    yield
    if findings and not item.get_closest_marker("plants"):
        pytest.fail("a canary came to light:\n  " + "\n  ".join(findings), pytrace=False)
