"""What an Opsgenie connection is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import MaxLen
from pydantic import AfterValidator, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import NO_CONTROL, Flag, OrReference, Positive, Secret, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid, required

URL = explain_pattern(
    r"^https?://([^\s/?#@\\:\[\]\x00-\x1f\x7f-\x9f]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#@\\\x00-\x1f\x7f-\x9f]*)?$",
    "must be an absolute http or https address, without user, query and fragment",
)
MAX_DETAILS = 8000
_ONE_LINE = re.compile(NO_CONTROL)


def _one_line(value: SecretStr) -> SecretStr:
    # It is sent in a header, which a line break would end.
    if not _ONE_LINE.fullmatch(value.get_secret_value()):
        raise PydanticCustomError("control", "must not contain control characters")
    return value


def _port_in_range(url: str) -> str:
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise PydanticCustomError("port", "must have a port from 1 to 65535")
    return url


def _capped(details: dict[str, str]) -> dict[str, str]:
    values = [text for pair in details.items() for text in pair]
    if sum(map(len, values)) > MAX_DETAILS and not any(map(has_reference, values)):
        raise PydanticCustomError("too_much", f"must have at most {MAX_DETAILS} characters, names and values together")
    return details


Url = Annotated[
    str, StringConstraints(pattern=URL, min_length=1, max_length=2048), AfterValidator(_port_in_range), OrReference
]
ApiKey = Annotated[Secret, AfterValidator(_one_line)]
Label = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=50), OrReference]
Upto100 = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=100), OrReference]
Upto512 = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=512), OrReference]
Note = Annotated[str, StringConstraints(max_length=25_000), OrReference]
Priority = Annotated[Literal["P1", "P2", "P3", "P4", "P5"], OrReference]
RecipientType = Annotated[Literal["team", "user", "escalation", "schedule"], OrReference]
Details = Annotated[dict[str, str], AfterValidator(_capped)]


class OpsGenieRecipient(Part):
    """Somebody who is told of an alert, or may see it."""

    type: RecipientType = field(description="What sort of recipient it is.", example="team")
    id: Text | None = field(None, description="Opsgenie's id of the recipient; stands in for the names.")
    name: Text | None = field(
        None, description="Name of a team, escalation or schedule; needed for those without `id`.", example="on-call"
    )
    username: Text | None = field(
        None, description="Mail address of a user; needed for a user without `id`.", example="ada@example.com"
    )


Recipients = Annotated[list[OpsGenieRecipient], MaxLen(50)]
Tags = Annotated[list[Label], MaxLen(20)]
Actions = Annotated[list[Label], MaxLen(10)]


class OpsGenieConfig(ConnectionConfig):
    """Opens and closes alerts."""

    api_url: Url = field(
        "https://api.opsgenie.com/v2/alerts",
        description="Address of the alert API; accounts in Europe have their own.",
        example="https://api.eu.opsgenie.com/v2/alerts",
        group="Server",
        destination=True,
        also=("url",),
    )
    api_key: ApiKey = field(description="Key of an API integration.", group="Login")
    responders: Recipients = field(
        [], description="Who is told.", example=[{"type": "team", "name": "on-call"}], group="Alert"
    )
    visible_to: Recipients = field(
        [],
        description="Teams and users who may see the alert and are not told.",
        example=[{"type": "user", "username": "ada@example.com"}],
        group="Alert",
    )
    tags: Tags = field([], description="Labels of every alert.", example=["orders"], group="Alert")
    priority: Priority = field("P3", description="Priority, P1 being the highest.", group="Alert")
    alias: Upto512 | None = field(
        None, description="Alerts with the same alias count as one.", example="orders-db-down", group="Alert"
    )
    entity: Upto512 | None = field(None, description="What the alert is about.", example="orders-db", group="Alert")
    source: Upto100 = field("Apinizer", description="Where the alert says it comes from.", group="Alert")
    actions: Actions = field([], description="Names of actions that are offered.", example=["Restart"], group="Alert")
    details: Details = field(
        {}, description="Further properties of every alert.", example={"environment": "production"}, group="Alert"
    )
    user: Upto100 | None = field(None, description="Who the alert says asked for it.", example="mooring", group="Alert")
    note: Note | None = field(None, description="Note that is added to a new alert.", group="Alert")
    timeout: Positive = field(5000, description="How long a request may take.", example=5000, group="Server", unit="ms")
    verify_hostname: Flag = field(
        True, description="Compare the certificate with the host of `apiUrl`.", group="Security", destination=True
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name.",
        group="Security",
        destination=True,
        reference="keystore",
    )

    def rules(self) -> Iterator[Problem]:
        if not self.api_key.get_secret_value():
            yield required("apiKey")
        for name, recipients in (("responders", self.responders), ("visibleTo", self.visible_to)):
            for index, recipient in enumerate(recipients):
                yield from _recipient_rules([name, index], recipient)
        for index, recipient in enumerate(self.visible_to):
            if recipient.type in ("escalation", "schedule"):
                yield invalid(["visibleTo", index, "type"], "only a team or a user can see an alert")

    def warnings(self) -> Iterator[Problem]:
        if self.speaks_tls() and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the server's certificate is not compared with its host name", "hostname_not_verified"
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.speaks_tls() else {}

    def speaks_tls(self) -> bool:
        """Whether requests are, or may be, encrypted."""
        return not self.api_url.startswith("http://")


def _recipient_rules(place: list[str | int], recipient: OpsGenieRecipient) -> Iterator[Problem]:
    if recipient.id:
        return
    if has_reference(recipient.type):
        if not (recipient.name or recipient.username):
            yield invalid([*place, "id"], "one of id, name and username must be given", "required")
    elif recipient.type == "user":
        if not recipient.username:
            yield invalid([*place, "username"], "a user without id must have it", "required")
    elif not recipient.name:
        yield invalid([*place, "name"], "a recipient that is no user, without id, must have it", "required")
