"""A call to somebody's HTTP address."""

from mooring.plugin.card import ConnectionType
from mooring.types.webhook.model import WebhookConfig

TYPE = ConnectionType(
    name="webhook",
    title="HTTP webhook",
    group="HTTP",
    config=WebhookConfig,
    connector="mooring.types.webhook.connector:WebhookConnector",
    operations=("send",),
    extra="webhook",
)
