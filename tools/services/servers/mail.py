"""
Exim as Debian packages it: SMTP with STARTTLS, SMTP inside TLS, passwords, one maildir.

It accepts mail for anybody and keeps it: there is no transport that sends,
so nothing leaves the machine. Two local parts stand for bad weather:
``refused@`` anything is answered with 550 and ``later@`` anything with 451.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import secrets
import smtplib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_OWNER = "Debian-exim"
_PROGRAM = "/usr/sbin/exim4"
_HOST_NAME = "mail.mooring.test"

# A user's line in the users file holds the SHA-256 of every password that is
# right at the moment, so that "the old and the new one" can be, and so that a
# password may hold any character.
_PASSWORD_IS_RIGHT = (
    "${{if inlist{{${{lc:${{sha256:{password}}}}}}}{{${{lookup{{{user}}}lsearch{{{users}}}{{$value}}{{}}}}}}}}"
)

_CONFIG = """\
primary_hostname = {host_name}
local_interfaces = <; 127.0.0.1 ; 127.0.0.2
daemon_smtp_ports = <; {port} ; {tls_port}
tls_on_connect_ports = {tls_port}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
auth_advertise_hosts = *
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/pid
exim_user = {owner}
exim_group = {group}
# It never has root's rights, so it need not be able to give them up.
deliver_drop_privilege = true
never_users =
keep_environment =
host_lookup =
rfc1413_hosts =
smtp_accept_max = 200
smtp_accept_max_per_connection = 100000
smtp_accept_queue_per_connection = 0
message_size_limit = 20M
acl_smtp_rcpt = recipient
acl_smtp_data = accept

begin acl
recipient:
  deny local_parts = refused
       message = 5.1.1 nobody of that name
  defer local_parts = later
       message = 4.2.1 the mailbox is busy
  accept

begin routers
everybody:
  driver = accept
  transport = keep

begin transports
keep:
  driver = appendfile
  directory = {maildir}
  maildir_format
  create_directory
  user = {owner}
  group = {group}
  delivery_date_add
  envelope_to_add
  return_path_add

begin retry
* * F,1h,1m

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {plain_is_right}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = {login_is_right}
  server_set_id = $auth1
"""


class Mail(Server):
    """
    One SMTP server that authenticates by a file which tests may change while it runs.

    `prepare` makes the first password the only right one again.
    """

    name: ClassVar[str] = "mail"
    packages: ClassVar[Mapping[str, str]] = {"exim4-daemon-light": _PROGRAM}

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name, owner=_OWNER)
        port, tls_port = context.free_port(), context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "127.0.0.1",
            "port": port,
            "tls_port": tls_port,
            # It listens there too, and its certificate does not name that address.
            "wrong_name_host": "127.0.0.2",
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            "users_file": str(folder / "users"),
            "maildir": str(folder / "maildir"),
            "version": run([_PROGRAM, "--version"]).split()[2],
            "log": str(folder / "log" / "mainlog"),
        }
        for name in ("spool", "log", "maildir", "maildir/new", "maildir/cur", "maildir/tmp"):
            (folder / name).mkdir(mode=0o700)
            context.give(folder / name, _OWNER)
        config = self._configure(context, folder, entry)
        # -bdf: a daemon that stays in the foreground; -q1m: with a queue runner each minute.
        context.spawn(self.name, [_PROGRAM, "-bdf", "-q1m", "-C", str(config)], user=_OWNER)
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            for port in (entry["port"], entry["tls_port"]):
                with _connect(entry["host"], port, inside_tls=port == entry["tls_port"]) as smtp:
                    smtp.ehlo()
                    if not smtp.has_extn("auth"):
                        raise NotReady("it does not offer AUTH")
        except (OSError, smtplib.SMTPException) as exc:
            raise NotReady(f"SMTP: {exc}") from exc

    def prepare(self, entry: Entry) -> None:
        set_passwords(Path(entry["users_file"]), entry["user"], [entry["password"]])

    def _configure(self, context: Context, folder: Path, entry: Entry) -> Path:
        issued = context.certificates
        users = folder / "users"
        user = pwd.getpwnam(_OWNER) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        config = _CONFIG.format(
            host_name=_HOST_NAME,
            folder=folder,
            port=entry["port"],
            tls_port=entry["tls_port"],
            owner=user.pw_name,
            group=user.pw_gid,
            maildir=entry["maildir"],
            certificate=context.write(folder / "server.pem", issued.server.read_bytes(), _OWNER),
            key=context.write(folder / "server-key.pem", issued.server_key.read_bytes(), _OWNER),
            plain_is_right=_PASSWORD_IS_RIGHT.format(user="$auth2", password="$auth3", users=users),
            login_is_right=_PASSWORD_IS_RIGHT.format(user="$auth1", password="$auth2", users=users),
        )
        return context.write(folder / "exim.conf", config, _OWNER)


def set_passwords(users_file: Path, user: str, passwords: Sequence[str]) -> None:
    """
    From the next login on, *user* may log in with any of *passwords*, or not at all with none.

    May be called while the server runs, also from several processes at once.
    """
    with _locked(users_file):
        lines = users_file.read_text().splitlines() if users_file.exists() else []
        key = '"' + re.sub(r'(["\\])', r"\\\1", user) + '":'
        lines = [line for line in lines if not line.startswith(key)]
        hashes = [hashlib.sha256(password.encode()).hexdigest() for password in passwords]
        if hashes:
            lines.append(f"{key} {' : '.join(hashes)}")
        fresh = users_file.with_suffix(".new")
        fresh.write_text("".join(line + "\n" for line in lines))
        # The folder keeps others out; the daemon runs as another user than we.
        fresh.chmod(0o644)
        fresh.replace(users_file)


@contextlib.contextmanager
def _locked(users_file: Path) -> Iterator[None]:
    with users_file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _connect(host: str, port: int, *, inside_tls: bool) -> smtplib.SMTP:
    kind = smtplib.SMTP_SSL if inside_tls else smtplib.SMTP
    return kind(host, port, timeout=5)


SERVER = Mail()
