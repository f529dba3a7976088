"""Messages through RabbitMQ (AMQP 0-9-1)."""

from mooring.plugin.card import ConnectionType
from mooring.types.rabbitmq.model import RabbitMqConfig

TYPE = ConnectionType(
    name="rabbitMq",
    title="RabbitMQ",
    group="Message brokers",
    config=RabbitMqConfig,
    connector="mooring.types.rabbitmq.connector:RabbitMqConnector",
    operations=("publish", "receive"),
    extra="rabbitmq",
    aliases=("rabbitmq",),
)
