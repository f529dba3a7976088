"""rsyslog as Debian packages it: UDP, TCP, TLS and mutual TLS; what it got stands in one file."""

import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run
from tools.services.tail import appears, shorten

_PROGRAM = "/usr/sbin/rsyslogd"

# A message as rsyslog understood it: one JSON object on a line.
_TEMPLATE = (
    '{"host":"%hostname:::json%","facility":"%syslogfacility-text%","severity":"%syslogseverity-text%",'
    '"app":"%app-name:::json%","process":"%procid:::json%","id":"%msgid:::json%","time":"%timereported:::date-rfc3339%",'
    '"data":"%structured-data:::json%","text":"%msg:::json%","raw":"%rawmsg:::json%","input":"%inputname%"}\\n'
)

_CONFIG = """\
global(
  workDirectory="{folder}"
  maxMessageSize="256k"
  defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}"
  parser.escapeControlCharactersOnReceive="off"
)
module(load="imudp")
module(load="imptcp")
module(load="imtcp")
template(name="json" type="string" string="{template}")
ruleset(name="keep") {{
  action(type="omfile" file="{messages}" template="json" fileOwnerNum="{uid}" fileCreateMode="0644")
}}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="keep" name="udp")
input(type="imptcp" address="127.0.0.1" port="{tcp}" ruleset="keep" name="tcp")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="keep" name="tls"
      streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" address="127.0.0.1" port="{mutual_tls}" ruleset="keep" name="mutual_tls"
      streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
"""


class Rsyslog(Server):
    """
    One rsyslogd with four inputs; each line of its file says which input a message came by.

    On every TCP port it takes both framings. On `mutual_tls` it wants a certificate of the test CA.
    """

    name: ClassVar[str] = "rsyslog"
    packages: ClassVar[Mapping[str, str]] = {
        "rsyslog": _PROGRAM,
        "rsyslog-openssl": "/usr/lib/*/rsyslog/lmnsd_ossl.so",
    }

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        ports = {name: context.free_port() for name in ("udp", "tcp", "tls", "mutual_tls")}
        entry: Entry = {
            "address": f"127.0.0.1:{ports['tcp']}",
            "host": "127.0.0.1",
            **ports,
            "messages": str(folder / "messages.jsonl"),
            "version": run([_PROGRAM, "-v"]).split()[1],
            "log": str(context.log(self.name)),
        }
        issued = context.certificates
        config = _CONFIG.format(
            folder=folder,
            ca=context.write(folder / "ca.pem", issued.ca.read_bytes()),
            certificate=context.write(folder / "server.pem", issued.server.read_bytes()),
            key=context.write(folder / "server-key.pem", issued.server_key.read_bytes()),
            template=_TEMPLATE.replace("\\", "\\\\").replace('"', '\\"').replace("\\\\n", "\\n"),
            messages=entry["messages"],
            uid=os.geteuid(),
            **ports,
        )
        path = context.write(folder / "rsyslog.conf", config)
        # -n: in the foreground; -C: without changing to /.
        context.spawn(self.name, [_PROGRAM, "-n", "-C", "-f", str(path), "-i", str(folder / "pid")])
        return entry

    def ask(self, entry: Entry) -> None:
        """Send a message and look for it in the file; shake hands on the ports with TLS."""
        mark = secrets.token_hex(8)
        try:
            with socket.create_connection((entry["host"], entry["tcp"]), timeout=5) as plain:
                plain.sendall(f"<13>Jan  1 00:00:00 services ready: {mark}\n".encode())
            for name in ("tls", "mutual_tls"):
                with socket.create_connection((entry["host"], entry[name]), timeout=5) as raw:
                    ssl._create_unverified_context().wrap_socket(raw).close()
        except OSError as exc:
            raise NotReady(f"syslog: {exc}") from exc
        if not appears(Path(entry["messages"]), mark):
            raise NotReady("a message that it took does not stand in its file")

    def prepare(self, entry: Entry) -> None:
        shorten(Path(entry["messages"]))


SERVER = Rsyslog()
