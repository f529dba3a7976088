"""The bodies of requests other than connections."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from mooring.domain.rights import EVERY_GRANT
from mooring.errors import InvalidConfig
from mooring.plugin.fields import NO_CONTROL
from mooring.plugin.problems import problems_of

Line = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=255)]


def _whole(value: Any) -> Any:
    """JSON's true is no number, and neither is a text; 1.0 is one."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("whole", "must be a whole number")
    return value


Lifetime = Annotated[int, Ge(1), Le(10 * 366 * 86400), BeforeValidator(_whole)]
Validity = Annotated[int, Ge(1), Le(86400), BeforeValidator(_whole)]
Grant = Annotated[Name, Field(json_schema_extra={"enum": sorted(EVERY_GRANT)})]
Body = TypeVar("Body", bound=BaseModel)


class Sent(BaseModel):
    """What a request sends: camelCase keys, unknown ones refused, and no value in an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        extra="forbid",
        hide_input_in_errors=True,
    )


class ProjectBody(Sent):
    """A new project."""

    name: Name | None = Field(None, description="The name again, as in the path.")
    description: Line | None = Field(None, description="Free text.")


class EnvironmentBody(Sent):
    """A new environment."""

    name: Name | None = Field(None, description="The name again, as in the path.")
    description: Line | None = Field(None, description="Free text.")
    type: Name = Field("PRODUCTION", description="PRODUCTION, SANDBOX or TEST; other words are kept as they are.")
    status: Name = Field(
        "PUBLISHED",
        description="PUBLISHED, UNPUBLISHED or REPUBLISH_REQUIRED; workers of an unpublished one hold nothing.",
    )
    access_url: Line | None = Field(None, description="Where its users reach it; for people.")
    projects: list[Name] = Field(
        [], max_length=1000, description="Projects bound to it; empty: every project may use it."
    )


class EnvironmentChange(Sent):
    """What an environment shall be; a name that differs from the path renames it."""

    name: Name | None = Field(None, description="A new name.")
    description: Line | None = Field(None, description="Free text.")
    type: Name | None = Field(None, description="Absent: unchanged.")
    status: Name | None = Field(None, description="Absent: unchanged.")
    access_url: Line | None = Field(None, description="Where its users reach it.")
    projects: list[Name] | None = Field(None, max_length=1000, description="Absent: unchanged.")


class TokenBody(Sent):
    """A new personal API access token."""

    name: Name = Field(description="What it is for.")
    grants: list[Grant] | None = Field(None, max_length=50, description="Absent: all of yours, except secrets:reveal.")
    project_name: Name | None = Field(None, description="The one project that it is good for; absent: as yours.")
    expires_in_seconds: Lifetime | None = Field(None, description="Absent: it does not expire.")


class EnrolmentBody(Sent):
    """A one-time token with which a worker enrols."""

    environment_name: Name = Field(description="The environment that the worker will belong to.")
    valid_seconds: Validity = Field(3600, description="How long the token may be used.")


def read(model: type[Body], values: dict[str, Any]) -> Body:
    """The body that *values* describe. Raises `InvalidConfig`."""
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        keys = [info.alias or name for name, info in model.model_fields.items()]
        raise InvalidConfig(problems_of(exc, lambda path: keys)) from None
