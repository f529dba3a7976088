"""Where the servers of this checkout keep their files, ports and processes."""

import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.services import processes
from tools.services.certificates import Certificates

REPOSITORY = Path(__file__).resolve().parents[2]
STATE_FOLDER = REPOSITORY / ".services"

# Below the kernel's range for outgoing connections (from 32768), so that no
# client can be given a port between the moment it is chosen and its use.
_PORTS = range(30100, 32700)

# A Unix socket's path holds 107 bytes; this leaves room for <server>/<socket file>.
_LONGEST_BASE = 70


class Context:
    """
    What a server is given to start with: a folder, ports, certificates, processes.

    Safe to use from the threads that start servers in parallel.
    """

    def __init__(self, base: Path, certificates: Certificates) -> None:
        self.base = base
        self.certificates = certificates
        self._ports_taken: set[int] = set()
        self._lock = threading.Lock()
        (base / "logs").mkdir(exist_ok=True)

    @classmethod
    def of_this_checkout(cls) -> "Context":
        """The context of the repository that this file lies in; makes folders and certificates."""
        base = _base_folder()
        return cls(base, Certificates.ensure(base / "certificates"))

    def new_folder(self, name: str, owner: str | None = None) -> Path:
        """An empty folder for the data of server *name*, owned by *owner* where we are root."""
        folder = self.base / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self.give(folder, owner)
        return folder

    def write(self, path: Path, content: str | bytes, owner: str | None = None, mode: int = 0o600) -> Path:
        """Write a file that only *owner* may read, unless *mode* says otherwise."""
        path.touch(mode=mode)
        path.chmod(mode)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.give(path, owner)
        return path

    def give(self, path: Path, owner: str | None) -> None:
        """Make *owner* the owner of *path*; without effect when we are not root."""
        if owner is not None and os.geteuid() == 0:
            user = pwd.getpwnam(owner)
            os.chown(path, user.pw_uid, user.pw_gid)

    def free_port(self) -> int:
        """A loopback TCP port that nobody listens on and that no other caller is given."""
        with self._lock:
            for port in random.sample(_PORTS, len(_PORTS)):
                if port not in self._ports_taken and _can_bind(port):
                    self._ports_taken.add(port)
                    return port
        raise OSError(f"no free port in {_PORTS}")

    def log(self, name: str) -> Path:
        """The file that takes what server *name* prints."""
        return self.base / "logs" / f"{name}.log"

    def run(self, name: str, command: Sequence[str], *, user: str | None = None, timeout_s: float = 60) -> None:
        """Run a set-up program of server *name* to its end; its output goes to the log."""
        with self.log(name).open("ab") as log:
            subprocess.run(
                command, check=True, timeout=timeout_s, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.base / name, **_identity(user),
            )  # fmt: skip

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        label: str = "main",
    ) -> None:
        """
        Start a process of server *name* that outlives us, in a process group of its own.

        Runs as *user* where we are root and as ourselves elsewhere. A server of
        several processes gives each a *label*.
        """
        pid_file = self._pid_files(name) / f"{label}.pid"
        pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.base / name,
                env={**os.environ, **(environment or {})}, start_new_session=True,
                **_identity(user),
            )  # fmt: skip
        processes.remember(process, pid_file)

    def is_running(self, name: str) -> bool:
        """Whether every process that was spawned for server *name* is still alive."""
        pid_files = list(self._pid_files(name).glob("*.pid"))
        return bool(pid_files) and all(processes.is_alive(pid_file) for pid_file in pid_files)

    def stop(self, name: str, by: signal.Signals = signal.SIGTERM, patience_s: float = 10) -> None:
        """Ask the processes of server *name* to end, and kill what is left after *patience_s*."""
        for pid_file in self._pid_files(name).glob("*.pid"):
            processes.stop(pid_file, by, patience_s)

    def keep_old_log(self, name: str) -> None:
        """Begin a new log; the one before stays beside it, for it may say why a server died."""
        log = self.log(name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))

    def _pid_files(self, name: str) -> Path:
        return self.base / "run" / name


def _identity(user: str | None) -> dict[str, Any]:
    """The arguments that make `subprocess` run a program as *user*, where we may."""
    if user is None or os.geteuid() != 0:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()}


def _base_folder() -> Path:
    """`.services` of the checkout, or a folder in /tmp where daemons could not use that one."""
    STATE_FOLDER.mkdir(exist_ok=True)
    # The folder hides itself from git, so a checkout stays clean whatever .gitignore says.
    (STATE_FOLDER / ".gitignore").write_text("*\n")
    base = STATE_FOLDER
    if len(os.fsencode(base)) > _LONGEST_BASE or (os.geteuid() == 0 and not _is_open(base)):
        digest = hashlib.sha256(os.fsencode(REPOSITORY)).hexdigest()[:12]
        base = Path("/tmp") / f"mooring-services-{digest}"
        base.mkdir(mode=0o711, exist_ok=True)
        if base.is_symlink() or base.stat().st_uid != os.geteuid():
            raise PermissionError(f"{base} belongs to another user")
    base.chmod(0o711)
    return base


def _is_open(folder: Path) -> bool:
    """Whether any user may pass through *folder*'s parents (servers do not run as root)."""
    return all(parent.stat().st_mode & 0o001 for parent in folder.parents)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
