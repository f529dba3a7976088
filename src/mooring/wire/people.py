"""The bodies of requests about users and about grants on connections."""

from __future__ import annotations

from pydantic import Field

from mooring.domain.rights import ROLES, SHAREABLE
from mooring.wire.bodies import Line, Name, Sent


class MembershipBody(Sent):
    """Roles in one project, or in every one."""

    project_name: Name | None = Field(None, description="Absent or null: every project.")
    roles: list[Name] = Field(max_length=50, description=f"From {', '.join(ROLES)}.")


class UserBody(Sent):
    """A new user."""

    name: Name | None = Field(None, description="The name again, as in the path.")
    password: Name = Field(description="At least 10 characters.")
    description: Line | None = Field(None, description="Free text.")
    disabled: bool = Field(False, description="A disabled user and their tokens are let in nowhere.")
    memberships: list[MembershipBody] = Field([], max_length=1000, description="The roles of the user.")


class UserChange(Sent):
    """What shall change of a user."""

    password: Name | None = Field(None, description="A new one; whoever is logged in with the old one no longer is.")
    description: Line | None = Field(None, description="Absent: unchanged.")
    disabled: bool | None = Field(None, description="Absent: unchanged.")
    memberships: list[MembershipBody] | None = Field(
        None, max_length=1000, description="All roles from now on; absent: unchanged."
    )


class PasswordBody(Sent):
    """One's own new password."""

    current_password: Name = Field(description="The one that is good until now.")
    new_password: Name = Field(description="At least 10 characters.")


class ShareBody(Sent):
    """What somebody may do with one connection."""

    grants: list[Name] = Field(max_length=10, description=f"From {', '.join(sorted(SHAREABLE))}.")
