"""Apache Kafka from Maven Central: one KRaft node with plain, TLS and SASL listeners."""

import hashlib
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_VERSION = "4.3.1"

# `kafka-tools` brings the console programs; without what it needs for Kafka
# Connect they run all the same and half of the downloads fall away.
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mooring.services</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>{_VERSION}</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.kafka</groupId>
          <artifactId>connect-runtime</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""

_OLDEST_JAVA = 17

_MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"

_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
WRONG_NAME:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL

ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.ssl.ssl.client.auth=requested
listener.name.wrong_name.ssl.keystore.type=PEM
listener.name.wrong_name.ssl.keystore.location={wrong_name_keystore}

{sasl}
# Whom no rule forbids anything may do it, so that a test can forbid one thing.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true

log.dirs={data}
auto.create.topics.enable=true
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
# Its default, 128 MB, would not leave much of a small heap.
log.cleaner.dedupe.buffer.size=4194304
controlled.shutdown.enable=false
"""

_SASL_LISTENER = """\
listener.name.{listener}.sasl.enabled.mechanisms={mechanisms}
listener.name.{listener}.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.{listener}.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""

_LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


class Kafka(Server):
    """
    One broker that is its own controller, reached by five listeners.

    Its users know PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 with the same
    password; those of SCRAM can be changed at run time with Kafka's own API.
    """

    name: ClassVar[str] = "kafka"
    ready_within_s: ClassVar[float] = 90

    def missing_packages(self) -> list[str]:
        missing = []
        if _find_java() is None:
            missing.append("default-jre-headless")
        if not _jars().exists() and find_program("mvn") is None:
            missing.append("maven")
        return missing

    def install(self) -> None:
        jars = _jars()
        if jars.exists():
            return
        jars.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching Kafka {_VERSION} with Maven", flush=True)
        with tempfile.TemporaryDirectory(dir=jars.parent) as work:
            Path(work, "pom.xml").write_text(_POM)
            command = [
                "mvn", "-q", "-B", "-Dstyle.color=never", "-f", f"{work}/pom.xml",
                "dependency:copy-dependencies", f"-DoutputDirectory={work}/jars",
            ]  # fmt: skip
            try:
                run(command, timeout_s=300)
            except NotReady:
                run(command, timeout_s=300)
            Path(work, "jars").replace(jars)

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        listeners = {
            name: f"127.0.0.1:{context.free_port()}"
            for name in ("plaintext", "ssl", "wrong_name", "sasl_plaintext", "sasl_ssl")
        }
        java = _find_java()
        if java is None:
            raise NotReady(f"Kafka needs Java {_OLDEST_JAVA} or later, and there is none")
        entry: Entry = {
            "address": listeners["plaintext"],
            **listeners,
            "users": {name: secrets.token_urlsafe(12) for name in ("mooring", "second")},
            "mechanisms": _MECHANISMS.split(","),
            "java": java,
            "classpath": f"{_jars()}/*",
            "console_consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "version": _VERSION,
            "log": str(context.log(self.name)),
        }
        config = self._configure(context, folder, entry)
        logging = context.write(folder / "log4j2.properties", _LOGGING)
        command = [java, "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                   f"-Dlog4j2.configurationFile={logging}", "-cp", entry["classpath"]]  # fmt: skip
        scram = [
            f"{mechanism}=[name={user},password={password},iterations=4096]"
            for mechanism in entry["mechanisms"] if mechanism.startswith("SCRAM")
            for user, password in entry["users"].items()
        ]  # fmt: skip
        context.run(
            self.name,
            [*command, "kafka.tools.StorageTool", "format", "--config", str(config),
             "--cluster-id", _cluster_id(), *(f"--add-scram={rule}" for rule in scram)],
        )  # fmt: skip
        context.spawn(self.name, [*command, "kafka.Kafka", str(config)])
        return entry

    def ask(self, entry: Entry) -> None:
        host, _, port = entry["plaintext"].partition(":")
        try:
            brokers = _brokers(host, int(port))
        except (OSError, struct.error) as exc:
            raise NotReady(f"metadata request: {exc}") from exc
        if (host, int(port)) not in brokers:
            raise NotReady(f"it names {brokers or 'nobody'} as its brokers")

    def _configure(self, context: Context, folder: Path, entry: Entry) -> Path:
        issued = context.certificates
        keystore = issued.server_key.read_bytes() + issued.server.read_bytes()
        wrong_name = issued.wrong_name_key.read_bytes() + issued.wrong_name.read_bytes()
        users = " ".join(f'user_{name}="{word}"' for name, word in entry["users"].items())
        config = _CONFIG.format(
            controller=context.free_port(),
            listeners=",".join(
                f"{name.upper()}://{entry[name]}"
                for name in ("plaintext", "ssl", "wrong_name", "sasl_plaintext", "sasl_ssl")
            ),
            keystore=context.write(folder / "keystore.pem", keystore),
            wrong_name_keystore=context.write(folder / "wrong-name-keystore.pem", wrong_name),
            ca=context.write(folder / "ca.pem", issued.ca.read_bytes()),
            sasl="".join(
                _SASL_LISTENER.format(listener=listener, mechanisms=_MECHANISMS, users=users)
                for listener in ("sasl_plaintext", "sasl_ssl")
            ),
            data=folder / "data",
        )
        return context.write(folder / "server.properties", config)


def _jars() -> Path:
    """The folder of Kafka's jars; there only when complete, and shared by all checkouts."""
    digest = hashlib.sha256(_POM.encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / f"kafka-{_VERSION}-{digest}"


def _find_java() -> str | None:
    """A Java that is new enough: the one on the path, or the newest of Debian's."""
    for candidate in (shutil.which("java"), find_program("/usr/lib/jvm/*/bin/java")):
        if candidate is not None and _java_version(candidate) >= _OLDEST_JAVA:
            return candidate
    return None


def _java_version(java: str) -> int:
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    number = printed.partition('"')[2].partition('"')[0]
    return int(number.split(".")[0]) if number[:1].isdigit() else 0


def _cluster_id() -> str:
    """A random id in Kafka's own form; one may not begin with a dash."""
    while (cluster_id := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return cluster_id


def _brokers(host: str, port: int) -> list[tuple[str, int]]:
    """
    Which brokers the cluster says are at work, by a Metadata request (version 0).

    An open port alone does not tell: the broker opens it before it takes part.
    """
    client, named_topics = b"services", 0
    header = struct.pack(">hhih", 3, 0, 1, len(client)) + client
    request = header + struct.pack(">i", named_topics)
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            _size, _correlation, count = struct.unpack(">iii", answer.read(12))
            brokers = []
            for _ in range(count):
                _node, length = struct.unpack(">ih", answer.read(6))
                name = answer.read(length).decode()
                brokers.append((name, *struct.unpack(">i", answer.read(4))))
    return brokers


SERVER = Kafka()
