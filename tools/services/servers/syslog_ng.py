"""syslog-ng as Debian packages it, unpacked without being installed: its package and rsyslog's exclude each other."""

import os
import secrets
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run
from tools.services.tail import appears, shorten

_PACKAGE = "syslog-ng-core"

_CONFIG = """\
@version: {version}
options {{ keep-hostname(yes); chain-hostnames(no); use-dns(no); stats-freq(0); log-msg-size(262144); flush-lines(1); }};
source s_udp {{ network(ip("127.0.0.1") port({udp}) transport("udp") tags("udp")); }};
source s_lines {{ network(ip("127.0.0.1") port({lines}) transport("tcp") flags(syslog-protocol) tags("lines")); }};
source s_tcp {{ syslog(ip("127.0.0.1") port({tcp}) transport("tcp") tags("tcp")); }};
source s_tls {{ syslog(ip("127.0.0.1") port({tls}) transport("tls") tags("tls")
  tls(cert-file("{certificate}") key-file("{key}") peer-verify(optional-untrusted))); }};
destination d_file {{ file("{messages}" perm(0644) template("$(format-json
  host=$HOST facility=$FACILITY severity=$LEVEL app=$PROGRAM process=$PID id=$MSGID time=$S_ISODATE
  data=$SDATA text=$MSG input=$TAGS)\\n")); }};
log {{ source(s_udp); source(s_lines); source(s_tcp); source(s_tls); destination(d_file); }};
"""


class SyslogNg(Server):
    """
    A second reader of what we write. `tcp` and `tls` are octet-counted RFC 5424; `lines` is RFC 5424 ended by
    newlines; `udp` takes either format.
    """

    name: ClassVar[str] = "syslog_ng"
    packages: ClassVar[Mapping[str, str]] = {
        "libivykis0": "/usr/lib/*/libivykis.so.0",
        "libnet1": "/usr/lib/*/libnet.so.1",
        "libpcre3": "/usr/lib/*/libpcre.so.3",
    }

    def install(self) -> None:
        folder = _folder()
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            # The download is ours to make: the user that apt would take for it may not write here.
            run(
                ["sh", "-c", f"cd '{work}' && apt-get -qq -o APT::Sandbox::User=root download {_PACKAGE}"],
                timeout_s=120,
            )
            package = next(Path(work).glob("*.deb"))
            run(["dpkg", "-x", str(package), f"{work}/root"])
            Path(work, "root").replace(folder)

    def start(self, context: Context) -> Entry:
        program, modules = _folder() / "usr/sbin/syslog-ng", _modules()
        libraries = _folder() / "usr/lib/syslog-ng"
        environment = {"LD_LIBRARY_PATH": f"{libraries}:{modules}"}
        folder = context.new_folder(self.name)
        ports = {name: context.free_port() for name in ("udp", "lines", "tcp", "tls")}
        version = run([str(program), "--version"], environment={**os.environ, **environment})
        entry: Entry = {
            "address": f"127.0.0.1:{ports['tcp']}",
            "host": "127.0.0.1",
            **ports,
            "messages": str(folder / "messages.jsonl"),
            "version": version.partition("(")[2].partition(")")[0],
            "log": str(context.log(self.name)),
        }
        issued = context.certificates
        config = _CONFIG.format(
            version=".".join(entry["version"].split(".")[:2]),
            certificate=context.write(folder / "server.pem", issued.server.read_bytes()),
            key=context.write(folder / "server-key.pem", issued.server_key.read_bytes()),
            messages=entry["messages"],
            **ports,
        ).replace("\n  host=", " host=").replace("\n  data=", " data=")  # fmt: skip
        path = context.write(folder / "syslog-ng.conf", config)
        # -F: in the foreground, with all its files in our folder.
        command = [
            str(program), "-F", "--no-caps", "-f", str(path), "-R", str(folder / "persist"), "-p", str(folder / "pid"),
            "-c", str(folder / "control"), f"--module-path={modules}",
        ]  # fmt: skip
        context.spawn(self.name, command, environment=environment)
        return entry

    def ask(self, entry: Entry) -> None:
        """Send a message and look for it in the file; shake hands on the port with TLS."""
        mark = secrets.token_hex(8)
        try:
            with socket.create_connection((entry["host"], entry["tcp"]), timeout=5) as plain:
                message = f"<13>1 - services ready - - - {mark}".encode()
                plain.sendall(b"%d %s" % (len(message), message))
            with socket.create_connection((entry["host"], entry["tls"]), timeout=5) as raw:
                ssl._create_unverified_context().wrap_socket(raw).close()
        except OSError as exc:
            raise NotReady(f"syslog: {exc}") from exc
        if not appears(Path(entry["messages"]), mark):
            raise NotReady("a message that it took does not stand in its file")

    def prepare(self, entry: Entry) -> None:
        shorten(Path(entry["messages"]))


def _folder() -> Path:
    """Where the package is unpacked; there only when complete, and shared by all checkouts."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / _PACKAGE


def _modules() -> Path:
    found = find_program(f"{_folder()}/usr/lib/syslog-ng/[0-9]*")
    if found is None:
        raise NotReady("syslog-ng was not unpacked")
    return Path(found)


SERVER = SyslogNg()
