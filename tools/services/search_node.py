"""
Nodes of Elasticsearch and OpenSearch: the zip of Maven Central, run as one node of its own cluster.

It is the distribution that its makers test plugins with: the server with its HTTP transport and, for Elasticsearch,
the security module. Index lifecycle management is not in it.
"""

import base64
import hashlib
import os
import secrets
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from tools.services import jre
from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

# Such a node refuses to run as root.
OWNER = "nobody"

JVM_OPTIONS = """\
-Xms256m
-Xmx256m
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-Djava.io.tmpdir={folder}/tmp
"""


class SearchNode(Server):
    """
    One node with three users: an administrator, one who may write, and one who may only read.
    """

    artifact: ClassVar[str]
    release: ClassVar[str]
    oldest_java: ClassVar[int] = 17
    scheme: ClassVar[str] = "https"
    ready_within_s: ClassVar[float] = 120
    packages = {"curl": "curl"}  # noqa: RUF012  # as in Server

    def missing_packages(self) -> list[str]:
        missing = super().missing_packages()
        if self.oldest_java <= 17 and jre.find(self.oldest_java) is None:
            missing.append("default-jre-headless")
        if not self.home().exists() and find_program("mvn") is None:
            missing.append("maven")
        return missing

    def install(self) -> None:
        if jre.find(self.oldest_java) is None:
            jre.fetch()
        if not self.home().exists():
            fetch(self.name, self.home(), *self.parts())

    def home(self) -> Path:
        """The folder of the program, shared by all checkouts."""
        return cache() / f"{self.artifact.rpartition(':')[2]}-{self.release}"

    def parts(self) -> list[tuple[str, str]]:
        """What it is made of: Maven coordinates, and the folder below `home` that the zip is unpacked into."""
        return [(f"{self.artifact}:{self.release}:zip", "")]

    def entry(self, context: Context) -> Entry:
        """Where it will be, and who may log in."""
        port = context.free_port()
        return {
            "address": f"127.0.0.1:{port}",
            "host": "localhost",
            "port": port,
            "scheme": self.scheme,
            # Its certificate names that address too; there is another that it does not.
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "reader": "reader",
            "reader_password": secrets.token_urlsafe(12),
            "admin_user": "operator",
            "admin_password": secrets.token_urlsafe(12),
            "ca_file": str(context.certificates.ca),
            "version": self.release,
            "log": str(context.log(self.name)),
        }

    def new_home(self, context: Context) -> Path:
        """The server's folder: the program in `home`, an empty `config`, and places to write to."""
        folder = context.new_folder(self.name, owner=OWNER)
        shutil.copytree(self.home(), folder / "home", copy_function=_link)
        for name in ("config", "data", "logs", "tmp"):
            (folder / name).mkdir(mode=0o700)
        return folder

    def spawn(self, context: Context, folder: Path, program: str, environment: dict[str, str]) -> None:
        """Give the folder away and start the program of the node."""
        java = jre.find(self.oldest_java)
        if java is None:
            raise NotReady(f"{self.name} needs Java {self.oldest_java} or later, and there is none")
        if not java.is_relative_to("/usr"):
            shutil.copytree(java, folder / "java", copy_function=_link)
            java = folder / "java"
        context.write(folder / "config" / "jvm.options", JVM_OPTIONS.format(folder=folder), OWNER)
        for path in (folder, *(folder / name for name in ("config", "data", "logs", "tmp"))):
            context.give(path, OWNER)
        for path in (folder / "config").rglob("*"):
            context.give(path, OWNER)
        prefix = environment.pop("prefix")
        context.spawn(
            self.name,
            [str(folder / "home" / "bin" / program)],
            user=OWNER,
            environment={
                f"{prefix}_JAVA_HOME": str(java),
                f"{prefix}_PATH_CONF": str(folder / "config"),
                f"{prefix}_TMPDIR": str(folder / "tmp"),
                "HOME": str(folder),
                **environment,
            },
        )

    def certificate(self, context: Context, folder: Path) -> dict[str, str]:
        """Copies of the server's certificate, key and CA in `config`: such a node reads nothing that lies elsewhere."""
        issued = context.certificates
        return {
            name: str(context.write(folder / "config" / f"{name}.pem", path.read_bytes(), OWNER))
            for name, path in (
                ("certificate", issued.server_rsa),
                ("key", issued.server_rsa_key),
                ("ca", issued.ca),
            )
        }

    def ask(self, entry: Entry) -> None:
        # Not `/`: in the zip of version 8 and later nobody answers there.
        status, body = self.call(entry, "GET", "/_cluster/health")
        if status != 200 or '"number_of_nodes":1' not in body:
            raise NotReady(f"it answers with {status}: {body[:200]}")

    def prepare(self, entry: Entry) -> None:
        # What tests that were killed have left behind: each index costs the node some memory.
        for path in ("/t-*", "/_index_template/t-*"):
            self.call(entry, "DELETE", path)

    def call(self, entry: Entry, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        """The status and the body that the node answers to its administrator, by `curl`."""
        command = ["curl", "-sS", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", *self.as_admin(entry)]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        said, _, status = run([*command, f"{entry['scheme']}://{entry['address']}{path}"], text=body).rpartition("\n")
        return int(status), said

    def as_admin(self, entry: Entry) -> list[str]:
        """What tells `curl` to speak as the administrator."""
        return ["--cacert", entry["ca_file"], "--user", f"{entry['admin_user']}:{entry['admin_password']}"]

    def must(self, entry: Entry, method: str, path: str, body: str) -> None:
        """`call`, or `NotReady`."""
        status, said = self.call(entry, method, path, body)
        if status >= 300:
            raise NotReady(f"{method} {path}: {status}: {said[:300]}")


def cache() -> Path:
    """The folder of what is fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mooring-services"


def fetch(name: str, home: Path, *parts: tuple[str, str]) -> None:
    """Fetch zips with Maven and unpack them into *home*, which is there only when complete."""
    home.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {name} with Maven", flush=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as work:
        unpacked = Path(work, "home")
        for coordinates, below in parts:
            command = [
                "mvn", "-q", "-B", "-Dstyle.color=never", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
                f"-Dartifact={coordinates}", f"-DoutputDirectory={work}/zip", "-Dmdep.stripVersion=true",
            ]  # fmt: skip
            try:
                run(command, timeout_s=300, environment=None)
            except NotReady:
                run(command, timeout_s=300, environment=None)
            (archive,) = Path(work, "zip").iterdir()
            unzip(archive, unpacked / below)
            archive.unlink()
        for path in (unpacked, *unpacked.rglob("*")):
            # Readable by the user that it runs as.
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        unpacked.replace(home)


def unzip(archive: Path, into: Path) -> None:
    """Unpack *archive*, without the one folder that all of it may lie in, and with the modes of its files."""
    with zipfile.ZipFile(archive) as file:
        tops = {name.partition("/")[0] for name in file.namelist()}
        cut = len(tops.pop()) + 1 if len(tops) == 1 else 0
        for item in file.infolist():
            path = into / item.filename[cut:]
            if item.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read(item))
            path.chmod(0o755 if item.external_attr >> 16 & 0o100 else 0o644)


def pbkdf2(password: str) -> str:
    """*password* as Elasticsearch's file realm keeps it."""
    salt, rounds = secrets.token_bytes(32), 1000
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, 32)
    return f"{{PBKDF2}}{rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def settings(**values: Any) -> str:
    """A node's settings file; two underscores in a name stand for a dot."""
    return "".join(f"{name.replace('__', '.')}: {value}\n" for name, value in values.items())


def _link(source: str, target: str) -> None:
    """The same file in another place, or a copy where the file system has no such."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
