"""Elasticsearch and its relatives, over HTTP."""

from mooring.plugin.card import ConnectionType
from mooring.types.elasticsearch.model import ElasticsearchConfig

TYPE = ConnectionType(
    name="elasticsearch",
    title="Elasticsearch",
    group="Logs and events",
    config=ElasticsearchConfig,
    connector="mooring.types.elasticsearch.connector:ElasticsearchConnector",
    operations=("index", "bulk", "search"),
    extra="elasticsearch",
)
