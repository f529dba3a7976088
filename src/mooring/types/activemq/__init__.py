"""Messages through Apache ActiveMQ, over OpenWire or AMQP 1.0."""

from mooring.plugin.card import ConnectionType
from mooring.types.activemq.model import ActiveMqConfig

TYPE = ConnectionType(
    name="activeMq",
    title="Apache ActiveMQ",
    group="Message brokers",
    config=ActiveMqConfig,
    connector="mooring.types.activemq.connector:ActiveMqConnector",
    operations=("publish", "receive"),
    aliases=("activemq",),
)
