"""Tokens: who is let in, and that nobody gives or takes what they must not."""

from __future__ import annotations

import asyncio
import base64

import pytest

from mooring.control.access import require, visible_project
from mooring.control.plane import Plane
from mooring.control.tokens import first_token, system_actor
from mooring.domain.records import Actor
from mooring.domain.rights import EVERY_GRANT
from mooring.errors import BadRequest, InUse, InvalidConfig, NotAuthenticated, NotFound, NotPermitted
from mooring.kit.clock import now_ms
from mooring.kit.tokens import make_token
from mooring.wire.frames import Enrolment
from tests.support.plane import DEV_PROJECT

SYSTEM = system_actor()
ADMINISTRATOR = Actor("admin", None, None, EVERY_GRANT - {"secrets:reveal"})


async def actor_with(plane: Plane, *grants: str, project: str | None = None) -> Actor:
    """The holder of a new token."""
    _, text = await plane.tokens.create(SYSTEM, "t", grants=grants, project_name=project)
    return await plane.access.actor(text)


async def test_a_token_lets_its_holder_in(plane: Plane) -> None:
    """With its owner, its grants and its project."""
    actor = await actor_with(plane, "connections:view", project=DEV_PROJECT)
    found = await plane.store.project(DEV_PROJECT)

    assert found is not None
    assert (actor.name, actor.grants, actor.project) == ("mooring", {"connections:view"}, found.id)


async def test_every_failure_is_the_same(plane: Plane) -> None:
    """Unknown, garbage, expired, revoked, of another kind, with another secret: one answer."""
    expired, expired_text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], expires_in_s=-1)
    revoked, revoked_text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])
    await plane.tokens.revoke(SYSTEM, revoked.id)
    good, good_text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])
    parts = good_text.split("_")
    other_secret = "_".join([*parts[:3], "0" * 43, parts[4]])
    enrolment, _ = await plane.workers.enrolment(SYSTEM, "development")
    wrong = [
        expired_text,
        revoked_text,
        other_secret,
        make_token("pat").text,
        make_token("wrk").text,
        enrolment,
        "",
        "x",
        good_text[:-1],
    ]

    said = []
    for text in wrong:
        with pytest.raises(NotAuthenticated) as raised:
            await plane.access.actor(text)
        said.append((raised.value.message, raised.value.hint))

    assert set(said) == {("Invalid token", None)}
    assert (await plane.access.actor(good_text)).token == good.id and expired.id


async def test_a_token_expires_at_its_instant(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is good, from then on it is not."""
    token, text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], expires_in_s=60)
    assert token.expires_at is not None
    await plane.access.actor(text)

    monkeypatch.setattr("mooring.control.access.now_ms", lambda: token.expires_at)
    with pytest.raises(NotAuthenticated):
        await plane.access.actor(text)


async def test_revoking_works_at_once(plane: Plane) -> None:
    """Also for a token that was used a moment before."""
    token, text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])
    await plane.access.actor(text)

    await plane.tokens.revoke(SYSTEM, token.id)

    with pytest.raises(NotAuthenticated):
        await plane.access.actor(text)


async def test_last_use_is_remembered(plane: Plane) -> None:
    """Written down from time to time, not with every request."""
    before = now_ms()
    actor = await actor_with(plane, "connections:view")

    await plane.access.remember_use()

    found = {token.id: token.last_used_at for token in await plane.store.tokens()}
    assert actor.token is not None and before <= (found[actor.token] or 0) <= now_ms()


def test_a_grant_is_required_by_name() -> None:
    """The documented text; the hint names the grant."""
    with pytest.raises(NotPermitted, match="You do not have permission") as raised:
        require(Actor("ada", None, None, frozenset()), "connections:manage")

    assert "connections:manage" in (raised.value.hint or "")


async def test_an_invisible_project_and_a_missing_one_are_alike(plane: Plane) -> None:
    """Nobody learns what others have."""
    await plane.projects.create(SYSTEM, "Other", None)
    actor = await actor_with(plane, "connections:view", project=DEV_PROJECT)

    said = []
    for name in ("Other", "Missing"):
        with pytest.raises(NotFound) as raised:
            await visible_project(plane.store, actor, name)
        said.append(raised.value.message.replace(name, "X"))

    assert said[0] == said[1] == "Project 'X' not found"


# giving


async def test_nobody_grants_what_they_lack(plane: Plane) -> None:
    """Not one grant beyond their own."""
    actor = await actor_with(plane, "tokens:manage", "connections:view")

    for grant in sorted(EVERY_GRANT - actor.grants):
        with pytest.raises(NotPermitted):
            await plane.tokens.create(actor, "t", grants=["connections:view", grant])


async def test_without_the_grant_nobody_makes_tokens(plane: Plane) -> None:
    """Not even weaker ones."""
    actor = await actor_with(plane, "connections:view", "connections:manage")

    with pytest.raises(NotPermitted):
        await plane.tokens.create(actor, "t", grants=["connections:view"])


async def test_the_administrator_may_hand_out_revealing(plane: Plane) -> None:
    """Without holding it: somebody must be able to, and it is audited."""
    token, _ = await plane.tokens.create(ADMINISTRATOR, "t", grants=["secrets:reveal", "connections:view"])

    assert "secrets:reveal" in token.grants


@pytest.mark.parametrize("project", [None, DEV_PROJECT])
async def test_nobody_else_may_hand_out_revealing(project: str | None, plane: Plane) -> None:
    """Neither a lesser token of all projects, nor a full one of a single project."""
    grants = ["tokens:manage", "connections:view"] if project is None else sorted(EVERY_GRANT - {"secrets:reveal"})
    actor = await actor_with(plane, *grants, project=project)

    with pytest.raises(NotPermitted):
        await plane.tokens.create(actor, "t", grants=["secrets:reveal", "connections:view"])


async def test_without_grants_a_token_has_its_maker_s(plane: Plane) -> None:
    """All of them, except revealing secrets."""
    actor = await actor_with(plane, "tokens:manage", "connections:view", "secrets:reveal")

    token, _ = await plane.tokens.create(actor, "t")

    assert token.grants == {"tokens:manage", "connections:view"}


async def test_a_token_of_a_project_makes_only_tokens_of_it(plane: Plane) -> None:
    """Neither for all projects nor for another."""
    await plane.projects.create(SYSTEM, "Other", None)
    actor = await actor_with(plane, "tokens:manage", project=DEV_PROJECT)

    token, _ = await plane.tokens.create(actor, "t")
    with pytest.raises(NotFound):
        await plane.tokens.create(actor, "t", project_name="Other")

    assert token.project == actor.project is not None


async def test_unknown_grants_are_refused(plane: Plane) -> None:
    """With the list of known ones, and not what was sent."""
    with pytest.raises(InvalidConfig) as raised:
        await plane.tokens.create(SYSTEM, "t", grants=["connections:view", "hunter2"])

    assert "connections:view" in raised.value.message and "hunter2" not in raised.value.message


# taking


async def test_a_token_may_revoke_itself(plane: Plane) -> None:
    """Without any grant for it."""
    actor = await actor_with(plane, "connections:view")

    await plane.tokens.revoke(actor, actor.token or "")

    found = await plane.store.token(actor.token or "")
    assert found is not None and found.revoked_at is not None


async def test_a_token_of_a_project_revokes_none_beyond_it(plane: Plane) -> None:
    """Neither one of another project nor one of all, such as the administrator's."""
    await plane.projects.create(SYSTEM, "Other", None)
    actor = await actor_with(plane, "tokens:manage", project=DEV_PROJECT)
    theirs, _ = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], project_name="Other")
    of_all, _ = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])
    mine, _ = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], project_name=DEV_PROJECT)

    await plane.tokens.revoke(actor, mine.id)
    for token in (theirs, of_all):
        with pytest.raises(NotFound):
            await plane.tokens.revoke(actor, token.id)
        found = await plane.store.token(token.id)
        assert found is not None and found.revoked_at is None


async def test_without_the_grant_nobody_revokes_another(plane: Plane) -> None:
    """It looks as if it were not there."""
    actor = await actor_with(plane, "connections:view")
    other, _ = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])

    with pytest.raises(NotFound):
        await plane.tokens.revoke(actor, other.id)


async def test_revoking_ends_the_streams_of_the_token(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is attached with it is cut off."""
    token, _ = await plane.tokens.create(SYSTEM, "t", grants=["connections:attach"])
    closed: list[str] = []
    monkeypatch.setattr(plane.streams, "close_token", closed.append)

    await plane.tokens.revoke(SYSTEM, token.id)

    assert closed == [token.id]


async def test_one_sees_one_s_own_tokens(plane: Plane) -> None:
    """All of them only with the grant, in every project."""
    actor = await actor_with(plane, "connections:view", project=DEV_PROJECT)
    await plane.tokens.create(SYSTEM, "of all", grants=["connections:view"])

    own = {token.id for token in await plane.tokens.list_all(actor)}
    everything = {token.id for token in await plane.tokens.list_all(SYSTEM)}

    assert actor.token in own and own < everything == {token.id for token in await plane.store.tokens()}


# exchange


async def exchanged(plane: Plane, grant_type: str | None, client_id: str, secret: str) -> tuple[str, int]:
    return await plane.tokens.exchange(grant_type, client_id, secret, request_id="r", address="")


async def test_a_token_is_exchanged_for_an_hour(plane: Plane) -> None:
    """With the same grants and project, and a life of its own."""
    token, text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], project_name=DEV_PROJECT)

    session, seconds = await exchanged(plane, "client_credentials", token.id, text)
    actor = await plane.access.actor(session)

    assert (
        seconds == 3600 and (actor.grants, actor.project) == (token.grants, token.project) and actor.token != token.id
    )


async def test_an_exchanged_token_does_not_outlive_its_origin(plane: Plane) -> None:
    """One that expires sooner is exchanged for so long."""
    token, text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"], expires_in_s=60)

    _, seconds = await exchanged(plane, "client_credentials", token.id, text)

    assert seconds <= 60


@pytest.mark.parametrize("grant_type", [None, "", "password", "CLIENT_CREDENTIALS"])
async def test_only_one_way_of_exchange_is_known(grant_type: str | None, plane: Plane) -> None:
    """Which is said before the credentials are looked at."""
    with pytest.raises(BadRequest) as raised:
        await exchanged(plane, grant_type, "x", "y")

    assert raised.value.code == "unsupported_grant_type"


async def test_bad_credentials_are_one_answer(plane: Plane) -> None:
    """Another id, another text, or none."""
    token, text = await plane.tokens.create(SYSTEM, "t", grants=["connections:view"])

    for client_id, secret in [("other", text), (token.id, make_token("pat").text), (token.id, ""), ("", "")]:
        with pytest.raises(NotAuthenticated, match="Bad credentials"):
            await exchanged(plane, "client_credentials", client_id, secret)


# the first token


def test_the_first_token_may_all_but_reveal() -> None:
    """In every project, and for good."""
    token, text = first_token(None)

    assert (token.grants, token.project, token.expires_at) == (EVERY_GRANT - {"secrets:reveal"}, None, None)
    assert text.startswith(f"mrg_pat_{token.id}_")


def test_a_preset_token_is_taken() -> None:
    """As it is."""
    made = make_token("pat")

    assert first_token(made.text)[1] == made.text and first_token(made.text)[0].id == made.id


def test_a_preset_token_must_be_well_formed() -> None:
    """A typing error is found at the start, and the text is not repeated."""
    text = make_token("pat").text
    wrong = [text[:-1] + ("a" if text[-1] != "a" else "b"), text[:-1], "secret", "", make_token("wrk").text]

    for preset in wrong:
        with pytest.raises(BadRequest, match="not a well-formed token") as raised:
            first_token(preset)
        assert not preset or preset not in f"{raised.value.message} {raised.value.hint}"


# enrolment


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31)])
async def test_a_worker_s_key_must_be_one(key: bytes, plane: Plane) -> None:
    """Some points of the curve give no key: a worker with such a one is refused at once, and not at each stream."""
    token, _ = await plane.workers.enrolment(SYSTEM, "development")
    request = Enrolment(token=token, environment="development", name="w", public_key=base64.b64encode(key).decode())

    with pytest.raises(InvalidConfig):
        await plane.workers.enrol(request, request_id="r", address="")


async def test_an_environment_deleted_meanwhile_is_not_found(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of it that comes second says so, and is no accident."""
    found = await plane.environments.named("development")
    await plane.environments.delete(SYSTEM, "development")

    async def as_read_before(_: str) -> object:
        return found

    monkeypatch.setattr(plane.environments, "named", as_read_before)
    with pytest.raises(NotFound):
        await plane.environments.update(
            SYSTEM,
            "development",
            name=None,
            description=None,
            type_name=None,
            status=None,
            access_url=None,
            projects=None,
        )


async def test_a_project_that_an_environment_hangs_on_says_so(plane: Plane) -> None:
    """Its deletion is refused with the reason."""
    await plane.projects.create(SYSTEM, "Alone", None)
    await plane.environments.create(SYSTEM, "bound", projects=["Alone"])

    with pytest.raises(InUse, match="an environment that is bound to it alone"):
        await plane.projects.delete(SYSTEM, "Alone")


async def test_concurrent_requests_share_nothing(plane: Plane) -> None:
    """Each is its own actor."""
    texts = [(await plane.tokens.create(SYSTEM, f"t{n}", grants=["connections:view"]))[1] for n in range(20)]

    actors = await asyncio.gather(*(plane.access.actor(text) for text in texts))

    assert len({actor.token for actor in actors}) == 20
