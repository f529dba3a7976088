"""E-mail over SMTP."""

from mooring.plugin.card import ConnectionType
from mooring.types.email.model import EmailConfig

TYPE = ConnectionType(
    name="email",
    title="E-mail (SMTP)",
    group="Messages to people",
    config=EmailConfig,
    connector="mooring.types.email.connector:EmailConnector",
    operations=("send",),
    extra="email",
)
