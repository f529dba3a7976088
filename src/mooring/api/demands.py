"""
What a route demands of whoever asks, checked in one place before its handler runs. Deny by default.

A demand is as narrow as the path alone allows; what depends on the body, or on a stored connection, is `control`'s.
The order of refusals is kept: 401 is over when a demand is checked, then comes the project's 404, then 403.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request

from mooring.api.request import plane_of
from mooring.control.access import ask_grant, project_in, readable_by_all, require
from mooring.domain.records import Actor


class Where(Enum):
    """Where a grant must be held."""

    NOBODY_ASKS = "no token is needed"
    ANYWHERE = "any token"
    CARRIED = "carried by the token, wherever it is good for"
    EVERYWHERE = "in every project"
    EVERYWHERE_FROM = "in every project, and sees the path's"
    PROJECT = "in the path's project"
    CONNECTION = "in the path's project, or on the path's connection"


@dataclass(frozen=True)
class Demand:
    """
    A grant, and where it must be held; without a grant, only that place must exist for whoever asks.

    `family` is whose words say that there is no such project: see `mooring.control.access.project_in`.
    """

    where: Where
    grant: str | None = None
    family: str = "connections"

    def __str__(self) -> str:
        if self.grant is None:
            return "sees the path's project" if self.where is Where.PROJECT else self.where.value
        return f"{self.grant}, {self.where.value}"

    async def check(self, request: Request, actor: Actor) -> None:
        """Raises `NotFound`, `NotPermitted`, or what else the family documents."""
        if self.where is Where.EVERYWHERE and self.grant:
            require(actor, self.grant)
        elif self.where is Where.EVERYWHERE_FROM and self.grant:
            await project_in(plane_of(request).store, actor, request.path_params["project"], self.family)
            require(actor, self.grant)
        elif self.where is Where.CARRIED and self.grant:
            ask_grant(actor.carries(self.grant), self.grant, "with this token")
        elif self.where in (Where.PROJECT, Where.CONNECTION):
            name = request.path_params["project" if "project" in request.path_params else "name"]
            project = await project_in(plane_of(request).store, actor, name, self.family)
            if self.grant is not None and not actor.may(self.grant, project.id):
                on_some = self.where is Where.CONNECTION and actor.may_on_some(self.grant, project.id)
                ask_grant(on_some or readable_by_all(actor, self.grant, project), self.grant)


PUBLIC = Demand(Where.NOBODY_ASKS)
ANY_TOKEN = Demand(Where.ANYWHERE)


def carried(grant: str) -> Demand:
    """The token carries *grant*; in which places, the handler sees."""
    return Demand(Where.CARRIED, grant)


def everywhere(grant: str) -> Demand:
    """For what belongs to no project."""
    return Demand(Where.EVERYWHERE, grant)


def everywhere_from(grant: str) -> Demand:
    """For what takes something out of the path's project, to where every project is touched."""
    return Demand(Where.EVERYWHERE_FROM, grant)


def in_project(grant: str | None = None, family: str = "connections") -> Demand:
    """In the path's project; without a grant, that it exists for whoever asks."""
    return Demand(Where.PROJECT, grant, family)


def on_connection(grant: str) -> Demand:
    """In the path's project, or on the one connection; that it is this one is seen when it is looked up."""
    return Demand(Where.CONNECTION, grant)
