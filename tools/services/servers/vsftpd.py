"""vsftpd as Debian packages it: plain FTP, explicit and implicit FTPS, and one that wants a client certificate."""

import ftplib
import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run
from tools.services.servers.sshd import ensure_user, set_password

_PROGRAM = "/usr/sbin/vsftpd"
_OWNER = "mooring-ftp"

_CONFIG = """\
background=NO
listen=YES
listen_address=127.0.0.1
listen_port={port}
pasv_address=127.0.0.1
local_enable=YES
write_enable=YES
anonymous_enable=NO
local_root={root}
chroot_local_user=YES
secure_chroot_dir={empty}
pam_service_name={pam}
seccomp_sandbox=NO
connect_from_port_20=NO
local_umask=022
max_login_fails=3
delay_failed_login=0
delay_successful_login=0
xferlog_enable=NO
vsftpd_log_file={folder}/{label}.log
"""

# Debian's build knows no option for TLS 1.3, and speaks it. HIGH, because its own list has no cipher of TLS 1.2.
_TLS = """\
ssl_enable=YES
ssl_tlsv1=YES
ssl_ciphers=HIGH
force_local_logins_ssl=YES
force_local_data_ssl=YES
rsa_cert_file={certificate}
rsa_private_key_file={key}
require_ssl_reuse=YES
"""
_IMPLICIT = "implicit_ssl=YES\n"
_MUTUAL = "require_cert=YES\nvalidate_cert=YES\nca_certs_file={ca}\n"

# As Debian's own for vsftpd; a wrong password is told at once, and not after two seconds.
_PAM_FILE = Path("/etc/pam.d/mooring-vsftpd")
_PAM = """\
auth required pam_unix.so nodelay
account required pam_unix.so
session required pam_permit.so
"""

_LISTENERS = {"plain": "", "explicit": _TLS, "implicit": _TLS + _IMPLICIT, "mutual": _TLS + _MUTUAL}


class Vsftpd(Server):
    """
    Four processes over one folder: `root` is what a client sees as `/`, and `/files` there is the user's own.

    Data connections in TLS must continue the session of the control connection. `prepare` gives the user the
    first password back.
    """

    name: ClassVar[str] = "vsftpd"
    packages: ClassVar[Mapping[str, str]] = {"vsftpd": _PROGRAM}

    def start(self, context: Context) -> Entry:
        if os.geteuid() != 0:
            raise NotReady("it checks passwords as root only")
        ensure_user(_OWNER)
        _PAM_FILE.write_text(_PAM)
        folder = context.new_folder(self.name)
        folder.chmod(0o711)
        root, empty = folder / "root", folder / "empty"
        for path in (root, empty, root / "files"):
            path.mkdir(mode=0o755)
        context.give(root / "files", _OWNER)
        # It goes there before it goes to `local_root`.
        run(["usermod", "--home", str(root), _OWNER])
        ports = {label: context.free_port() for label in _LISTENERS}
        entry: Entry = {
            "address": f"127.0.0.1:{ports['plain']}",
            "host": "127.0.0.1",
            "port": ports["plain"],
            "explicit_port": ports["explicit"],
            "implicit_port": ports["implicit"],
            "mutual_port": ports["mutual"],
            "user": _OWNER,
            "password": secrets.token_urlsafe(12),
            "root": str(root),
            "log": str(context.log(self.name)),
            "version": run(["dpkg-query", "-W", "-f", "${Version}", "vsftpd"]).partition("-")[0].partition("+")[0],
        }
        issued = context.certificates
        files = {
            # It reads RSA keys only.
            "certificate": context.write(folder / "server.pem", issued.server_rsa.read_bytes()),
            "key": context.write(folder / "server-key.pem", issued.server_rsa_key.read_bytes()),
            "ca": context.write(folder / "ca.pem", issued.ca.read_bytes()),
        }
        for label, more in _LISTENERS.items():
            text = (_CONFIG + more).format(
                port=ports[label], root=root, empty=empty, folder=folder, label=label, pam=_PAM_FILE.name, **files
            )
            config = context.write(folder / f"{label}.conf", text)
            context.spawn(self.name, [_PROGRAM, str(config)], label=label)
        return entry

    def ask(self, entry: Entry) -> None:
        for name in ("port", "explicit_port", "implicit_port", "mutual_port"):
            _greeted(entry["host"], entry[name], inside_tls=name == "implicit_port")

    def prepare(self, entry: Entry) -> None:
        set_password(entry["user"], entry["password"])
        ftp = ftplib.FTP()
        try:
            ftp.connect(entry["host"], entry["port"], timeout=10)
            ftp.login(entry["user"], entry["password"])
        except ftplib.Error as exc:
            raise NotReady(f"login: {exc}") from exc
        finally:
            ftp.close()


def _greeted(host: str, port: int, *, inside_tls: bool) -> None:
    try:
        with socket.create_connection((host, port), timeout=5) as plain:
            connection = plain
            if inside_tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                connection = context.wrap_socket(plain)
            if not connection.recv(256).startswith(b"220"):
                raise NotReady("it does not greet as FTP does")
    except OSError as exc:
        raise NotReady(f"FTP: {exc}") from exc


SERVER = Vsftpd()
