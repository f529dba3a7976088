"""
Users: people who log in by name and password, and may what their roles say.

Nobody hands out what they lack, and nobody takes over somebody who may more than they do: whoever could set such a
user's password could be that user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mooring.control.access import require
from mooring.control.auditing import difference, entry
from mooring.control.passwords import MIN_LENGTH, Passwords
from mooring.domain.names import name_key, why_not_a_name
from mooring.domain.records import Actor, Membership, User
from mooring.domain.rights import ROLES, grants_of
from mooring.errors import AlreadyExists, Conflict, InvalidConfig, NotFound, NotPermitted, Problem
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.store.base import DeleteUser, NameTaken, SaveUser, Stale, Store

GRANT = "users:manage"


class Users:
    """Create, list, change, delete; and one's own password."""

    def __init__(self, store: Store, passwords: Passwords) -> None:
        self._store, self._passwords = store, passwords

    async def list_all(self, actor: Actor) -> list[tuple[User, list[Membership]]]:
        """Every user with their roles, by name."""
        require(actor, GRANT)
        return [(user, await self._store.memberships(user.id)) for user in await self._store.users()]

    async def get(self, actor: Actor, name: str) -> tuple[User, list[Membership]]:
        """Raises `NotFound`."""
        require(actor, GRANT)
        user = await self.named(name)
        return user, await self._store.memberships(user.id)

    async def named(self, name: str) -> User:
        """Raises `NotFound`."""
        user = await self._store.user(name_key(name))
        if user is None:
            raise NotFound("User was not found!")
        return user

    async def create(
        self, actor: Actor, name: str, password: str, *, description: str | None = None, disabled: bool = False,
        roles: Mapping[str | None, Sequence[str]] | None = None,
    ) -> User:  # fmt: skip
        """A new user with *roles* by project name, None for every project. Raises `AlreadyExists`, `InvalidConfig`."""
        require(actor, GRANT)
        why = why_not_a_name(name)
        if why:
            raise InvalidConfig([Problem("/name", "invalid", f"name is not valid: {why}")])
        _check_password(password, "password")
        memberships = await self._memberships(actor, roles or {})
        now = now_ms()
        user = User(
            new_id("usr"), name, name_key(name), description, await self._passwords.hash(password), disabled, now, now
        )
        changed = _named(memberships)
        await self._save(
            SaveUser(user, True, memberships, False, entry(actor, "create", "user", user.id, name, changed=changed))
        )
        return user

    async def update(
        self, actor: Actor, name: str, *, description: str | None = None, disabled: bool | None = None,
        password: str | None = None, roles: Mapping[str | None, Sequence[str]] | None = None,
    ) -> User:  # fmt: skip
        """Change what is given; *roles* replace all that there were. Raises `NotFound`, `InvalidConfig`, `NotPermitted`."""
        require(actor, GRANT)
        user = await self.named(name)
        await self._check_reach(actor, user)
        memberships = None if roles is None else await self._memberships(actor, roles)
        after = replace(user, updated_at=now_ms())
        if description is not None:
            after = replace(after, description=description)
        if disabled is not None:
            after = replace(after, disabled=disabled)
        had = await self._store.memberships(user.id)
        names = {project.id: project.name for project in await self._store.projects()}
        changes = difference(_told(user, had, names), _told(after, had if memberships is None else memberships, names))
        if not changes and password is None:
            return user
        if password is not None:
            _check_password(password, "password")
            after = replace(after, password_hash=await self._passwords.hash(password))
        ends = password is not None or after.disabled
        changed = tuple(sorted({*changes, *(("password",) if password is not None else ())}))
        said = entry(actor, "update", "user", user.id, user.name, changed=changed, changes=changes)
        await self._save(SaveUser(after, False, memberships, ends, said))
        return after

    async def change_password(self, actor: Actor, current: str, new: str) -> None:
        """One's own. Those who were logged in with the old one are no longer. Raises `NotPermitted`, `InvalidConfig`."""
        user = next((each for each in await self._store.users() if each.id == actor.user), None)
        if user is None:
            raise NotPermitted("You do not have permission to perform this action", hint="The token is no user's.")
        _check_password(new, "newPassword")
        if not await self._passwords.matches(user.password_hash, current):
            raise InvalidConfig([Problem("/currentPassword", "invalid", "currentPassword is not valid: it is another")])
        after = replace(user, password_hash=await self._passwords.hash(new), updated_at=now_ms())
        said = entry(actor, "update", "user", user.id, user.name, changed=("password",))
        await self._save(SaveUser(after, False, None, True, said))

    async def delete(self, actor: Actor, name: str) -> None:
        """Their tokens are revoked, and what was granted to them is gone. Raises `NotFound`, `NotPermitted`."""
        require(actor, GRANT)
        user = await self.named(name)
        await self._check_reach(actor, user)
        try:
            await self._store.commit(DeleteUser(user, entry(actor, "delete", "user", user.id, user.name)))
        except Stale:
            raise NotFound("User was not found!") from None

    async def _save(self, change: SaveUser) -> None:
        try:
            await self._store.commit(change)
        except NameTaken:
            raise AlreadyExists(f"User (name: {change.user.name}) already exists!") from None
        except Stale:
            raise NotFound("User was not found!") from None
        except Conflict:
            raise NotFound("Project was not found!") from None

    async def _check_reach(self, actor: Actor, user: User) -> None:
        for each in await self._store.memberships(user.id):
            _check_handing_out(actor, each)

    async def _memberships(self, actor: Actor, roles: Mapping[str | None, Sequence[str]]) -> list[Membership]:
        found = []
        for project_name, given in roles.items():
            unknown = [role for role in given if role not in ROLES]
            if unknown:
                raise InvalidConfig(
                    [Problem("/memberships", "invalid", f"roles is not valid: must be from {', '.join(ROLES)}")]
                )
            project = None if project_name is None else await self._store.project(project_name)
            if project_name is not None and project is None:
                raise InvalidConfig(
                    [Problem("/memberships", "invalid", "projectName is not valid: there is no such project")]
                )
            membership = Membership(project.id if project else None, frozenset(given))
            _check_handing_out(actor, membership)
            found.append(membership)
        return found


def _check_handing_out(actor: Actor, membership: Membership) -> None:
    """Revealing is handed out by whoever may everything else there: each time it is used is audited."""
    for grant in sorted(grants_of(membership.roles)):
        enough = "users:manage" if grant == "secrets:reveal" else grant
        if not actor.may(enough, membership.project):
            raise NotPermitted(
                "You do not have permission to perform this action",
                hint=f"These roles give the grant {grant}, which you lack.",
            )


def _check_password(password: str, field: str) -> None:
    if len(password) < MIN_LENGTH:
        raise InvalidConfig(
            [Problem(f"/{field}", "invalid", f"{field} is not valid: it must have at least {MIN_LENGTH} characters")]
        )


def _named(memberships: Sequence[Membership]) -> tuple[str, ...]:
    return ("memberships",) if memberships else ()


def _told(user: User, memberships: Sequence[Membership], projects: Mapping[str, str]) -> dict[str, Any]:
    """What the audit compares; the roles by project."""
    roles = {
        f"memberships/{projects.get(each.project, each.project) if each.project else 'everywhere'}": sorted(each.roles)
        for each in memberships
    }
    return {"description": user.description, "disabled": user.disabled, **roles}
