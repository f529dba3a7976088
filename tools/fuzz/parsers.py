"""The target `parsers`: everything of ours that reads bytes or texts of strangers, each behind one function of bytes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticCustomError

from mooring.api.gate import canonical
from mooring.domain.names import name_key, why_not_a_name
from mooring.errors import BadRequest
from mooring.kit import ber
from mooring.kit.keystore.ber import NotBer, read_ber
from mooring.kit.keystore.opened import Unreadable
from mooring.kit.keystore.reader import open_certificate, open_file
from mooring.kit.multipart import NotAForm, read_form
from mooring.kit.strict_json import JsonRefused, read_json
from mooring.kit.tokens import is_well_formed, parse_token
from mooring.types.activemq import broker_url
from mooring.types.database import jdbc
from mooring.types.database.address import UrlRefused
from mooring.types.email.message import mailbox
from mooring.types.ftp.listing import machine_line, people_line
from mooring.types.kafka import jaas
from mooring.types.ldap import filter as ldap_filter
from mooring.types.ldap import messages as ldap
from mooring.types.logback import pattern
from mooring.types.snmp import messages as snmp
from mooring.wire.body import read_connection_body
from mooring.wire.frames import NotAFrame, from_control, from_worker
from tools.fuzz.findings import FOLDER, Findings

_CRASHED = re.compile(r"^=+\s*ERROR|Uncaught Python exception|ERROR: libFuzzer", re.MULTILINE)
_UNITS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_LONGEST = 4096
ROUND = 100_000


@dataclass(frozen=True)
class Parser:
    """*run* raises where something is wrong: anything but the refusal that the parser documents. *seeds* are good inputs."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "ignore")


def _strict_json(data: bytes) -> None:
    try:
        read_json(data, repeatable=frozenset({"type"}))
        value = read_json(data)
    except JsonRefused:
        return
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def _body(data: bytes) -> None:
    try:
        read_connection_body(data)
    except BadRequest:
        return


def _jdbc(data: bytes) -> None:
    text = _text(data)
    for span in jdbc.credential_spans(text):
        assert 0 <= span.start <= span.end <= len(text)
    problems = jdbc.problems_of_url(text)
    try:
        url = jdbc.parse(text)
    except UrlRefused:
        assert problems or "${" in text
        return
    assert not problems
    assert jdbc.parse(jdbc.render(url)) == url


def _keystore(kind: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            open_certificate(data) if kind == "CERTIFICATE" else open_file(kind, data, "changeit", None)
        except Unreadable as exc:
            assert exc.field in ("file", "password", "alias")

    return run


def _ber(data: bytes) -> None:
    with contextlib.suppress(NotBer):
        read_ber(data)
    try:
        for _, content in ber.elements(memoryview(data)):
            ber.number(content)
            ber.numbers(content)
            list(ber.elements(content))
    except ValueError:
        pass
    try:
        length = ber.frame_length(data)
        assert length is None or length > 0
    except ValueError:
        pass


def _multipart(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    try:
        for part in read_form(head.decode("latin-1"), body).values():
            assert part.text is not None
    except NotAForm:
        pass


def _frames(data: bytes) -> None:
    for read in (from_worker, from_control):
        try:
            frame = read(_text(data))
        except NotAFrame:
            continue
        assert read(frame.text()) == frame


def _path(data: bytes) -> None:
    path = canonical(b"/" + data)
    if path is not None:
        parts = path.split("/")
        assert (
            path.startswith("/")
            and ".." not in parts
            and "." not in parts[1:]
            and "\0" not in path
            and "\n" not in path
        )


def _names(data: bytes) -> None:
    text = _text(data)
    if why_not_a_name(text) is None:
        assert name_key(name_key(text)) == name_key(text)
        assert "/" not in text
    parse_token(text)
    is_well_formed(text)


def _ldap_filter(data: bytes) -> None:
    text, _, user = _text(data).partition("\n")
    try:
        found = ldap_filter.parse(text)
    except ldap_filter.FilterError:
        return

    def shape(part: ldap_filter.Filter) -> object:
        return (
            (part.operator, *map(shape, part.parts))
            if isinstance(part, ldap_filter.Group)
            else (part.left, part.operator)
        )

    assert shape(ldap_filter.parse(found.filled(user))) == shape(found)
    ldap.filter_of(found, user)


def _replies(data: bytes) -> None:
    for read in (ldap.read, lambda frame: snmp.read_plain(frame, 1, "public"), snmp.read_secured, snmp.unwrapped):
        with contextlib.suppress(ValueError):
            read(data)


def _jaas(data: bytes) -> None:
    text = _text(data)
    for span in jaas.credential_spans(text):
        assert 0 <= span.start <= span.end <= len(text)
    try:
        jaas.check(text)
    except jaas.NotJaas:
        return
    jaas.read(text)


def _broker_url(data: bytes) -> None:
    text = _text(data)
    for span in broker_url.spans(text):
        assert 0 <= span.start <= span.end <= len(text)
    try:
        url = broker_url.parse(text)
    except broker_url.BrokerUrlError:
        return
    list(broker_url.refusals(url))
    assert url.brokers and url.uses_tls is not None


def _pattern(data: bytes) -> None:
    text = _text(data)
    for read in (
        lambda: pattern.parse(text, frozenset({"d", "msg", "level"})),
        lambda: pattern.parse_date(text),
        lambda: pattern.fixed_text(text),
    ):
        with contextlib.suppress(pattern.PatternError):
            read()


def _listing(data: bytes) -> None:
    for line in data.decode("utf-8", "replace").splitlines():
        machine_line(line)
        people_line(line)


def _mailbox(data: bytes) -> None:
    try:
        found = mailbox(_text(data))
    except PydanticCustomError:
        return
    said = str(found.header) + found.envelope
    assert "\r" not in said and "\n" not in said and "\0" not in said


_PEM = b"-----BEGIN CERTIFICATE-----\nMIIBAzCBqqADAgECAgEBMAoGCCqGSM49BAMCMAAwHhcNMjAwMTAxMDAwMDAwWhcN\n-----END CERTIFICATE-----\n"

PARSERS: Mapping[str, Parser] = {
    "strict_json": Parser(_strict_json, (b'{"type":"a","type":"b","n":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\ude00"]}', b'{"a":{"b":[{}]}}')),
    "connection_body": Parser(_body, (b'{"type":"email","name":"a","enabled":true,"host":"h","port":25}', b'{"type":"elasticsearch","type":"READ","description":null}')),
    "jdbc": Parser(_jdbc, (
        b"jdbc:postgresql://h:5432/db?sslmode=require&ApplicationName=%C3%BC", b"jdbc:sqlserver://h\\I;databaseName=d;password={a;b}}c};encrypt=true", b"jdbc:mysql://u:p@h,i:3307/db?useSSL=true",
        b"jdbc:oracle:thin:@(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=s)))", b"jdbc:oracle:thin:scott/tiger@h:1521:ORCL", b"jdbc:oracle:thin:@tcps://h:1/s:dedicated?sdu=1",
        b"mongodb://u:p@[::1]:1,h/db?replicaSet=r&tls=true", b"jdbc:db2://h:1/d:user=u;", b"jdbc:hive2://h/d;ssl=true;httpPath=x", b"jdbc:trino://h/c/s?SSL=true", b"jdbc:sybase:Tds:h:5000/d?CHARSET=utf8", b"jdbc:postgresql://${h}/${d}?${p}",
    )),
    "jks": Parser(_keystore("JKS"), (bytes.fromhex("feedfeed0000000200000001000000020001610000018000000000") + b"\0\5X.509" + bytes(30), b"\xce\xce\xce\xce\0\0\0\2\0\0\0\0")),
    "pkcs12": Parser(_keystore("PKCS12"), (bytes.fromhex("3080020103308006092a864886f70d010701a0802480040430800000000000000000"),)),
    "pem": Parser(_keystore("PEM"), (_PEM, _PEM.replace(b"CERTIFICATE", b"PRIVATE KEY"))),
    "certificate": Parser(_keystore("CERTIFICATE"), (_PEM,)),
    "ber": Parser(_ber, (bytes.fromhex("300a020101040568656c6c6f"), bytes.fromhex("3080240404023031000000"))),
    "multipart": Parser(_multipart, (b'multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n--x--\r\n',)),
    "frames": Parser(_frames, (
        b'{"t":"hello","proto":1,"incarnation":"i","types":["email"]}', b'{"t":"report","session":"s","epoch":"e","nonce":1,"observedRevision":2,"exceptions":[{"id":"a","generation":1,"state":"failed","reason":"r","message":"m","since":1}]}',
        b'{"t":"put","revision":1,"id":"c","project":"p","name":"n","type":"email","generation":1,"enabled":true,"hash":"h","config":{}}', b'{"t":"ping"}',
    )),
    "path": Parser(_path, (b"apiops/projects/a%20b/connections/x/", b"a/../b%2fc;d")),
    "names": Parser(_names, ("Straße-ıİ".encode(), b"mrg_pat_0123456789abcdef_" + b"a" * 43 + b"_abcdef")),
    "ldap_filter": Parser(_ldap_filter, (b"(&(objectClass=person)(|(uid={0})(mail=*{0}*)))\nbob", b"(cn:dn:2.4.6:=a\\2ab)\n*)(uid=*")),
    "replies": Parser(_replies, (
        bytes.fromhex("300c02010161070a010004000400"), bytes.fromhex("3029020101040670 75626c6963a21c020101020100020100301130 0f060b2b0601060301010401000500".replace(" ", "")), bytes.fromhex("300c020103300d020101020205dc040104020103"),
    )),
    "jaas": Parser(_jaas, (b'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p\\"q";',)),
    "broker_url": Parser(_broker_url, (b"failover:(tcp://u:p@h:1?wireFormat.maxInactivityDuration=1,ssl://i:2)?randomize=false", b"amqps://h:5671?jms.username=a")),
    "pattern": Parser(_pattern, (b"%d{yyyy-MM-dd'T'HH:mm:ss.SSS, UTC} %-5level %logger{36} - %msg%n", b"logs/app-%d{yyyy-MM}.%i.log.gz")),
    "listing": Parser(_listing, (b"-rw-r--r-- 1 o g 1234 Nov 24 15:25 name\r\ndrwxr-xr-x 2 o g 0 Jan  1 2020 a -> b", b"11-24-26  03:25PM       <DIR>          name", b"type=file;size=1;modify=20260101000000; x")),
    "mailbox": Parser(_mailbox, (b'"A, B" <a.b+c@example.com>', "Ä <ä@exämple.com>".encode(), b"a@[127.0.0.1]")),
}  # fmt: skip


def is_guided() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run(seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """One round: the parser whose turn it is, in a process of its own, guided by coverage; without atheris, by chance."""
    name = sorted(PARSERS)[seed % len(PARSERS)]
    if not is_guided():
        print("parsers: atheris is not installed, so inputs are mutated by chance", flush=True)
        return by_chance(name, seed, wanted, findings, until)
    corpus = FOLDER / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, good in enumerate(PARSERS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(good)
    with tempfile.TemporaryDirectory(prefix="mooring-fuzz-") as crashes:
        done = subprocess.run(
            [sys.executable, "-m", "tools.fuzz.guided", name, str(seed), str(wanted), str(corpus), crashes],
            check=False, capture_output=True, text=True, errors="replace", timeout=300,
        )  # fmt: skip
        for crash in Path(crashes).iterdir():
            lines = [line for line in done.stderr.splitlines() if not line.startswith(("#", "INFO"))]
            findings.add(f"5xx: {name} broke", {"input": crash.read_bytes().hex(), "said": "\n".join(lines)[:4000]})
        if done.returncode and not findings.sorts:
            findings.add(f"5xx: {name} ended with {done.returncode}", {"said": done.stderr[-4000:]})
    units = _UNITS.search(done.stderr)
    return int(units[1]) if units else 1


def by_chance(name: str, seed: int, wanted: int, findings: Findings, until: Callable[[], bool]) -> int:
    """Good inputs of that parser with bytes changed, cut, repeated and exchanged."""
    draw, parser = random.Random(seed), PARSERS[name]
    known = list(parser.seeds)
    for number in range(wanted):
        if number % 64 == 0 and until():
            return number
        data = bytearray(draw.choice(known))
        for _ in range(draw.randrange(1, 5)):
            position = draw.randrange(len(data) + 1)
            match draw.randrange(5):
                case 0:
                    data[position : position + 1] = draw.randbytes(1)
                case 1:
                    del data[position : position + draw.randrange(9)]
                case 2:
                    data[position:position] = data[max(0, position - draw.randrange(1, 40)) : position] * draw.choice(
                        (1, 1, 1, 40)
                    )
                case 3:
                    data[position:position] = draw.choice(
                        (
                            b"\0",
                            b"\xff",
                            b"%",
                            b"${",
                            b"(",
                            b")",
                            b'"',
                            b"\\",
                            b";",
                            b"9" * 20,
                            b"\x80",
                            b"{",
                            b"/",
                            b"@",
                        )
                    )
                case _:
                    other = draw.choice(known)
                    data[position:] = other[draw.randrange(len(other) + 1) :]
        try:
            parser.run(bytes(data[:_LONGEST]))
        except Exception as exc:  # whatever it is, the parser did not document it
            findings.add(f"5xx: {name}: {type(exc).__name__}", {"input": bytes(data).hex()})
        if draw.random() < 0.01:
            known = [*known[-200:], bytes(data[:_LONGEST])]
    return wanted
