"""Rolling log files on the worker, laid out as Logback does."""

from mooring.plugin.card import ConnectionType
from mooring.types.logback.model import LogbackConfig

TYPE = ConnectionType(
    name="logback",
    title="Rolling log file (Logback)",
    group="Logs and events",
    config=LogbackConfig,
    connector="mooring.types.logback.connector:LogbackConnector",
    operations=("send",),
)
