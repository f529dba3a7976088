"""What a browser sees: everything from here, nothing from elsewhere, and no script but ours."""

import re

import pytest

from tests.support.plane import client_of, connection_path, email

PAGES = ["/", "/docs"]
ASSETS = ["/assets/mooring.css", "/assets/docs.js", "/assets/swagger-ui.css", "/assets/swagger-ui-bundle.js"]


@pytest.mark.parametrize("path", [*PAGES, *ASSETS, "/openapi.json"])
async def test_pages_are_public_and_hardened(plane, path):
    """Pages need no token; each says what it may load, and that nobody may guess types or frame it."""
    async with client_of(plane, None) as client:
        response = await client.get(path)

    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
async def test_pages_load_from_here_only(plane, path):
    """Every script, style and picture of a page is ours and is there; no script stands in the page itself."""
    async with client_of(plane, None) as client:
        text = (await client.get(path)).text
        loaded = re.findall(r'(?:src|href)="([^"]+)"', text)

        assert loaded
        assert [link for link in loaded if not link.startswith("/")] == []
        assert re.findall(r"<script(?![^>]* src=)", text) == []
        assert re.findall(r"\son\w+=", text) == []
        for link in loaded:
            assert (await client.get(link)).status_code == 200, link


async def test_start_page_shows_no_names(http, plane):
    """The start page needs no token, so it names no connection."""
    await http.post(connection_path("very-private"), json=email("very-private"))
    async with client_of(plane, None) as client:
        text = (await client.get("/")).text

    assert "very-private" not in text
    assert "E-mail (SMTP)" in text


async def test_unknown_asset(plane):
    """An asset that does not exist is the documented 404."""
    async with client_of(plane, None) as client:
        response = await client.get("/assets/nothing.js")

    assert (response.status_code, response.json()["error"]) == (404, "resource_not_found")
