"""RabbitMQ as Debian packages it: AMQP 0-9-1 and 1.0, plain and in TLS, with client certificates where one is shown."""

import base64
import hashlib
import json
import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_OWNER = "rabbitmq"
_BINARIES = "/usr/lib/rabbitmq/bin"
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

# Whose certificate names CERTIFICATE_USER may log in without a password (EXTERNAL).
_PLUGINS = "[rabbitmq_amqp1_0,rabbitmq_auth_mechanism_ssl].\n"

_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
load_definitions = {definitions}
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 768MB
disk_free_limit.absolute = 50MB
"""

CERTIFICATE_USER = "mooring-client"
"""The user that the test CA's client certificate names."""


class RabbitMQ(Server):
    """
    One broker with a virtual host of the tests' own, and users that may and may not use it.

    `prepare` gives users, passwords, permissions and virtual hosts back what a test may have changed.
    """

    name: ClassVar[str] = "rabbitmq"
    packages: ClassVar[Mapping[str, str]] = {
        "rabbitmq-server": f"{_BINARIES}/rabbitmq-server",
        "amqp-tools": "amqp-get",
    }

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name, owner=_OWNER)
        port, tls_port, epmd_port = context.free_port(), context.free_port(), context.free_port()
        environment = _environment(folder, epmd_port, context.free_port())
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "127.0.0.1",
            "port": port,
            "tls_port": tls_port,
            # AMQP 1.0 is spoken on the same ports, in the virtual host "/"; addresses are /queue/NAME, /exchange/NAME.
            "amqp10": True,
            "vhost": "mooring",
            "user": "mooring",
            "password": secrets.token_urlsafe(12),
            # Logs in, and may use the virtual host "/" only.
            "stranger": "stranger",
            "stranger_password": secrets.token_urlsafe(12),
            # May open the virtual host, and may neither write, read nor configure anything there.
            "onlooker": "onlooker",
            "onlooker_password": secrets.token_urlsafe(12),
            "certificate_user": CERTIFICATE_USER,
            # Names with everything in them that a URL would take for something else.
            "odd_vhost": "şirket/%2F?x=1#\\y",
            "odd_user": "ışık@büro:/?#%41",
            "odd_password": f'p@ss:w/ö?#%41 "{secrets.token_urlsafe(6)}',
            "environment": environment,
            "definitions": str(folder / "definitions.json"),
            "log": str(context.log(self.name)),
        }
        self._configure(context, folder, entry)
        # Its own name server in the foreground, or the broker would start one that nobody stops.
        context.spawn(
            self.name, ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"], user=_OWNER, label="epmd"
        )  # fmt: skip
        context.spawn(self.name, [f"{_BINARIES}/rabbitmq-server"], user=_OWNER, environment=environment)
        entry["version"] = run(["dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"]).partition("-")[0]
        return entry

    def ask(self, entry: Entry) -> None:
        for port in (entry["port"], entry["tls_port"]):
            try:
                with socket.create_connection((entry["host"], port), timeout=5) as plain:
                    _greet(plain if port == entry["port"] else _in_tls(plain))
            except OSError as exc:
                raise NotReady(f"AMQP: {exc}") from exc

    def prepare(self, entry: Entry) -> None:
        control(entry, "import_definitions", entry["definitions"])

    def _configure(self, context: Context, folder: Path, entry: Entry) -> None:
        issued = context.certificates
        definitions = context.write(folder / "definitions.json", json.dumps(_definitions(entry)), _OWNER)
        config = _CONFIG.format(
            port=entry["port"],
            tls_port=entry["tls_port"],
            ca=context.write(folder / "ca.pem", issued.ca.read_bytes(), _OWNER),
            certificate=context.write(folder / "server.pem", issued.server.read_bytes(), _OWNER),
            key=context.write(folder / "server-key.pem", issued.server_key.read_bytes(), _OWNER),
            definitions=definitions,
        )
        context.write(folder / "rabbitmq.conf", config, _OWNER)
        context.write(folder / "enabled_plugins", _PLUGINS, _OWNER)
        context.write(folder / ".erlang.cookie", secrets.token_hex(16), _OWNER, mode=0o400)


def control(entry: Mapping[str, Any], *arguments: str) -> str:
    """What `rabbitmqctl` prints. Raises `NotReady` when it fails."""
    command = [f"{_BINARIES}/rabbitmqctl", "--quiet", *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups", *command]
    return run(command, environment={**os.environ, **entry["environment"]}, timeout_s=60)


def _environment(folder: Path, epmd_port: int, cluster_port: int) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "mooring@localhost",
        "RABBITMQ_DIST_PORT": str(cluster_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # Its schedulers otherwise burn a core each while they wait for work.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdio none",
    }


def _definitions(entry: Mapping[str, Any]) -> dict[str, Any]:
    all_of_it = {"configure": ".*", "write": ".*", "read": ".*"}
    nothing = dict.fromkeys(all_of_it, "^$")
    mine = entry["vhost"]
    users = {
        entry["user"]: entry["password"],
        entry["stranger"]: entry["stranger_password"],
        entry["onlooker"]: entry["onlooker_password"],
        entry["odd_user"]: entry["odd_password"],
        # Whom clients are that give no login; the broker lets it in from this machine only.
        "guest": "guest",
    }
    return {
        "vhosts": [{"name": "/"}, {"name": mine}, {"name": entry["odd_vhost"]}],
        "users": [
            *({"name": name, "password_hash": _hash(password), "tags": ""} for name, password in users.items()),
            {"name": entry["certificate_user"], "password_hash": "", "tags": ""},
        ],
        "permissions": [
            {"user": entry["user"], "vhost": "/", **all_of_it},
            {"user": entry["user"], "vhost": mine, **all_of_it},
            {"user": entry["stranger"], "vhost": "/", **all_of_it},
            {"user": entry["onlooker"], "vhost": mine, **nothing},
            {"user": entry["odd_user"], "vhost": entry["odd_vhost"], **all_of_it},
            {"user": "guest", "vhost": mine, **all_of_it},
            {"user": entry["certificate_user"], "vhost": mine, **all_of_it},
        ],
    }


def _hash(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _in_tls(plain: socket.socket) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def _greet(connection: socket.socket) -> None:
    with connection:
        connection.sendall(_PROTOCOL_HEADER)
        if b"RabbitMQ" not in connection.recv(4096):
            raise NotReady("it does not greet as RabbitMQ does")


SERVER = RabbitMQ()
