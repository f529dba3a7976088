"""HiveServer2 as Spark carries it: binary and plain, and HTTP over TLS, both with a password."""

import hashlib
import os
import secrets
import shutil
import socket
import tarfile
import tempfile
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificate

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_VERSION = "4.3.0"
_MODULES = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action",
    "sun.util.calendar",
)  # fmt: skip
"""What Spark's own start script opens to it."""

_LOGIN = """\
import javax.security.sasl.AuthenticationException;
import org.apache.hive.service.auth.PasswdAuthenticationProvider;

public class OneUser implements PasswdAuthenticationProvider {
    public void Authenticate(String user, String password) throws AuthenticationException {
        if (!user.equals(System.getenv("HIVE_USER")) || !password.equals(System.getenv("HIVE_PASSWORD"))) {
            throw new AuthenticationException("Error validating the login");
        }
    }
}
"""


class Hive(Server):
    """Two servers on tables of their own. 456 MB to fetch once, 250 to 600 MB each, ready in 12 s: started by name only."""

    name: ClassVar[str] = "hive"
    optional: ClassVar[bool] = True
    ready_within_s: ClassVar[float] = 120

    def missing_packages(self) -> list[str]:
        return [] if find_program("javac") and find_program("java") else ["default-jdk-headless"]

    def install(self) -> None:
        home = _home()
        if home.exists():
            return
        home.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching Spark {_VERSION} from PyPI (456 MB)", flush=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as work:
            run(["uv", "venv", "-q", "--seed", f"{work}/venv"] if shutil.which("uv") else
                ["python3", "-m", "venv", f"{work}/venv"], timeout_s=120)  # fmt: skip
            python = f"{work}/venv/bin/python"
            run([python, "-m", "pip", "-q", "install", "setuptools", "wheel"], timeout_s=120)
            run([python, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation",
                 "-d", work, f"pyspark=={_VERSION}"], timeout_s=500)  # fmt: skip
            jars = f"pyspark-{_VERSION}/deps/jars"
            with tarfile.open(Path(work, f"pyspark-{_VERSION}.tar.gz"), "r|gz") as packed:
                for member in packed:
                    if member.name.startswith(jars):
                        packed.extract(member, work, filter="data")
            source = Path(work, "OneUser.java")
            source.write_text(_LOGIN)
            run(["javac", "-cp", f"{work}/{jars}/*", "-d", f"{work}/{jars}/..", str(source)], timeout_s=120)
            Path(work, jars).parent.replace(home)

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        java = find_program("java")
        if java is None:
            raise NotReady("there is no Java")
        plain, tls = context.free_port(), context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{plain}",
            "host": "127.0.0.1",
            "port": plain,
            "https_port": tls,
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "tables": str(folder / "tables"),
            "java": java,
            "classpath": f"{_home()}:{_home()}/jars/*",
            "version": f"Spark {_VERSION}",
            "log": str(context.log(self.name)),
        }
        (folder / "tables").mkdir()
        keystore, word = self._keystore(context, folder)
        self._spawn(context, folder, entry, "plain", {"hive.server2.thrift.port": plain})
        self._spawn(context, folder, entry, "https", {
            "hive.server2.transport.mode": "http",
            "hive.server2.thrift.http.port": tls,
            "hive.server2.use.SSL": "true",
            "hive.server2.keystore.path": keystore,
            "hive.server2.keystore.password": word,
        })  # fmt: skip
        return entry

    def _spawn(self, context: Context, folder: Path, entry: Entry, label: str, settings: dict[str, object]) -> None:
        work = folder / label
        work.mkdir()
        settings |= {
            "hive.server2.thrift.bind.host": "127.0.0.1",
            "hive.server2.authentication": "CUSTOM",
            "hive.server2.custom.authentication.class": "OneUser",
        }
        spark = {
            "spark.ui.enabled": "false",
            "spark.sql.catalogImplementation": "in-memory",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.warehouse.dir": work / "warehouse",
            "spark.sql.shuffle.partitions": "1",
            "spark.driver.extraClassPath": entry["classpath"],
        }
        context.spawn(self.name, [
            entry["java"], "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={work}", "--add-modules=jdk.incubator.vector",
            *(f"--add-opens=java.base/{module}=ALL-UNNAMED" for module in _MODULES),
            "-cp", entry["classpath"], "org.apache.spark.deploy.SparkSubmit", "--master", "local[1]",
            *(part for name, value in spark.items() for part in ("--conf", f"{name}={value}")),
            "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "spark-internal",
            *(part for name, value in settings.items() for part in ("--hiveconf", f"{name}={value}")),
        ], label=label, environment={
            "SPARK_HOME": str(_home()), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(work),
            "HIVE_USER": entry["user"], "HIVE_PASSWORD": entry["password"],
        })  # fmt: skip

    def ask(self, entry: Entry) -> None:
        for port in (entry["port"], entry["https_port"]):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError as exc:
                raise NotReady(f"port {port}: {exc}") from exc

    def _keystore(self, context: Context, folder: Path) -> tuple[Path, str]:
        issued, word = context.certificates, secrets.token_hex(12)
        key = load_pem_private_key(issued.server_rsa_key.read_bytes(), None)
        certificate = load_pem_x509_certificate(issued.server_rsa.read_bytes())
        packed = pkcs12.serialize_key_and_certificates(
            b"server",
            key,
            certificate,
            None,
            BestAvailableEncryption(word.encode()),  # type: ignore[arg-type]
        )
        return context.write(folder / "keystore.p12", packed), word


def _home() -> Path:
    """Spark's jars and the class that looks at passwords; there only when complete, and shared by all checkouts."""
    digest = hashlib.sha256(_LOGIN.encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / f"spark-{_VERSION}-{digest}"


SERVER = Hive()
