"""How far TLS goes, as an address says it: each product in its own words, told in PostgreSQL's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mooring.types.database.address import JdbcUrl

TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""PostgreSQL's words for how far TLS goes. The first three look at nothing that the server shows."""

UNCHECKED: Final = TLS_MODES[:3]

_MYSQL: Final = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "trust": "require",
    "verify_ca": "verify-ca",
    "verify_identity": "verify-full",
}


def said_mode(target: JdbcUrl) -> str | None:
    """The mode that *target* names; None where it says nothing."""
    return _SAID[target.dialect](target)


def usual_mode(target: JdbcUrl) -> str:
    """The mode where nothing is said and no store is named."""
    return "prefer" if target.dialect in ("POSTGRES", "MYSQL") else "disable"


def _on(target: JdbcUrl, *names: str) -> bool | None:
    """What a switch says: the first that is there; None where none is."""
    said = next((target.parameters[name] for name in names if name in target.parameters), None)
    return None if said is None else said.lower() in ("true", "on", "yes", "1")


def _checked(on: bool | None, *, chain: bool = True, host: bool = True) -> str | None:
    if on is None:
        return None
    if not on:
        return "disable"
    return "verify-full" if chain and host else "verify-ca" if chain else "require"


def _postgres(target: JdbcUrl) -> str | None:
    said = target.parameters.get("sslmode")
    if said is None and _on(target, "ssl"):
        return "verify-full"
    return said.lower() if said else None


def _mysql(target: JdbcUrl) -> str | None:
    if "sslMode" in target.parameters:
        said = target.parameters["sslMode"].lower()
        return _MYSQL.get(said, said)
    used = _on(target, "useSSL")
    if not used:
        return None if used is None else "disable"
    if _on(target, "verifyServerCertificate"):
        return "verify-ca"
    return "require" if _on(target, "requireSSL") or _on(target, "trustServerCertificate") else None


def _sql_server(target: JdbcUrl) -> str:
    # Its driver encrypts, and checks the server, unless told otherwise; told so, it still hides the login.
    if target.parameters.get("encrypt", "true").lower() in ("false", "no", "optional"):
        return "allow"
    return _checked(True, chain=not _on(target, "trustServerCertificate")) or "verify-full"


def _oracle(target: JdbcUrl) -> str | None:
    said = target.parameters.get("protocol")
    return _checked(None if said is None else said == "tcps", host=_on(target, "ssl_server_dn_match") is not False)


def _trino(target: JdbcUrl) -> str | None:
    on = _on(target, "SSL")
    if on is None and target.port == 443:
        on = True
    how = target.parameters.get("SSLVerification", "FULL")
    return _checked(on, chain=how != "NONE", host=how == "FULL")


def _mongodb(target: JdbcUrl) -> str | None:
    on = _on(target, "tls", "ssl")
    if on is None and target.form == "srv":
        on = True
    return _checked(on, host=not _on(target, "tlsAllowInvalidHostnames"))


def _impala(target: JdbcUrl) -> str | None:
    return _checked(
        _on(target, "SSL"),
        chain=not _on(target, "AllowSelfSignedCerts"),
        host=not _on(target, "CAIssuedCertNamesMismatch"),
    )


def _sybase(target: JdbcUrl) -> str | None:
    said = target.parameters.get("ssl")
    return _checked(_on(target, "ENABLE_SSL") if said is None else said != "off")


_SAID: Final[Mapping[str, Callable[[JdbcUrl], str | None]]] = {
    "POSTGRES": _postgres,
    "MYSQL": _mysql,
    "SQL_SERVER": _sql_server,
    "ORACLE": _oracle,
    "TRINO": _trino,
    "MONGODB": _mongodb,
    "APACHE_HIVE": lambda target: _checked(_on(target, "ssl")),
    "APACHE_IMPALA": _impala,
    "DB2": lambda target: _checked(_on(target, "sslConnection")),
    "SYBASE": _sybase,
}
