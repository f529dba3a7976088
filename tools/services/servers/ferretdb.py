"""FerretDB 1 on SQLite: a server that speaks MongoDB's protocol, with SCRAM logins."""

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pymongo
from pymongo.errors import PyMongoError

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, find_program, run

_MODULE, _VERSION = "github.com/FerretDB/FerretDB", "v1.24.2"
_GO = "/usr/local/go/bin/go"


class FerretDB(Server):
    """A plain and a TLS listener, one user of each kind. 45 MB, ready at once; nothing is reported home."""

    name: ClassVar[str] = "ferretdb"

    def missing_packages(self) -> list[str]:
        return [] if _program().exists() or _go() else ["golang-go"]

    def install(self) -> None:
        program = _program()
        if program.exists():
            return
        go = _go()
        if go is None:
            raise NotReady("there is no Go to build FerretDB with")
        program.parent.mkdir(parents=True, exist_ok=True)
        print(f"building FerretDB {_VERSION} with Go", flush=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as work:
            _build(go, Path(work))
            Path(work, "ferretdb").replace(program)

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        plain, tls = context.free_port(), context.free_port()
        issued = context.certificates
        certificate = context.write(folder / "server.pem", issued.server.read_bytes())
        key = context.write(folder / "server-key.pem", issued.server_key.read_bytes())
        (folder / "data").mkdir()
        entry: Entry = {
            "address": f"127.0.0.1:{plain}",
            "host": "127.0.0.1",
            "port": plain,
            "tls_port": tls,
            "database": "mooring",
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "admin_user": "admin",
            "admin_password": secrets.token_urlsafe(12),
            "version": _VERSION.removeprefix("v"),
            "log": str(context.log(self.name)),
        }
        command = [
            str(_program()), "--handler=sqlite", f"--sqlite-url=file:{folder}/data/", f"--state-dir={folder}",
            f"--listen-addr=127.0.0.1:{plain}", f"--listen-tls=127.0.0.1:{tls}",
            f"--listen-tls-cert-file={certificate}", f"--listen-tls-key-file={key}",
            "--debug-addr=-", "--telemetry=disable", "--log-level=WARN", "--test-enable-new-auth",
            f"--setup-username={entry['admin_user']}", f"--setup-password={entry['admin_password']}",
            "--setup-database=admin",
        ]  # fmt: skip
        context.spawn(self.name, command)
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            with _admin(entry) as client:
                client.admin.command("ping")
        except PyMongoError as exc:
            raise NotReady(f"ping: {exc}") from exc

    def prepare(self, entry: Entry) -> None:
        with _admin(entry) as client:
            database = client[entry["database"]]
            known = database.command("usersInfo", entry["user"])["users"]
            if known:
                database.command("updateUser", entry["user"], pwd=entry["password"])
            else:
                database.command("createUser", entry["user"], pwd=entry["password"], roles=[])


def _admin(entry: Entry) -> "pymongo.MongoClient[dict[str, Any]]":
    return pymongo.MongoClient(
        entry["host"], entry["port"], username=entry["admin_user"], password=entry["admin_password"],
        authSource="admin", authMechanism="SCRAM-SHA-256", serverSelectionTimeoutMS=2000, directConnection=True,
    )  # fmt: skip


def _build(go: str, work: Path) -> None:
    (work / "go.mod").write_text("module build\n")
    environment = {**os.environ, "GOFLAGS": "-mod=mod"}
    module = f"{_MODULE}@{_VERSION}"
    printed = run([go, "mod", "download", "-json", module], environment=environment, timeout_s=300)
    folder = next(line.split('"')[3] for line in printed.splitlines() if '"Dir"' in line)
    # Its releases write the version before they build; a module has no such file, and the program ends without it.
    source = work / "source"
    shutil.copytree(folder, source)
    (source / "build" / "version").chmod(0o755)  # a module is read-only
    (source / "build" / "version" / "version.txt").write_text(f"{_VERSION}\n")
    run([go, "build", "-C", str(source), "-o", str(work / "ferretdb"), "./cmd/ferretdb"],
        environment=environment, timeout_s=600)  # fmt: skip
    for path in source.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)


def _go() -> str | None:
    return shutil.which("go") or find_program(_GO)


def _program() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / f"ferretdb-{_VERSION}"


SERVER = FerretDB()
