"""ProFTPD, unpacked from Debian's packages: they cannot be installed beside vsftpd's."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_PACKAGES = (
    "proftpd-core", "proftpd-mod-crypto", "libhashkit2", "libhiredis0.14", "libmemcached11", "libmemcachedutil2",
    "libpcre2-posix3",
)  # fmt: skip
_OWNER = "nobody"

_CONFIG = """\
ServerName "mooring"
ServerType standalone
DefaultAddress 127.0.0.1
Port {port}
SocketBindTight on
User {owner}
Group {group}
UseIPv6 off
UseReverseDNS off
WtmpLog off
AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
DefaultRoot {root}
AllowOverwrite on
AllowStoreRestart on
AllowRetrieveRestart on
MaxInstances 100
PidFile {folder}/{label}.pid
ScoreboardFile {folder}/{label}.scoreboard
DelayEngine off
TransferLog NONE
ModulePath {modules}
LoadModule mod_tls.c
<IfModule mod_tls.c>
  TLSEngine on
  TLSRequired on
  TLSLog {folder}/{label}-tls.log
  TLSProtocol TLSv1.2 TLSv1.3
  TLSECCertificateFile {certificate}
  TLSECCertificateKeyFile {key}
  {options}
</IfModule>
"""

_LISTENERS = {"explicit": "", "implicit": "TLSOptions UseImplicitSSL"}


class Proftpd(Server):
    """
    Two processes over one folder, both in TLS only: `root` is what a client sees as `/`, and `/files` there may be written.

    Data connections must continue the session of the control connection, which is its default.
    """

    name: ClassVar[str] = "proftpd"

    def missing_packages(self) -> list[str]:
        # Not among those to be installed: `install` unpacks them.
        return []

    def install(self) -> None:
        target = _unpacked()
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            for command in (["apt-get", "update"], ["apt-get", "download", *_PACKAGES]):
                done = subprocess.run(
                    [command[0], "-qq", "-o", "APT::Sandbox::User=root", *command[1:]],
                    cwd=work, capture_output=True, text=True, check=False,
                )  # fmt: skip
            if done.returncode:
                raise NotReady(f"its packages could not be downloaded: {done.stderr.strip()[-200:]}")
            for package in Path(work).glob("*.deb"):
                run(["dpkg", "-x", str(package), f"{work}/unpacked"])
            Path(work, "unpacked").chmod(0o755)
            shutil.move(f"{work}/unpacked", target)

    def start(self, context: Context) -> Entry:
        if os.geteuid() != 0:
            raise NotReady("it gives up root's rights when a user logs in, and so must have them")
        folder = context.new_folder(self.name)
        folder.chmod(0o711)
        root = folder / "root"
        for path in (root, root / "files"):
            path.mkdir(mode=0o755)
        context.give(root / "files", _OWNER)
        ports = {label: context.free_port() for label in _LISTENERS}
        entry: Entry = {
            "address": f"127.0.0.1:{ports['explicit']}",
            "host": "127.0.0.1",
            "explicit_port": ports["explicit"],
            "implicit_port": ports["implicit"],
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "root": str(root),
            "log": str(context.log(self.name)),
        }
        group = (root / "files").group()
        issued = context.certificates
        settings = {
            "owner": _OWNER, "group": group, "root": root, "folder": folder,
            "users": context.write(folder / "users", _user_line(entry, root), _OWNER),
            "modules": _unpacked() / "usr/lib/proftpd",
            "certificate": context.write(folder / "server.pem", issued.server.read_bytes()),
            "key": context.write(folder / "server-key.pem", issued.server_key.read_bytes()),
        }  # fmt: skip
        program, libraries = str(_unpacked() / "usr/sbin/proftpd"), {"LD_LIBRARY_PATH": _libraries()}
        entry["version"] = run([program, "-v"], environment={**os.environ, **libraries}).split()[-1]
        for label, options in _LISTENERS.items():
            text = _CONFIG.format(port=ports[label], label=label, options=options, **settings)
            config = context.write(folder / f"{label}.conf", text)
            context.spawn(self.name, [program, "-n", "-q", "-c", str(config)], environment=libraries, label=label)
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            with socket.create_connection((entry["host"], entry["explicit_port"]), timeout=5) as connection:
                if not connection.recv(256).startswith(b"220"):
                    raise NotReady("it does not greet as FTP does")
            # Nobody speaks first in TLS; that it takes the connection must do.
            socket.create_connection((entry["host"], entry["implicit_port"]), timeout=5).close()
        except OSError as exc:
            raise NotReady(f"FTP: {exc}") from exc


def _user_line(entry: Entry, root: Path) -> str:
    hashed = run(["openssl", "passwd", "-6", "-stdin"], text=entry["password"] + "\n").strip()
    owner = (root / "files").stat()
    return f"{entry['user']}:{hashed}:{owner.st_uid}:{owner.st_gid}::{root}:/bin/false\n"


def _libraries() -> str:
    return os.pathsep.join(str(path) for path in (_unpacked() / "usr/lib").glob("*-linux-gnu"))


def _unpacked() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mooring-services" / "proftpd"


SERVER = Proftpd()
