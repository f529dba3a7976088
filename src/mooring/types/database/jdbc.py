"""
JDBC addresses and Mongo URIs: one parser for the ten database products.

An address is never handed to a driver as it is. It is read into parts, checked against the list of its
product, and what a driver gets is made from the parts.

    text ──_scan──► where each part stands ──parse──► JdbcUrl ──render──► text
                        └──credential_spans──► the parts that are secrets

`_scan` looks at the structure only and does not know which parameters are allowed: a credential is found,
and found under the same name, whatever the lists of this or a later version say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from mooring.plugin.fields import has_reference
from mooring.plugin.secrets import Span, is_credential_parameter, plain_name
from mooring.types.database.address import Endpoint, JdbcUrl, UrlRefused
from mooring.types.database.oracle_url import ORACLE, render_oracle, scan_oracle
from mooring.types.database.parameters import PARAMETERS, PASSWORD, USER, check, spelled
from mooring.types.database.pieces import MASK, Form, Piece, Pieces, malformed, piece_of, scan_hosts, scan_parameters

_REFERENCE = re.compile(r"(?<!\$)\$\{[^{}]*\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORTS = range(1, 65536)
_NO_CREDENTIALS = frozenset({"encryptpassword"})
"""Parameters that are named like a credential and hold true or false."""

_SEMICOLONS: Final = {"opens": ";", "separator": ";", "decodes": False}
_FORMS: Final = (
    Form("jdbc:postgresql://", "POSTGRES", plus=True),
    Form("jdbc:mysql://", "MYSQL", plus=True),
    Form("jdbc:mariadb://", "MYSQL", "mariadb", plus=True),
    Form("jdbc:sqlserver://", "SQL_SERVER", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    Form("jdbc:sybase:tds:", "SYBASE", decodes=False),
    Form("jdbc:jtds:sybase://", "SYBASE", "jtds", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    Form("jdbc:db2://", "DB2", opens=":", separator=";", decodes=False),
    Form("jdbc:hive2://", "APACHE_HIVE", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    Form("jdbc:impala://", "APACHE_IMPALA", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    Form("jdbc:trino://", "TRINO", segments=2),
    Form("jdbc:presto://", "TRINO", "presto", segments=2),
    Form("jdbc:mongodb+srv://", "MONGODB", "srv"),
    Form("jdbc:mongodb://", "MONGODB"),
    Form("mongodb+srv://", "MONGODB", "srv"),
    Form("mongodb://", "MONGODB"),
)
_PATTERNS: Final = {form.prefix: re.compile(form.pattern) for form in _FORMS}
_CANONICAL: Final = {(form.dialect, form.name): form for form in reversed(_FORMS)}

_TYPE_PREFIXES: Final[Mapping[str, str]] = {
    "jdbc:oracle:": "ORACLE",
    "jdbc:mysql:": "MYSQL",
    "jdbc:mariadb:": "MYSQL",
    "jdbc:postgresql:": "POSTGRES",
    "jdbc:sqlserver:": "SQL_SERVER",
    "jdbc:sybase:": "SYBASE",
    "jdbc:jtds:sybase:": "SYBASE",
    "jdbc:db2:": "DB2",
    "jdbc:hive2:": "APACHE_HIVE",
    "jdbc:impala:": "APACHE_IMPALA",
    "jdbc:mongodb:": "MONGODB",
    "jdbc:mongodb+srv:": "MONGODB",
    "mongodb:": "MONGODB",
    "mongodb+srv:": "MONGODB",
    "jdbc:trino:": "TRINO",
    "jdbc:presto:": "TRINO",
}


def dialect_of(text: str) -> str | None:
    """The product that an address begins with, or None where it names none that is known."""
    folded = text.lower()
    return next((dialect for prefix, dialect in _TYPE_PREFIXES.items() if folded.startswith(prefix)), None)


def parse(text: str) -> JdbcUrl:
    """
    The parts of an address.

    Raises:
        UrlRefused: with every reason; a refused parameter is named, and no value is.
    """
    if has_reference(text):
        raise UrlRefused(("unresolved", "it holds a variable reference that is not resolved"))
    return _read(_scan(text))


def problems_of_url(text: str) -> tuple[tuple[str, str], ...]:
    """
    What is wrong with an address, as codes and reasons.

    Of one with variable references only what their values cannot change: its parameters, where it can be read.
    """
    try:
        pieces = _scan(text)
    except UrlRefused as exc:
        return () if has_reference(text) else exc.problems
    if has_reference(text):
        return tuple(_parameter_problems(pieces))
    try:
        _read(pieces)
    except UrlRefused as exc:
        return exc.problems
    return ()


def credential_spans(text: str) -> list[Span]:
    """Where the credentials of an address stand; the whole of it where it cannot be read."""
    try:
        pieces = _scan(text)
    except UrlRefused:
        return [] if has_reference(text) and _REFERENCE.fullmatch(text) else [Span("url", 0, len(text))]
    spans = []
    if pieces.password is not None and pieces.password.text:
        spans.append(Span("userinfo", pieces.password.start, pieces.password.end))
    for name, value in pieces.parameters:
        if value.text and is_credential_parameter(name) and plain_name(name) not in _NO_CREDENTIALS:
            spans.append(Span(plain_name(name), value.start, value.end))
    return spans


def render(url: JdbcUrl) -> str:
    """The address in its usual spelling; `parse` gives the same parts back."""
    if url.dialect == "ORACLE":
        return render_oracle(url)
    form = _CANONICAL[url.dialect, url.form]
    parameters = dict(url.parameters)
    authority = ",".join(map(str, url.hosts))
    login = _render_userinfo(url) if url.dialect == "MONGODB" else ""
    path = ""
    if url.dialect == "SQL_SERVER":
        endpoint = url.hosts[0]
        instance = parameters.pop("instanceName", None)
        authority = str(Endpoint(endpoint.host)) + (f"\\{instance}" if instance else "")
        authority += f":{endpoint.port}" if endpoint.port else ""
        if url.database is not None:
            parameters["databaseName"] = url.database
    elif url.database is not None:
        path = "/" + (quote(url.database, safe="/") if form.decodes else url.database)
    elif form.opens != ";" and (parameters or url.user):
        path = "/"
    names = {kind: name for name, kind in reversed(list(PARAMETERS[url.dialect].items())) if kind in (USER, PASSWORD)}
    if not login:
        parameters |= {
            names[kind]: value for kind, value in ((USER, url.user), (PASSWORD, url.password)) if value is not None
        }
    tail = form.separator.join(f"{name}={_render_value(form, value)}" for name, value in parameters.items())
    return f"{_spelled(form.prefix)}{login}{authority}{path}" + (form.opens.replace("\\", "") + tail if tail else "")


# --- scanning: where the parts stand -------------------------------------------------------------------------


def _scan(text: str) -> Pieces:
    if _CONTROL.search(text) or MASK in text:
        raise malformed("must not contain control characters")
    masked = _REFERENCE.sub(lambda match: MASK * len(match[0]), text) if has_reference(text) else text
    folded = masked.lower()
    if folded.startswith(ORACLE):
        return scan_oracle(text, masked)
    form = next((form for form in _FORMS if folded.startswith(form.prefix)), None)
    if form is None:
        known = ", ".join(dict.fromkeys(_spelled(form.prefix) for form in _FORMS))
        raise malformed(f"must begin with {known} or {ORACLE}@")
    match = _PATTERNS[form.prefix].fullmatch(masked, len(form.prefix))
    if match is None:
        raise malformed("must be host, port, database and name=value parameters in the order of its kind of address")
    pieces = Pieces(form, text, scan_hosts(match["hosts"], text, match.start("hosts")))
    pieces.user, pieces.password = piece_of(match, "user", text), piece_of(match, "password", text)
    if form.dialect == "SQL_SERVER":
        if match["instance"]:
            if pieces.hosts[0][1] is not None:
                raise malformed("must name the port after the instance")
            pieces.parameters.append(("instanceName", Piece(match["instance"], *match.span("instance"))))
        if match["port"]:
            if pieces.hosts[0][1] is not None:
                raise malformed("must name the port once")
            pieces.hosts = [(pieces.hosts[0][0], match["port"]), *pieces.hosts[1:]]
    else:
        pieces.database = piece_of(match, "database", text)
    if match["parameters"] is not None:
        pieces.parameters += scan_parameters(form, text, masked, *match.span("parameters"))
    return pieces


# --- reading: what the parts say -----------------------------------------------------------------------------


def _read(pieces: Pieces) -> JdbcUrl:
    form, dialect = pieces.form, pieces.form.dialect
    problems = [*_host_problems(pieces), *_parameter_problems(pieces)]
    parameters: dict[str, str] = {}
    known = {name.lower(): name for name in PARAMETERS[dialect]}
    user = _decoded(form, pieces.user, problems)
    password = _decoded(form, pieces.password, problems)
    database = _decoded(form, pieces.database, problems)
    for name, piece in pieces.parameters:
        canonical = known.get(name.lower())
        if canonical is None:
            continue
        value = _decoded(form, piece, problems, canonical) or ""
        kind = PARAMETERS[dialect][canonical]
        if kind in (USER, PASSWORD):
            if (user if kind == USER else password) is not None:
                problems.append(("repeated_parameter", f"the parameter {name} says what was said before"))
            user, password = (value, password) if kind == USER else (user, value)
        elif dialect == "SQL_SERVER" and canonical in ("databaseName", "database"):
            if database is not None:
                problems.append(("repeated_parameter", f"the parameter {name} says what was said before"))
            database = value or None
        else:
            parameters[canonical] = spelled(kind, value)
    if database is not None and pieces.database is not None and database.count("/") != pieces.database.text.count("/"):
        problems.append(("malformed_url", "the database's name must not contain slashes"))
    if problems:
        raise UrlRefused(*problems)
    hosts = tuple(Endpoint(host.strip("[]"), int(port) if port else None) for host, port in pieces.hosts)
    return JdbcUrl(dialect, hosts, database, parameters, "" if form.name == "presto" else form.name, user, password)


def _host_problems(pieces: Pieces) -> Iterator[tuple[str, str]]:
    single = (
        pieces.form.dialect in ("SQL_SERVER", "SYBASE", "DB2", "APACHE_IMPALA", "TRINO") or pieces.form.name == "srv"
    )
    if single and len(pieces.hosts) > 1:
        yield "malformed_url", "must name one host"
    if pieces.form.name == "srv" and pieces.hosts[0][1] is not None:
        yield "malformed_url", "must name no port, which the SRV record tells"
    for host, port in pieces.hosts:
        if port is not None and not has_reference(port) and (len(port) > 5 or int(port) not in _PORTS):
            yield "malformed_url", "its port must be between 1 and 65535"
        if len(host) > 255:
            yield "malformed_url", "its host must have at most 255 characters"
        if host.startswith("[") and not _is_ipv6(host[1:-1]):
            yield "malformed_url", "what stands in brackets must be an IPv6 address"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _parameter_problems(pieces: Pieces) -> Iterator[tuple[str, str]]:
    dialect = pieces.form.dialect
    known = {name.lower(): (name, kind) for name, kind in PARAMETERS[dialect].items()}
    seen: set[str] = set()
    for name, piece in pieces.parameters:
        folded = name.lower()
        if folded in seen:
            yield "repeated_parameter", f"the parameter {name[:80]} stands more than once"
        seen.add(folded)
        if folded not in known:
            yield "unsupported_parameter", f"the parameter {name[:80]} is not supported for {dialect}{_advice(folded)}"
        elif not has_reference(piece.text):
            reason = check(known[folded][1], _unquoted(pieces.form, piece.text))
            if reason:
                yield "invalid_parameter", f"the parameter {name[:80]} {reason}"


def _advice(name: str) -> str:
    if any(word in name for word in ("cert", "key", "trust", "wallet", "ssl", "tls")):
        return "; certificates are named by trustStoreName and keyStoreName"
    return "; the README of the type lists the supported ones"


def _decoded(form: Form, piece: Piece | None, problems: list[tuple[str, str]], name: str | None = None) -> str | None:
    if piece is None:
        return None
    what = f"the parameter {name}" if name else "a part of it"
    if not form.decodes:
        return _unquoted(form, piece.text)
    try:
        if _PERCENT.search(piece.text):
            raise ValueError
        text = unquote_to_bytes(piece.text.replace("+", " ") if form.plus and name else piece.text).decode()
    except ValueError:
        problems.append(("malformed_url", f"{what} has a broken percent encoding"))
        return None
    if _CONTROL.search(text):
        problems.append(("malformed_url", f"{what} must not contain control characters"))
    return text


def _unquoted(form: Form, text: str) -> str:
    """The value inside SQL Server's braces."""
    if form.dialect == "SQL_SERVER" and text.startswith("{"):
        return text[1:-1].replace("}}", "}")
    return text


def _spelled(prefix: str) -> str:
    return prefix.replace(":tds:", ":Tds:")


def _render_userinfo(url: JdbcUrl) -> str:
    if url.user is None and url.password is None:
        return ""
    return quote(url.user or "", safe="") + ("" if url.password is None else ":" + quote(url.password, safe="")) + "@"


def _render_value(form: Form, value: str) -> str:
    if form.decodes:
        return quote(value, safe="")
    if form.dialect == "SQL_SERVER" and re.search(r"[;{}]", value):
        return "{" + value.replace("}", "}}") + "}"
    return value
