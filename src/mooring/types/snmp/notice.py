"""What the operation `send` is asked and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from mooring.plugin.connector import Answer, Request
from mooring.types.snmp.messages import ENCODERS, variable
from mooring.types.snmp.model import OID, oid_in_range

Oid = Annotated[str, StringConstraints(pattern=OID, max_length=512), AfterValidator(oid_in_range)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", max_length=8192)]
Kind = Literal["string", "integer", "unsigned", "counter", "counter64", "timeticks", "ipAddress", "oid", "hex"]


class Variable(Request):
    """An object identifier and the value that it carries."""

    oid: Oid = Field(description="The object identifier.")
    value: Annotated[str, StringConstraints(max_length=8192)] | int = Field(
        description="Its value, as text; a number may be one."
    )
    type: Kind = Field(
        "string",
        description="What the value is: `string` (UTF-8), `integer`, `unsigned` (also called gauge), `counter`,"
        " `counter64`, `timeticks` (hundredths of a second), `ipAddress` (IPv4), `oid`, or `hex` (bytes, in hexadecimal).",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            self.encoded()
        except (ValueError, TypeError):
            raise PydanticCustomError("value", "must have a value of its type") from None
        return self

    def encoded(self) -> bytes:
        """The variable as it goes into a message."""
        return variable(self.oid, ENCODERS[self.type](str(self.value)))


class Notice(Request):
    """What to tell."""

    message: Line = Field(description="The text that `pduOidForMessage` carries.")
    variables: Annotated[list[Variable], Field(max_length=64)] = Field(
        [], description="More variables, after those of `pduVariableMap`."
    )
    trap: Oid | None = Field(None, description="The name of the notification; `pduOidForMessage` when it is left out.")
    time: datetime | None = Field(None, description="The time that `pduOidForTime` carries; now when it is left out.")

    @property
    def moment(self) -> str:
        """The time, ISO 8601 in UTC."""
        moment = self.time or datetime.now(UTC)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Sent(Answer):
    """A notification that went out, and what is known of it."""

    proof: Literal["acknowledged", "delivered", "written", "none"] = Field(
        description="`acknowledged`: the receiver acknowledged the inform. `delivered`: over TCP, the other machine has"
        " every byte of the trap. `written`: over TCP, where this system cannot tell that. `none`: over UDP nobody"
        " knows what became of a trap."
    )
    engine_id: str | None = Field(
        None,
        description="With V3, in hexadecimal, the engine that the receiver knows the user by: for a trap the"
        " sender's, for an inform its own.",
    )
