"""OpenSSH as Debian packages it: commands and SFTP, with a user who logs in by password or by key."""

import os
import pwd
import secrets
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_PROGRAM = "/usr/sbin/sshd"
_SEPARATION = Path("/run/sshd")
_OWNER = "mooring-ssh"
_KINDS = ("ed25519", "ecdsa", "rsa")

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin no
AllowUsers {user}
StrictModes no
UsePAM no
UseDNS no
MaxStartups 200
MaxAuthTries 6
LoginGraceTime 60
Subsystem sftp internal-sftp
"""


class Sshd(Server):
    """
    One sshd with host keys of three kinds, whose only user has a home of its own below the server's folder.

    `prepare` gives the user the first password back.
    """

    name: ClassVar[str] = "sshd"
    packages: ClassVar[Mapping[str, str]] = {"openssh-server": _PROGRAM, "openssh-client": "ssh-keygen"}

    def start(self, context: Context) -> Entry:
        if os.geteuid() != 0:
            raise NotReady("it checks passwords as root only")
        ensure_user(_OWNER)
        folder = context.new_folder(self.name)
        # The user passes through on the way home; what must stay secret in here has a mode of its own.
        folder.chmod(0o711)
        home = folder / "home"
        home.mkdir(mode=0o755)
        context.give(home, _OWNER)
        port = context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "127.0.0.1",
            "port": port,
            "user": _OWNER,
            "password": secrets.token_urlsafe(12),
            "home": str(home),
            "user_key": str(folder / "user-key"),
            "fingerprints": {},
            "log": str(context.log(self.name)),
        }
        # What an earlier run left behind would keep the user as it is.
        subprocess.run(["pkill", "-KILL", "-u", _OWNER], check=False)
        run(["usermod", "--home", str(home), _OWNER])
        lines = [_CONFIG.format(port=port, folder=folder, user=_OWNER)]
        for kind in _KINDS:
            key = folder / f"host-{kind}"
            _new_key(key, kind)
            lines.append(f"HostKey {key}\n")
            entry["fingerprints"][kind] = fingerprint(key)
        _new_key(folder / "user-key", "ed25519")
        context.write(folder / "authorized_keys", (folder / "user-key.pub").read_bytes(), mode=0o644)
        config = context.write(folder / "sshd_config", "".join(lines))
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)
        entry["version"] = (
            run(["dpkg-query", "-W", "-f", "${Version}", "openssh-server"]).partition(":")[2].split("-")[0]
        )
        context.spawn(self.name, [_PROGRAM, "-D", "-e", "-f", str(config)])
        return entry

    def ask(self, entry: Entry) -> None:
        try:
            with socket.create_connection((entry["host"], entry["port"]), timeout=5) as connection:
                if not connection.recv(64).startswith(b"SSH-2.0-"):
                    raise NotReady("it does not greet as SSH does")
        except OSError as exc:
            raise NotReady(f"SSH: {exc}") from exc

    def prepare(self, entry: Entry) -> None:
        set_password(entry["user"], entry["password"])


def ensure_user(name: str) -> None:
    """Make the system's user *name*, with a shell, unless there is one."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        run(["useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/bash", name])


def set_password(user: str, password: str) -> None:
    """From the next login on, *user* has that password."""
    run(["chpasswd"], text=f"{user}:{password}\n")


def fingerprint(key: Path) -> str:
    """What `ssh-keygen` shows of a key: `SHA256:...`."""
    return run(["ssh-keygen", "-l", "-E", "sha256", "-f", str(key)]).split()[1]


def _new_key(path: Path, kind: str) -> None:
    run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)])


SERVER = Sshd()
