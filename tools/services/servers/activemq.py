"""Apache ActiveMQ as Debian packages it: OpenWire and STOMP; AMQP 1.0 by a module of the same version from Maven Central."""

import hashlib
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_HOME = "/usr/share/activemq"
_MAIN = "org.apache.activemq.console.Main"

# Debian builds ActiveMQ without its AMQP module. All that the module needs besides, Debian has, but for proton-j.
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mooring.services</groupId>
  <artifactId>activemq</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.activemq</groupId>
      <artifactId>activemq-amqp</artifactId>
      <version>{version}</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.activemq</groupId>
          <artifactId>activemq-broker</artifactId>
        </exclusion>
        <exclusion>
          <groupId>org.slf4j</groupId>
          <artifactId>slf4j-api</artifactId>
        </exclusion>
        <exclusion>
          <groupId>org.fusesource.hawtbuf</groupId>
          <artifactId>hawtbuf</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
  </dependencies>
</project>
"""

_CONFIG = """\
<beans xmlns="http://www.springframework.org/schema/beans"
       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
       xsi:schemaLocation="http://www.springframework.org/schema/beans
         http://www.springframework.org/schema/beans/spring-beans.xsd
         http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="mooring" persistent="false" useJmx="false"
          schedulerSupport="false" useShutdownHook="true" dataDirectory="{folder}/data"
          schedulePeriodForDestinationPurge="1000">
    <!-- A queue holds on to its last message even when that was acknowledged, and every test has a queue of its own. -->
    <destinationPolicy>
      <policyMap>
        <policyEntries>
          <policyEntry queue="&gt;" gcInactiveDestinations="true" inactiveTimeoutBeforeGC="3000" />
          <policyEntry topic="&gt;" gcInactiveDestinations="true" inactiveTimeoutBeforeGC="3000" />
        </policyEntries>
      </policyMap>
    </destinationPolicy>
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="true" anonymousUser="anonymous" anonymousGroup="anyone">
        <users>
          <authenticationUser username="{user}" password="{password}" groups="everything" />
          <authenticationUser username="{onlooker}" password="{onlooker_password}" groups="nothing" />
        </users>
      </simpleAuthenticationPlugin>
      <authorizationPlugin>
        <map>
          <authorizationMap>
            <authorizationEntries>
              <authorizationEntry queue="&gt;" read="everything" write="everything" admin="everything" />
              <authorizationEntry topic="&gt;" read="everything" write="everything" admin="everything" />
              <authorizationEntry queue="open.&gt;" read="everything,anyone" write="everything,anyone"
                                  admin="everything,anyone" />
              <authorizationEntry topic="ActiveMQ.Advisory.&gt;" read="everything,anyone,nothing"
                                  write="everything,anyone,nothing" admin="everything,anyone,nothing" />
            </authorizationEntries>
          </authorizationMap>
        </map>
      </authorizationPlugin>
    </plugins>
    <sslContext>
      <sslContext keyStore="file:{keystore}" keyStorePassword="{store_password}" keyStoreType="PKCS12"
                  trustStore="file:{truststore}" trustStorePassword="{store_password}" trustStoreType="PKCS12" />
    </sslContext>
    <transportConnectors>
      <transportConnector name="openwire" uri="tcp://127.0.0.1:{port}" />
      <transportConnector name="ssl" uri="ssl://127.0.0.1:{tls_port}" />
      <transportConnector name="mutual" uri="ssl://127.0.0.1:{mutual_port}?needClientAuth=true" />
      <transportConnector name="amqp" uri="amqp://127.0.0.1:{amqp_port}?transport.transformer=jms" />
      <transportConnector name="amqp-native" uri="amqp://127.0.0.1:{amqp_native_port}" />
      <transportConnector name="amqps" uri="amqp+ssl://127.0.0.1:{amqps_port}?transport.transformer=jms" />
      <transportConnector name="amqps-mutual"
                          uri="amqp+ssl://127.0.0.1:{amqps_mutual_port}?transport.transformer=jms&amp;transport.needClientAuth=true" />
      <transportConnector name="stomp" uri="stomp://127.0.0.1:{stomp_port}" />
    </transportConnectors>
  </broker>
</beans>
"""

_LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n
"""

_PORTS = (
    "port", "tls_port", "mutual_port", "amqp_port", "amqp_native_port", "amqps_port", "amqps_mutual_port", "stomp_port",
)  # fmt: skip


class ActiveMQ(Server):
    """
    One broker that keeps all messages in memory, with a user who may do anything, one who may do nothing, and nobody.

    Who gives no login may use queues whose names begin with `open.`.
    """

    name: ClassVar[str] = "activemq"
    packages: ClassVar = {"activemq": f"{_HOME}/lib/activemq-broker.jar", "default-jre-headless": "java"}

    def missing_packages(self) -> list[str]:
        missing = super().missing_packages()
        if find_program("mvn") is None and not (_is_installed() and _jars(_version()).exists()):
            missing.append("maven")
        return missing

    def install(self) -> None:
        version = _version()
        jars = _jars(version)
        if jars.exists():
            return
        jars.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching the AMQP module of ActiveMQ {version} with Maven", flush=True)
        with tempfile.TemporaryDirectory(dir=jars.parent) as work:
            Path(work, "pom.xml").write_text(_POM.format(version=version))
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
        ports = {name: context.free_port() for name in _PORTS}
        entry: Entry = {
            "address": f"127.0.0.1:{ports['port']}",
            "host": "127.0.0.1",
            **ports,
            # Others read what comes by `amqp_native_port` as the bytes that it is; by the other ports, as JMS has it.
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            # Logs in, and may neither write nor read anything.
            "onlooker": "onlooker",
            "onlooker_password": secrets.token_urlsafe(12),
            "version": _version(),
            "log": str(context.log(self.name)),
        }
        config = self._configure(context, folder, entry)
        context.write(folder / "log4j.properties", _LOGGING)
        classpath = [str(folder), f"{_HOME}/lib/*", f"{_HOME}/lib/optional/*", f"{_jars(entry['version'])}/*"]
        command = [
            "java", "-Xms48m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={folder}", f"-Dactivemq.home={_HOME}",
            *(f"-Dactivemq.{name}={folder}" for name in ("base", "conf", "data")),
            "-cp", ":".join(classpath), _MAIN, "start", f"xbean:file:{config}",
        ]  # fmt: skip
        context.spawn(self.name, command)
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            with socket.create_connection((entry["host"], entry["port"]), timeout=5) as openwire:
                if b"ActiveMQ" not in openwire.recv(64):
                    raise NotReady("it does not greet as ActiveMQ does")
            with socket.create_connection((entry["host"], entry["amqp_port"]), timeout=5) as amqp:
                amqp.sendall(b"AMQP\x03\x01\x00\x00")
                if not amqp.recv(64).startswith(b"AMQP"):
                    raise NotReady("it does not speak AMQP")
            # The last of its doors to open.
            with socket.create_connection((entry["host"], entry["stomp_port"]), timeout=5) as stomp:
                login = f"login:{entry['user']}\npasscode:{entry['password']}"
                stomp.sendall(f"CONNECT\naccept-version:1.2\nhost:mooring\n{login}\n\n\0".encode())
                if not stomp.recv(64).startswith(b"CONNECTED"):
                    raise NotReady("it does not let its user in")
        except OSError as exc:
            raise NotReady(f"{exc}") from exc

    def _configure(self, context: Context, folder: Path, entry: Entry) -> Path:
        issued = context.certificates
        word = secrets.token_urlsafe(12)
        chain = load_pem_x509_certificates(issued.server_rsa.read_bytes())
        key = load_pem_private_key(issued.server_rsa_key.read_bytes(), None)
        encryption = BestAvailableEncryption(word.encode())
        keystore = pkcs12.serialize_key_and_certificates(b"server", key, chain[0], chain[1:], encryption)  # type: ignore[arg-type]
        authority = load_pem_x509_certificate(issued.ca.read_bytes())
        truststore = pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(authority, b"ca")], encryption)
        config = _CONFIG.format(
            folder=folder,
            keystore=context.write(folder / "server.p12", keystore),
            truststore=context.write(folder / "trusted.p12", truststore),
            store_password=word,
            **entry,
        )
        return context.write(folder / "activemq.xml", config)


def _is_installed() -> bool:
    return Path(_HOME, "lib", "activemq-broker.jar").exists()


def _version() -> str:
    """The version of Debian's broker as its makers count."""
    return run(["dpkg-query", "-W", "-f", "${Version}", "activemq"]).partition("+")[0].partition("-")[0]


def _jars(version: str) -> Path:
    """The folder of what Maven brings; there only when complete, and shared by all checkouts."""
    digest = hashlib.sha256(_POM.encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / f"activemq-{version}-{digest}"


SERVER = ActiveMQ()
