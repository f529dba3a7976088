"""Directories over LDAP, among them Active Directory."""

from mooring.plugin.card import ConnectionType
from mooring.types.ldap.model import LdapConfig

TYPE = ConnectionType(
    name="ldap",
    title="LDAP and Active Directory",
    group="Directories",
    config=LdapConfig,
    connector="mooring.types.ldap.connector:LdapConnector",
    operations=("search", "authenticate"),
)
