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
    note="All ten products can be described and kept; this version uses PostgreSQL and MySQL or MariaDB.",
)
