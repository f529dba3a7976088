"""
Graylog's own GELF inputs from Maven Central, without the rest of Graylog, which needs MongoDB and OpenSearch.

Transports, TLS, chunk aggregation and the GELF decoder are those of the server's jar; `GelfInputs.java` starts
them, and writes each decoded message to a file as a line of JSON.
"""

import json
import secrets
import socket
import ssl
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.maven import Jars, find_java_with_compiler
from tools.services.server import Entry, NotReady, Server
from tools.services.tail import appears, shorten

_VERSION = "6.1.4"
_PROGRAM = Path(__file__).parents[1] / "java" / "GelfInputs.java"

# What the published description of graylog2-server leaves out, as far as its inputs use it.
_JARS = Jars(
    "graylog-inputs",
    (
        f"org.graylog2:graylog2-server:{_VERSION}",
        "org.graylog:jadconfig:0.15.0",
        "org.graylog2.repackaged:uuid:3.2.1",
        "com.fasterxml.jackson.core:jackson-databind:2.17.2",
        "com.fasterxml.jackson.datatype:jackson-datatype-joda:2.17.2",
        "com.google.guava:guava:33.3.1-jre",
        "com.google.inject:guice:7.0.0",
        "com.google.inject.extensions:guice-assistedinject:7.0.0",
        "com.google.protobuf:protobuf-java:3.25.5",
        "com.swrve:rate-limited-logger:2.0.2",
        "de.huxhorn.sulky:de.huxhorn.sulky.ulid:8.3.0",
        "io.dropwizard.metrics:metrics-core:4.2.28",
        "io.netty:netty-codec:4.1.114.Final",
        "io.netty:netty-handler:4.1.114.Final",
        "io.netty:netty-transport-native-epoll:4.1.114.Final",
        "jakarta.inject:jakarta.inject-api:2.0.1",
        "joda-time:joda-time:2.13.0",
        "org.apache.commons:commons-lang3:3.17.0",
        "org.bouncycastle:bcpkix-jdk18on:1.78.1",
    ),
)


class Graylog(Server):
    """GELF over UDP, TCP, TLS, and TLS that wants a certificate of the test CA."""

    name: ClassVar[str] = "graylog"
    ready_within_s: ClassVar[float] = 60

    def missing_packages(self) -> list[str]:
        return _JARS.missing_packages()

    def install(self) -> None:
        _JARS.fetch()

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        ports = {name: context.free_port() for name in ("udp", "tcp", "tls", "mutual_tls")}
        java = find_java_with_compiler()
        if java is None:
            raise NotReady("there is no Java with a compiler")
        entry: Entry = {
            "address": f"127.0.0.1:{ports['tcp']}",
            "host": "127.0.0.1",
            **ports,
            "messages": str(folder / "messages.jsonl"),
            "version": _VERSION,
            "log": str(context.log(self.name)),
        }
        issued = context.certificates
        context.write(folder / "server.pem", issued.server_rsa.read_bytes())
        context.write(folder / "server-key.pem", issued.server_rsa_key.read_bytes())
        context.write(folder / "ca.pem", issued.ca.read_bytes())
        command = [java, "-Xms24m", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", _JARS.classpath]
        context.spawn(
            self.name,
            [*command, str(_PROGRAM), entry["messages"], str(folder), *(str(port) for port in ports.values())],
        )
        return entry

    def ask(self, entry: Entry) -> None:
        """Send a message over each of the ports that are open to everybody, and look for them in the file."""
        mark = secrets.token_hex(4)
        try:
            for name in ("udp", "tcp", "tls"):
                _send(entry, name, f"ready {mark} {name}")
        except OSError as exc:
            raise NotReady(f"GELF: {exc}") from exc
        file = Path(entry["messages"])
        if all(appears(file, f"ready {mark} {name}") for name in ("udp", "tcp", "tls")):
            return
        raise NotReady("messages that it took do not stand in its file")

    def prepare(self, entry: Entry) -> None:
        shorten(Path(entry["messages"]))


def _send(entry: Entry, name: str, text: str) -> None:
    message = json.dumps({"version": "1.1", "host": "services", "short_message": text}).encode()
    address = (entry["host"], entry[name])
    if name == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(message, address)
        return
    with socket.create_connection(address, timeout=5) as sock:
        if name == "tls":
            sock = ssl._create_unverified_context().wrap_socket(sock)
        sock.sendall(message + b"\0")
        sock.close()


SERVER = Graylog()
