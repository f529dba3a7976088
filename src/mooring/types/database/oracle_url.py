"""Addresses of Oracle, which has four spellings of its own."""

from __future__ import annotations

import re

from mooring.types.database.address import Endpoint, JdbcUrl
from mooring.types.database.pieces import (
    HOST,
    HOSTS,
    MASK,
    Form,
    Piece,
    Pieces,
    malformed,
    piece_of,
    scan_hosts,
    scan_parameters,
)

ORACLE = "jdbc:oracle:thin:"
_ORACLE_FORM = Form(ORACLE, "ORACLE", decodes=False)
_ORACLE_LOGIN = r"(?:(?P<user>[^/@\s:\"]+)/(?P<password>\"[^\"]+\"|[^@\s/\"]+))?@"
_ORACLE_SID = re.compile(rf"{_ORACLE_LOGIN}(?P<hosts>{HOST}:[0-9{MASK}]+):(?P<sid>[A-Za-z0-9_$#.{MASK}\-]+)")
_ORACLE_SERVICE = re.compile(
    rf"{_ORACLE_LOGIN}(?:(?P<protocol>(?i:tcps?)):)?(?://)?(?P<hosts>{HOSTS})/(?P<service>[A-Za-z0-9_$#.{MASK}\-]+)"
    r"(?::(?P<server>[A-Za-z]+))?(?:\?(?P<parameters>.*))?"
)
_ORACLE_DESCRIPTOR = re.compile(rf"{_ORACLE_LOGIN}(?P<descriptor>\(.*\))")
_ORACLE_VARIABLE = re.compile(rf"{_ORACLE_LOGIN}(?:(?:(?i:tcps?):)?//)?(?P<hosts>{MASK}+)")
_GROUPS = frozenset({"DESCRIPTION", "ADDRESS_LIST", "ADDRESS", "CONNECT_DATA", "SECURITY"})
_DEEPEST = 8


def scan_oracle(text: str, masked: str) -> Pieces:
    """Where the parts of an address of Oracle stand. Raises `UrlRefused`."""
    start = len(ORACLE)
    if match := _ORACLE_DESCRIPTOR.fullmatch(masked, start):
        pieces = Pieces(_ORACLE_FORM, text, [])
        _Descriptor(pieces, masked).read(*match.span("descriptor"))
    elif match := _ORACLE_SID.fullmatch(masked, start):
        pieces = Pieces(_named("sid"), text, scan_hosts(match["hosts"], text, match.start("hosts")))
        pieces.database = piece_of(match, "sid", text)
    elif match := _ORACLE_SERVICE.fullmatch(masked, start):
        pieces = Pieces(_ORACLE_FORM, text, scan_hosts(match["hosts"], text, match.start("hosts")))
        pieces.database = piece_of(match, "service", text)
        for name in ("protocol", "server"):
            if match[name]:
                pieces.parameters.append((name, Piece(match[name], *match.span(name))))
        if match["parameters"] is not None:
            pieces.parameters += scan_parameters(_ORACLE_FORM, text, masked, *match.span("parameters"))
    elif match := _ORACLE_VARIABLE.fullmatch(masked, start):
        pieces = Pieces(_ORACLE_FORM, text, scan_hosts(match["hosts"], text, match.start("hosts")))
    else:
        raise malformed("must be @host:port:SID, @//host:port/service, @tcps://host:port/service or @(DESCRIPTION=...)")
    pieces.user, pieces.password = piece_of(match, "user", text), piece_of(match, "password", text)
    return pieces


def _named(name: str) -> Form:
    return Form(ORACLE, "ORACLE", name, decodes=False)


class _Descriptor:
    """Reads `(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))`."""

    _LEAF = re.compile(r"\(\s*([A-Za-z_]+)\s*=\s*([^()=]*?)\s*\)")
    _GROUP = re.compile(r"\(\s*([A-Za-z_]+)\s*=\s*(?=\()")

    def __init__(self, pieces: Pieces, masked: str) -> None:
        self.pieces, self.masked = pieces, masked

    def read(self, start: int, end: int) -> None:
        # One group, and nothing beside it: what comes behind the first one is no part of the address.
        whole = self._GROUP.match(self.masked, start, end)
        if whole is None or whole[1].upper() != "DESCRIPTION" or self._groups(whole.end(), end, 1) != end - 1:
            raise malformed("must be one (DESCRIPTION=...) in balanced brackets")
        if not self.pieces.hosts or self.pieces.database is None:
            raise malformed("its (DESCRIPTION=...) must have an address with a host, and a SERVICE_NAME or SID")

    def _groups(self, position: int, end: int, depth: int) -> int:
        """Read groups and leaves from *position* on; where the last of them ends."""
        if depth > _DEEPEST:
            raise malformed("its (DESCRIPTION=...) is nested too deeply")
        position = self._blanks(position, end)
        while position < end and self.masked[position] == "(":
            if leaf := self._LEAF.match(self.masked, position, end):
                self._leaf(leaf[1].upper(), Piece(self.pieces.text[slice(*leaf.span(2))], *leaf.span(2)))
                position = leaf.end()
            elif (group := self._GROUP.match(self.masked, position, end)) and group[1].upper() in _GROUPS:
                if group[1].upper() == "ADDRESS":
                    self.pieces.hosts.append(("", None))
                position = self._groups(group.end(), end, depth + 1)
                if self.masked[position : position + 1] != ")":
                    raise malformed("its (DESCRIPTION=...) has unbalanced brackets")
                position += 1
            else:
                raise malformed("its (DESCRIPTION=...) has an entry that is not supported")
            position = self._blanks(position, end)
        return position

    def _blanks(self, position: int, end: int) -> int:
        while position < end and self.masked[position] == " ":
            position += 1
        return position

    def _leaf(self, key: str, piece: Piece) -> None:
        hosts = self.pieces.hosts
        masked = self.masked[piece.start : piece.end]
        if key in ("HOST", "PORT"):
            pattern = HOST if key == "HOST" else rf"[0-9{MASK}]+"
            if not hosts or not re.fullmatch(pattern, masked) or hosts[-1][key == "PORT"]:
                raise malformed(f"its {key} is not one")
            hosts[-1] = (piece.text, hosts[-1][1]) if key == "HOST" else (hosts[-1][0], piece.text)
        elif key in ("SERVICE_NAME", "SID"):
            if self.pieces.database is not None or not re.fullmatch(rf"[A-Za-z0-9_$#.{MASK}\-]+", masked):
                raise malformed(f"its {key} is not one")
            self.pieces.database = piece
            self.pieces.form = _named("sid") if key == "SID" else _ORACLE_FORM
        elif key == "PROTOCOL":
            said = [value.text for name, value in self.pieces.parameters if name == "protocol"]
            if not said:
                self.pieces.parameters.append(("protocol", piece))
            elif said[0].lower() != piece.text.lower():
                raise malformed("its addresses must have one PROTOCOL")
        else:
            self.pieces.parameters.append((key.lower(), piece))


def render_oracle(url: JdbcUrl) -> str:
    """The address in its usual spelling."""
    login = f"{url.user}/{url.password}" if url.user is not None else ""
    parameters = dict(url.parameters)
    if url.form == "sid" and not parameters and len(url.hosts) == 1 and url.hosts[0].port:
        return f"{ORACLE}{login}@{url.hosts[0]}:{url.database}"
    protocol = parameters.pop("protocol", "tcp")
    server = parameters.pop("server", None)
    if url.form != "sid":
        tail = "&".join(f"{name}={value}" for name, value in parameters.items())
        scheme = "" if "protocol" not in url.parameters else f"{protocol}:"
        authority = ",".join(map(str, url.hosts))
        return (
            f"{ORACLE}{login}@{scheme}//{authority}/{url.database}"
            + (f":{server}" if server else "")
            + (f"?{tail}" if tail else "")
        )
    return f"{ORACLE}{login}@{_descriptor(url, 'SID', protocol if 'protocol' in url.parameters else '')}"


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
