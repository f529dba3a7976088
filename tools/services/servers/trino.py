"""Trino: a coordinator that works alone, with tables in memory; plain without passwords, TLS with them."""

import hashlib
import json
import os
import secrets
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from tools.services import jre
from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_VERSION = "476"
_OLDEST_JAVA = 24
_PARTS = ("lib/", "plugin/memory/", "plugin/tpch/", "plugin/password-authenticators/")
"""What is kept of the distribution: 120 MB of 820."""

_CONFIG = """\
node.environment=tests
node.id=tests
node.internal-address=127.0.0.1
node.bind-ip=127.0.0.1
plugin.dir={home}/plugin
coordinator=true
node-scheduler.include-coordinator=true
discovery.uri=http://127.0.0.1:{plain}
catalog.config-dir={folder}/catalog
web-ui.enabled=false
http-server.http.port={plain}
http-server.https.enabled=true
http-server.https.port={tls}
http-server.https.keystore.path={keystore}
http-server.authentication.type=PASSWORD
http-server.authentication.allow-insecure-over-http=true
password-authenticator.config-files={folder}/passwords.properties
internal-communication.shared-secret={shared}
query.max-memory=64MB
query.max-memory-per-node=48MB
memory.heap-headroom-per-node=64MB
query.max-execution-time=5m
log.path={folder}/trino.log
log.console-format=text
"""


class Trino(Server):
    """One user with a password; catalogs `memory` (with schema `default`) and `tpch`. 600 to 900 MB, ready in 13 s."""

    name: ClassVar[str] = "trino"
    optional: ClassVar[bool] = True
    ready_within_s: ClassVar[float] = 90

    def missing_packages(self) -> list[str]:
        return [] if _home().exists() or find_program("mvn") else ["maven"]

    def install(self) -> None:
        if jre.find(_OLDEST_JAVA) is None:
            # The one that PyPI carries is cut down too far for it.
            raise NotReady(f"Trino {_VERSION} needs Java {_OLDEST_JAVA} or later, and there is none")
        home = _home()
        if home.exists():
            return
        home.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching Trino {_VERSION} with Maven (820 MB)", flush=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as work:
            for artifact in (f"trino-server:{_VERSION}:tar.gz", f"trino-cli:{_VERSION}:jar:executable"):
                command = [
                    "mvn", "-q", "-B", "-Dstyle.color=never",
                    "org.apache.maven.plugins:maven-dependency-plugin:copy",
                    f"-Dartifact=io.trino:{artifact}", f"-DoutputDirectory={work}",
                ]  # fmt: skip
                try:
                    run(command, timeout_s=400)
                except NotReady:
                    run(command, timeout_s=400)
            _unpack(Path(work, f"trino-server-{_VERSION}.tar.gz"), Path(work, "home"))
            Path(work, f"trino-cli-{_VERSION}-executable.jar").replace(Path(work, "home", "cli.jar"))
            Path(work, "home").replace(home)

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        java_home = jre.find(_OLDEST_JAVA)
        if java_home is None:
            raise NotReady(f"Trino {_VERSION} needs Java {_OLDEST_JAVA} or later, and there is none")
        java = str(java_home / "bin" / "java")
        plain, tls = context.free_port(), context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{plain}",
            "host": "127.0.0.1",
            "port": plain,
            "tls_port": tls,
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "catalog": "memory",
            "schema": "default",
            "java": java,
            "cli": str(_home() / "cli.jar"),
            "version": _VERSION,
            "log": str(context.log(self.name)),
        }
        self._configure(context, folder, entry)
        context.spawn(self.name, [
            java, "-Xms64m", "-Xmx640m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow", "-Djdk.attach.allowAttachSelf=true",
            f"-Dconfig={folder}/config.properties", "-cp", f"{_home()}/lib/*", "io.trino.server.TrinoServer",
        ])  # fmt: skip
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            state = _get(f"http://{entry['address']}/v1/info")
            if state.get("starting"):
                raise NotReady("it is still starting")
            rows = _query(entry, "select count(*) from tpch.tiny.region")
        except (OSError, ValueError) as exc:
            raise NotReady(f"a query: {exc}") from exc
        if rows != [[5]]:
            raise NotReady(f"a query answered {rows}")

    def _configure(self, context: Context, folder: Path, entry: Entry) -> None:
        issued = context.certificates
        keystore = context.write(
            folder / "keystore.pem", issued.server_rsa_key.read_bytes() + issued.server_rsa.read_bytes()
        )
        (folder / "catalog").mkdir()
        context.write(
            folder / "catalog" / "memory.properties", "connector.name=memory\nmemory.max-data-per-node=48MB\n"
        )
        context.write(folder / "catalog" / "tpch.properties", "connector.name=tpch\ntpch.splits-per-node=1\n")
        passwords = context.write(folder / "passwords", f"{entry['user']}:{_hashed(entry['password'])}\n")
        context.write(
            folder / "passwords.properties",
            f"password-authenticator.name=file\nfile.password-file={passwords}\n",
        )
        config = _CONFIG.format(
            folder=folder, home=_home(), plain=entry["port"], tls=entry["tls_port"], keystore=keystore,
            shared=secrets.token_hex(16),
        )  # fmt: skip
        context.write(folder / "config.properties", config)


def _hashed(password: str) -> str:
    """In the form that Trino's file of passwords takes beside bcrypt's."""
    rounds, salt = 1000, secrets.token_bytes(16)
    return f"{rounds}:{salt.hex()}:{hashlib.pbkdf2_hmac('sha1', password.encode(), salt, rounds).hex()}"


def _unpack(archive: Path, home: Path) -> None:
    whole = home.with_name("whole")
    with tarfile.open(archive, "r|gz") as packed:
        for member in packed:
            # Under their own names, which links among them refer to.
            if member.name.partition("/")[2].startswith(_PARTS):
                packed.extract(member, whole, filter="data")
    (whole / f"trino-server-{_VERSION}").replace(home)


def _home() -> Path:
    """The unpacked distribution; there only when complete, and shared by all checkouts."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / f"trino-{_VERSION}"


def _query(entry: Entry, sql: str) -> list[list[object]]:
    answer = _get(f"http://{entry['address']}/v1/statement", sql.encode(), entry["user"])
    rows: list[list[object]] = []
    while True:
        rows += answer.get("data", [])
        if "error" in answer:
            raise NotReady(f"a query: {answer['error'].get('message')}")
        if "nextUri" not in answer:
            return rows
        answer = _get(answer["nextUri"], user=entry["user"])


def _get(url: str, data: bytes | None = None, user: str = "services") -> dict[str, object]:
    request = urllib.request.Request(url, data, {"X-Trino-User": user})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as response:
        answer: dict[str, object] = json.load(response)
    return answer


SERVER = Trino()
