"""A database, behind a pool of connections."""

from mooring.plugin.card import ConnectionType
from mooring.types.database.model import DatabaseConfig

TYPE = ConnectionType(
    name="database",
    title="Database",
    group="Data stores",
    config=DatabaseConfig,
    connector="mooring.types.database.connector:DatabaseConnector",
    operations=("query", "execute"),
    extra="database",
    note="Each product needs its own client library: the extra of its name, or `database` for all but DB2 and Sybase.",
)
