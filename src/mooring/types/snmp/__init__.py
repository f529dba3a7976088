"""Notifications over SNMP."""

from mooring.plugin.card import ConnectionType
from mooring.types.snmp.model import SnmpConfig

TYPE = ConnectionType(
    name="snmp",
    title="SNMP",
    group="Monitoring",
    config=SnmpConfig,
    connector="mooring.types.snmp.connector:SnmpConnector",
    operations=("send",),
)
