"""Records through Apache Kafka."""

from mooring.plugin.card import ConnectionType
from mooring.types.kafka.model import KafkaConfig

TYPE = ConnectionType(
    name="kafka",
    title="Apache Kafka",
    group="Message brokers",
    config=KafkaConfig,
    connector="mooring.types.kafka.connector:KafkaConnector",
    operations=("publish", "receive"),
    extra="kafka",
)
