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
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from mooring.plugin.fields import has_reference
from mooring.plugin.secrets import Span, is_credential_parameter, plain_name
from mooring.types.database.parameters import PARAMETERS, PASSWORD, USER, check, spelled

DEFAULT_PORTS: Final[Mapping[str, int]] = {
    "ORACLE": 1521,
    "MYSQL": 3306,
    "POSTGRES": 5432,
    "SQL_SERVER": 1433,
    "SYBASE": 5000,
    "DB2": 50000,
    "APACHE_HIVE": 10000,
    "APACHE_IMPALA": 21050,
    "MONGODB": 27017,
    "TRINO": 8080,
}

_MASK = "\ue000"
"""Stands for every character of a variable reference while a text is scanned; nobody may send it."""

_REFERENCE = re.compile(r"(?<!\$)\$\{[^{}]*\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
_PORTS = range(1, 65536)
_NO_CREDENTIALS = frozenset({"encryptpassword"})
"""Parameters that are named like a credential and hold true or false."""

_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_{_MASK}][A-Za-z0-9_.\-{_MASK}]*)"
_HOSTS = rf"{_HOST}(?::[0-9{_MASK}]+)?(?:,{_HOST}(?::[0-9{_MASK}]+)?)*"
_USERINFO = r"(?:(?P<user>[^:@/?#;\s\\]*)(?::(?P<password>[^@/?#;\s\\]*))?@)?"
_SEGMENT = r"[^/?#;&=@:,\s\\\"'<>(){}|^`]+"
_HOST_AND_PORT = re.compile(rf"({_HOST})(?::([0-9{_MASK}]+))?")


class UrlRefused(ValueError):
    """An address that is not accepted. `problems` are pairs of a code and a reason ("it ..."), without values."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(reason for _, reason in problems))
        self.problems = problems


class Endpoint(NamedTuple):
    """A server of an address. Without a port, the product's own holds."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class JdbcUrl:
    """
    An address in parts.

    Attributes:
        dialect: The product: a value of `dbType`.
        hosts: The servers, in the order they are tried.
        database: Database, schema, service or SID; `catalog/schema` for Trino.
        parameters: What else the address says, under the names of the product's list.
        form: Which of several spellings: "sid" (Oracle), "srv" (MongoDB), "jtds" (Sybase); else empty.
        user: The login name that stands in the address.
        password: The password that stands in the address.
    """

    dialect: str
    hosts: tuple[Endpoint, ...]
    database: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    form: str = ""
    user: str | None = None
    password: str | None = None

    @property
    def host(self) -> str:
        """The first server's name."""
        return self.hosts[0].host

    @property
    def port(self) -> int:
        """The first server's port."""
        return self.hosts[0].port or DEFAULT_PORTS[self.dialect]

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Every server with its port."""
        return [(host, port or DEFAULT_PORTS[self.dialect]) for host, port in self.hosts]

    def __repr__(self) -> str:
        # A parameter may be a credential, and so may be what stands before a password.
        return f"<JdbcUrl {self.dialect} {','.join(map(str, self.hosts))}>"


@dataclass(frozen=True)
class _Form:
    """How the addresses behind one prefix are written."""

    prefix: str
    dialect: str
    name: str = ""
    opens: str = r"\?"
    separator: str = "&"
    segments: int = 1
    decodes: bool = True
    plus: bool = False
    """Whether a + in a parameter is a blank, as in these drivers."""

    @property
    def pattern(self) -> str:
        more = rf"(?:/{_SEGMENT})" * (self.segments - 1)
        path = f"{_SEGMENT}{more and f'(?:{more})?'}"
        database = "" if self.dialect == "SQL_SERVER" else rf"(?:/(?P<database>{path})?)?"
        instance = r"(?:\\(?P<instance>[A-Za-z0-9_$]+))?(?::(?P<port>[0-9]+))?" if self.dialect == "SQL_SERVER" else ""
        return rf"{_USERINFO}(?P<hosts>{_HOSTS}){instance}{database}(?:{self.opens}(?P<parameters>.*))?"


_SEMICOLONS: Final = {"opens": ";", "separator": ";", "decodes": False}
_FORMS: Final = (
    _Form("jdbc:postgresql://", "POSTGRES", plus=True),
    _Form("jdbc:mysql://", "MYSQL", plus=True),
    _Form("jdbc:mariadb://", "MYSQL", "mariadb", plus=True),
    _Form("jdbc:sqlserver://", "SQL_SERVER", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords  # one table, three fields
    _Form("jdbc:sybase:tds:", "SYBASE", decodes=False),
    _Form("jdbc:jtds:sybase://", "SYBASE", "jtds", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    _Form("jdbc:db2://", "DB2", opens=":", separator=";", decodes=False),
    _Form("jdbc:hive2://", "APACHE_HIVE", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    _Form("jdbc:impala://", "APACHE_IMPALA", **_SEMICOLONS),  # type: ignore[arg-type]  # a dict of mixed keywords
    _Form("jdbc:trino://", "TRINO", segments=2),
    _Form("jdbc:presto://", "TRINO", "presto", segments=2),
    _Form("jdbc:mongodb+srv://", "MONGODB", "srv"),
    _Form("jdbc:mongodb://", "MONGODB"),
    _Form("mongodb+srv://", "MONGODB", "srv"),
    _Form("mongodb://", "MONGODB"),
)
_ORACLE = "jdbc:oracle:thin:"
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
        return [] if _REFERENCE.fullmatch(text) else [Span("url", 0, len(text))]
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
        return _render_oracle(url)
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


class _Piece(NamedTuple):
    text: str
    start: int
    end: int


@dataclass
class _Pieces:
    form: _Form
    text: str
    hosts: list[tuple[str, str | None]]
    user: _Piece | None = None
    password: _Piece | None = None
    database: _Piece | None = None
    parameters: list[tuple[str, _Piece]] = field(default_factory=list)


def _malformed(what: str) -> UrlRefused:
    return UrlRefused(("malformed_url", what))


def _scan(text: str) -> _Pieces:
    if _CONTROL.search(text) or _MASK in text:
        raise _malformed("must not contain control characters")
    masked = _REFERENCE.sub(lambda match: _MASK * len(match[0]), text)
    folded = masked.lower()
    if folded.startswith(_ORACLE):
        return _scan_oracle(text, masked)
    form = next((form for form in _FORMS if folded.startswith(form.prefix)), None)
    if form is None:
        known = ", ".join(dict.fromkeys(_spelled(form.prefix) for form in _FORMS))
        raise _malformed(f"must begin with {known} or {_ORACLE}@")
    match = _PATTERNS[form.prefix].fullmatch(masked, len(form.prefix))
    if match is None:
        raise _malformed("must be host, port, database and name=value parameters in the order of its kind of address")
    pieces = _Pieces(form, text, _scan_hosts(match["hosts"], text, match.start("hosts")))
    pieces.user, pieces.password = _piece(match, "user", text), _piece(match, "password", text)
    if form.dialect == "SQL_SERVER":
        if match["instance"]:
            if pieces.hosts[0][1] is not None:
                raise _malformed("must name the port after the instance")
            pieces.parameters.append(("instanceName", _Piece(match["instance"], *match.span("instance"))))
        if match["port"]:
            if pieces.hosts[0][1] is not None:
                raise _malformed("must name the port once")
            pieces.hosts = [(pieces.hosts[0][0], match["port"]), *pieces.hosts[1:]]
    else:
        pieces.database = _piece(match, "database", text)
    if match["parameters"] is not None:
        pieces.parameters += _scan_parameters(form, text, masked, *match.span("parameters"))
    return pieces


def _piece(match: re.Match[str], group: str, text: str) -> _Piece | None:
    start, end = match.span(group)
    return None if start < 0 else _Piece(text[start:end], start, end)


def _scan_hosts(masked: str, text: str, offset: int) -> list[tuple[str, str | None]]:
    found = []
    for match in _HOST_AND_PORT.finditer(masked):
        host = text[offset + match.start(1) : offset + match.end(1)]
        found.append((host, None if match[2] is None else text[offset + match.start(2) : offset + match.end(2)]))
    return found


def _scan_parameters(form: _Form, text: str, masked: str, start: int, end: int) -> Iterator[tuple[str, _Piece]]:
    braces = form.dialect == "SQL_SERVER"
    plain = r"[^;{}]*" if braces else (r"[^&#;\s]*" if form.separator == "&" else r"[^;]*")
    value = rf"\{{(?:[^}}]|\}}\}})*\}}|{plain}" if braces else plain
    entry = re.compile(rf"(?P<name>{_NAME.pattern})=(?P<value>{value})(?={form.separator}|$)")
    position = start
    while position < end:
        if masked[position] in form.separator:
            position += 1
            continue
        match = entry.match(masked, position, end)
        if match is not None:
            yield match["name"], _Piece(text[slice(*match.span("value"))], *match.span("value"))
            position = match.end()
        elif match_all := re.compile(rf"{_MASK}+(?={form.separator}|$)").match(masked, position, end):
            position = match_all.end()  # a variable that holds parameters; they are looked at when it is resolved
        else:
            raise _malformed("must have its parameters as name=value, with special characters encoded")


# --- reading: what the parts say -----------------------------------------------------------------------------


def _read(pieces: _Pieces) -> JdbcUrl:
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


def _host_problems(pieces: _Pieces) -> Iterator[tuple[str, str]]:
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


def _parameter_problems(pieces: _Pieces) -> Iterator[tuple[str, str]]:
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


def _decoded(form: _Form, piece: _Piece | None, problems: list[tuple[str, str]], name: str | None = None) -> str | None:
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


def _unquoted(form: _Form, text: str) -> str:
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


def _render_value(form: _Form, value: str) -> str:
    if form.decodes:
        return quote(value, safe="")
    if form.dialect == "SQL_SERVER" and re.search(r"[;{}]", value):
        return "{" + value.replace("}", "}}") + "}"
    return value


# --- Oracle: four spellings of its own -----------------------------------------------------------------------

_ORACLE_FORM = _Form(_ORACLE, "ORACLE", decodes=False)
_ORACLE_LOGIN = r"(?:(?P<user>[^/@\s:\"]+)/(?P<password>\"[^\"]+\"|[^@\s/\"]+))?@"
_ORACLE_SID = re.compile(rf"{_ORACLE_LOGIN}(?P<hosts>{_HOST}:[0-9{_MASK}]+):(?P<sid>[A-Za-z0-9_$#.{_MASK}\-]+)")
_ORACLE_SERVICE = re.compile(
    rf"{_ORACLE_LOGIN}(?:(?P<protocol>(?i:tcps?)):)?(?://)?(?P<hosts>{_HOSTS})/(?P<service>[A-Za-z0-9_$#.{_MASK}\-]+)"
    r"(?::(?P<server>[A-Za-z]+))?(?:\?(?P<parameters>.*))?"
)
_ORACLE_DESCRIPTOR = re.compile(rf"{_ORACLE_LOGIN}(?P<descriptor>\(.*\))")
_ORACLE_VARIABLE = re.compile(rf"{_ORACLE_LOGIN}(?:(?:(?i:tcps?):)?//)?(?P<hosts>{_MASK}+)")
_GROUPS = frozenset({"DESCRIPTION", "ADDRESS_LIST", "ADDRESS", "CONNECT_DATA", "SECURITY"})
_DEEPEST = 8


def _scan_oracle(text: str, masked: str) -> _Pieces:
    start = len(_ORACLE)
    if match := _ORACLE_DESCRIPTOR.fullmatch(masked, start):
        pieces = _Pieces(_ORACLE_FORM, text, [])
        _Descriptor(pieces, masked).read(*match.span("descriptor"))
    elif match := _ORACLE_SID.fullmatch(masked, start):
        pieces = _Pieces(_named("sid"), text, _scan_hosts(match["hosts"], text, match.start("hosts")))
        pieces.database = _piece(match, "sid", text)
    elif match := _ORACLE_SERVICE.fullmatch(masked, start):
        pieces = _Pieces(_ORACLE_FORM, text, _scan_hosts(match["hosts"], text, match.start("hosts")))
        pieces.database = _piece(match, "service", text)
        for name in ("protocol", "server"):
            if match[name]:
                pieces.parameters.append((name, _Piece(match[name], *match.span(name))))
        if match["parameters"] is not None:
            pieces.parameters += _scan_parameters(_ORACLE_FORM, text, masked, *match.span("parameters"))
    elif match := _ORACLE_VARIABLE.fullmatch(masked, start):
        pieces = _Pieces(_ORACLE_FORM, text, _scan_hosts(match["hosts"], text, match.start("hosts")))
    else:
        raise _malformed(
            "must be @host:port:SID, @//host:port/service, @tcps://host:port/service or @(DESCRIPTION=...)"
        )
    pieces.user, pieces.password = _piece(match, "user", text), _piece(match, "password", text)
    return pieces


def _named(name: str) -> _Form:
    return _Form(_ORACLE, "ORACLE", name, decodes=False)


class _Descriptor:
    """Reads `(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))`."""

    _LEAF = re.compile(r"\(\s*([A-Za-z_]+)\s*=\s*([^()=]*?)\s*\)")
    _GROUP = re.compile(r"\(\s*([A-Za-z_]+)\s*=\s*(?=\()")

    def __init__(self, pieces: _Pieces, masked: str) -> None:
        self.pieces, self.masked = pieces, masked

    def read(self, start: int, end: int) -> None:
        if self._groups(start, end, 0) != end or not self.pieces.hosts or self.pieces.database is None:
            raise _malformed("its (DESCRIPTION=...) must have an address with a host, and a SERVICE_NAME or SID")

    def _groups(self, position: int, end: int, depth: int) -> int:
        """Read groups and leaves from *position* on; where the last of them ends."""
        if depth > _DEEPEST:
            raise _malformed("its (DESCRIPTION=...) is nested too deeply")
        position = self._blanks(position, end)
        while position < end and self.masked[position] == "(":
            if leaf := self._LEAF.match(self.masked, position, end):
                self._leaf(leaf[1].upper(), _Piece(self.pieces.text[slice(*leaf.span(2))], *leaf.span(2)))
                position = leaf.end()
            elif (group := self._GROUP.match(self.masked, position, end)) and group[1].upper() in _GROUPS:
                if group[1].upper() == "ADDRESS":
                    self.pieces.hosts.append(("", None))
                position = self._groups(group.end(), end, depth + 1)
                if self.masked[position : position + 1] != ")":
                    raise _malformed("its (DESCRIPTION=...) has unbalanced brackets")
                position += 1
            else:
                raise _malformed("its (DESCRIPTION=...) has an entry that is not supported")
            position = self._blanks(position, end)
        return position

    def _blanks(self, position: int, end: int) -> int:
        while position < end and self.masked[position] == " ":
            position += 1
        return position

    def _leaf(self, key: str, piece: _Piece) -> None:
        hosts = self.pieces.hosts
        masked = self.masked[piece.start : piece.end]
        if key in ("HOST", "PORT"):
            pattern = _HOST if key == "HOST" else rf"[0-9{_MASK}]+"
            if not hosts or not re.fullmatch(pattern, masked) or hosts[-1][key == "PORT"]:
                raise _malformed(f"its {key} is not one")
            hosts[-1] = (piece.text, hosts[-1][1]) if key == "HOST" else (hosts[-1][0], piece.text)
        elif key in ("SERVICE_NAME", "SID"):
            if self.pieces.database is not None or not re.fullmatch(rf"[A-Za-z0-9_$#.{_MASK}\-]+", masked):
                raise _malformed(f"its {key} is not one")
            self.pieces.database = piece
            self.pieces.form = _named("sid") if key == "SID" else _ORACLE_FORM
        elif key == "PROTOCOL":
            said = [value.text for name, value in self.pieces.parameters if name == "protocol"]
            if not said:
                self.pieces.parameters.append(("protocol", piece))
            elif said[0].lower() != piece.text.lower():
                raise _malformed("its addresses must have one PROTOCOL")
        else:
            self.pieces.parameters.append((key.lower(), piece))


def _render_oracle(url: JdbcUrl) -> str:
    login = f"{url.user}/{url.password}" if url.user is not None else ""
    parameters = dict(url.parameters)
    if url.form == "sid" and not parameters and len(url.hosts) == 1 and url.hosts[0].port:
        return f"{_ORACLE}{login}@{url.hosts[0]}:{url.database}"
    protocol = parameters.pop("protocol", "tcp")
    server = parameters.pop("server", None)
    if url.form != "sid":
        tail = "&".join(f"{name}={value}" for name, value in parameters.items())
        scheme = "" if "protocol" not in url.parameters else f"{protocol}:"
        authority = ",".join(map(str, url.hosts))
        return (
            f"{_ORACLE}{login}@{scheme}//{authority}/{url.database}"
            + (f":{server}" if server else "")
            + (f"?{tail}" if tail else "")
        )
    return f"{_ORACLE}{login}@{_descriptor(url, 'SID', protocol if 'protocol' in url.parameters else '')}"


def oracle_descriptor(url: JdbcUrl, *, secured: bool) -> str:
    """The address as Oracle's own clients read it, made from the parts; with TLS where *secured*."""
    return _descriptor(url, "SID" if url.form == "sid" else "SERVICE_NAME", "tcps" if secured else "tcp")


def _descriptor(url: JdbcUrl, kind: str, protocol: str) -> str:
    parameters = {name: value for name, value in url.parameters.items() if name not in ("protocol", "server")}
    checked = parameters.pop("ssl_server_dn_match", None)
    server = url.parameters.get("server")
    said = f"(PROTOCOL={protocol})" if protocol else ""
    addresses = "".join(
        f"(ADDRESS={said}(HOST={Endpoint(host)})" + (f"(PORT={port})" if port else "") + ")" for host, port in url.hosts
    )
    extra = "".join(f"({name.upper()}={value})" for name, value in parameters.items())
    extra += f"(SECURITY=(SSL_SERVER_DN_MATCH={checked}))" if checked else ""
    kept = f"(SERVER={server})" if server else ""
    return f"(DESCRIPTION={extra}{addresses}(CONNECT_DATA=({kind}={url.database}){kept}))"
