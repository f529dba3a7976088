"""Log messages to a syslog server."""

from mooring.plugin.card import ConnectionType
from mooring.types.syslog.model import SyslogConfig

TYPE = ConnectionType(
    name="syslog",
    title="Syslog",
    group="Logs and events",
    config=SyslogConfig,
    connector="mooring.types.syslog.connector:SyslogConnector",
    operations=("send",),
)
