"""Messages in Graylog's format (GELF)."""

from mooring.plugin.card import ConnectionType
from mooring.types.graylog.model import GraylogConfig

TYPE = ConnectionType(
    name="graylog",
    title="Graylog (GELF)",
    group="Logs and events",
    config=GraylogConfig,
    connector="mooring.types.graylog.connector:GraylogConnector",
    operations=("send",),
)
