"""Tokens that were exchanged for others."""

from __future__ import annotations


async def exchanged(http, token_id: str, text: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": token_id, "client_secret": text}
    return (await http.post("/apiops/auth/token", data=form)).json()["access_token"]


async def status_with(http, text: str) -> int:
    return (await http.get("/apiops/projects/", headers={"Authorization": f"Bearer {text}"})).status_code


async def test_a_session_ends_with_the_token_it_was_exchanged_for(http):
    """Revoking a token ends the short-lived ones made from it, and those made from them."""
    made = (await http.post("/apiops/tokens/", json={"name": "for-scripts"})).json()
    token_id = made["resultList"][0]["id"]
    session = await exchanged(http, token_id, made["token"])
    grandchild = await exchanged(http, session.split("_")[2], session)
    before = [await status_with(http, text) for text in (session, grandchild)]

    await http.delete(f"/apiops/tokens/{token_id}/")

    after = [await status_with(http, text) for text in (session, grandchild)]
    assert (before, after) == ([200, 200], [401, 401])
