"""Alerts through Opsgenie."""

from mooring.plugin.card import ConnectionType
from mooring.types.opsgenie.model import OpsGenieConfig

TYPE = ConnectionType(
    name="ops-genie",
    title="Opsgenie",
    group="Messages to people",
    config=OpsGenieConfig,
    connector="mooring.types.opsgenie.connector:OpsGenieConnector",
    operations=("send", "close"),
    extra="ops-genie",
    aliases=("opsgenie", "opsGenie"),
    note="The vendor ends this service in April 2027; choose something else for what is new.",
)
