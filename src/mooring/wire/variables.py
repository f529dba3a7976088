"""The body that makes a variable."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from mooring.plugin.fields import NO_CONTROL, Flag, Secret
from mooring.wire.bodies import Sent
from mooring.wire.materials import KEYSTORE_ANSWERS, MAX_ENVIRONMENTS

MAX_VALUE = 16 * 1024
"""A connection may use many variables, and a frame holds them all."""

VARIABLE_ANSWERS = KEYSTORE_ANSWERS
ENTRY_ANSWERS: frozenset[str] = frozenset({"set", "environmentId"})

_Text = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=1000)]
_Name = Annotated[str, StringConstraints(max_length=255)]
_Value = Annotated[Secret, StringConstraints(max_length=MAX_VALUE)]


class EnvironmentValue(Sent):
    """The value of a variable in one environment."""

    environment_name: _Name | None = Field(None, description="The environment.")
    value: _Value | None = Field(None, description="The value. Absent or null on PUT: kept; empty: cleared.")
    visible: Flag | None = Field(
        None, description="Whether it may be read again. On POST false by default; absent on PUT: kept."
    )


class VariableBody(Sent):
    """A variable: one value for every environment, or one for each, or both."""

    name: _Name | None = Field(None, description="Its name, unique in the project ignoring case; on PUT a new one.")
    description: _Text | None = Field(None, description="Free text. Absent on PUT: kept.")
    is_global: Flag | None = Field(None, alias="global", description="Whether it has a value for every environment.")
    global_value: _Value | None = Field(
        None, description="The value for every environment that has none of its own. Null on PUT: kept; empty: cleared."
    )
    global_visible: Flag | None = Field(
        None, description="Whether that may be read again. On POST true by default; absent on PUT: kept."
    )
    environment_value_list: list[EnvironmentValue] | None = Field(
        None,
        max_length=MAX_ENVIRONMENTS,
        description="All environments with a value of their own. Absent on PUT: kept.",
    )
