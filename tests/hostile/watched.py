"""
What really happens when a definition is used: built, opened, probed and used, with an audit hook looking on.

Run as a program, `python -m tests.hostile.watched`: cases as JSON on standard input, what was seen as JSON on standard
output. The other end is whatever the caller listens with; everything else that is dialled, opened or executed is a
violation, is stopped, and is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mooring.errors import InvalidConfig, MooringError
from mooring.kit.egress import ANYWHERE_HERE
from mooring.plugin.config import read_config
from mooring.plugin.connector import Allowed
from mooring.plugin.registry import Registry
from mooring.testing.live import COMMON_KEYS, connected

REGISTRY = Registry()
STEP_S = 0.15
BEGIN = "/mooring-watched-begins"
"""A file that is not there: opening it shows whoever traces this process where the cases begin."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_READABLE = (
    "/etc/ssl", "/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf",
    "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom", "/etc/mime.types",
)  # fmt: skip
"""Beside the interpreter, what is installed, and this checkout."""

_EXECUTES = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty", "os.startfile", "pty.spawn", "webbrowser.open", "cpython.run_command", "cpython.run_file", "code.__new__", "pickle.find_class")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "os.utime", "os.mkfifo", "os.mknod", "shutil.rmtree", "shutil.move", "shutil.copyfile")  # fmt: skip


class Watch:
    """Judges what the interpreter reports, while `case` is being used."""

    def __init__(self, ports: set[int], writable: Path) -> None:
        self.ports, self.writable = ports, str(writable)
        self.case, self.declared = "", ""
        self.active = False
        self.violations: list[dict[str, str]] = []
        self.dials = 0
        self.told: list[dict[str, Any]] = []
        roots = {
            sysconfig.get_paths()["stdlib"],
            sysconfig.get_paths()["platstdlib"],
            sys.prefix,
            sys.base_prefix,
            str(Path(__file__).parents[2]),
            *(str(Path(entry).resolve()) for entry in sys.path if entry),
        }
        self.roots = tuple(roots)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        reason = self._judge(event, arguments)
        if reason is not None:
            self.violations.append({"case": self.case, "event": event, "what": reason[:300]})
            raise PermissionError(f"watched: {event}")

    def _judge(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event in _EXECUTES:
            return repr(arguments)
        if event == "ctypes.dlopen":
            return None if self._is_ours(str(arguments[0])) or arguments[0] is None else repr(arguments)
        if event == "open":
            return self._opened(*arguments)
        if event in _CHANGES:
            return (
                None
                if all(
                    self._is_below(item, self.writable)
                    for item in arguments
                    if isinstance(item, str | bytes | os.PathLike)
                )
                else repr(arguments)
            )
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            return self._dialled(arguments[1])
        if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
            return self._resolved(arguments[0])
        return None

    def _opened(self, path: Any, mode: Any, flags: int = 0) -> str | None:
        if isinstance(path, int):
            return None
        name = os.fsdecode(path)
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or (
            isinstance(mode, str) and any(letter in mode for letter in "wax+")
        )
        if writes:
            return None if self._is_below(name, self.writable) or name == os.devnull else f"{name} for writing"
        return (
            None if self._is_ours(name) or self._is_below(name, self.writable) or name.startswith(_READABLE) else name
        )

    def _is_ours(self, name: str) -> bool:
        return (
            os.path.isabs(name) is False
            and "/" not in name
            and name.endswith((".py", ".so", ".pyc"))
            or os.path.realpath(name).startswith(self.roots)
        )

    @staticmethod
    def _is_below(name: Any, folder: str) -> bool:
        return os.path.realpath(os.fsdecode(name)).startswith(folder + os.sep)

    def _dialled(self, address: Any) -> str | None:
        if not isinstance(address, tuple):
            return None if address is None else f"a socket file: {address!r}"
        host, port = str(address[0]), address[1]
        self.dials += 1
        if host in _LOOPBACK and (port in self.ports or port == 0):
            return None
        usual = "://" in self.declared and port in (80, 443)
        if host.lower() in self.declared and (str(port) in self.declared or usual):
            raise ConnectionRefusedError("watched: it goes where it says, and no further")
        return f"{host}:{port}"

    def _resolved(self, host: Any) -> str | None:
        name = os.fsdecode(host).lower() if isinstance(host, str | bytes) else str(host)
        if name in _LOOPBACK or host is None:
            return None
        if (
            name in self.declared
            or name.encode().decode("idna" if name.isascii() else "utf-8").lower() in self.declared
        ):
            raise socket.gaierror(socket.EAI_NONAME, "watched: it asks for what it says, and no further")
        return name


def leaves(value: Any) -> Iterator[Any]:
    """Everything in *value* that is no container; keys too."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


async def use(watch: Watch, case: dict[str, Any]) -> str:
    """How the case ended."""
    watch.case = case["label"]
    card = REGISTRY.get(case["body"]["type"])
    typed = {key: value for key, value in case["body"].items() if key not in COMMON_KEYS}
    try:
        config = read_config(card.config, typed)
    except InvalidConfig:
        return "refused"
    wire, said = config.wire(), config.destination()
    declared = "\n".join(map(str, leaves([said, [wire[name] for name in said if name in wire]]))).lower()
    watch.declared = f"{declared}\n{unicodedata.normalize('NFKC', declared).replace('。', '.')}"
    allowed = Allowed(linux_script=True, logback_root=Path(watch.writable) / "logs", egress=ANYWHERE_HERE)
    before = set(sys.modules)
    watch.active = True
    try:
        async with connected(case["body"], allowed=allowed) as guard:
            with contextlib.suppress(MooringError):
                await guard.probe(STEP_S)
            for operation, request in case["uses"]:
                with contextlib.suppress(MooringError):
                    await guard.use(operation, request, STEP_S)
    except MooringError as exc:
        return f"not opened: {type(exc).__name__}"
    finally:
        watch.active = False
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and not watch._is_ours(file):
                watch.violations.append({"case": watch.case, "event": "import", "what": f"{name} from {file}"})
    return "used"


PLANTS: dict[str, Callable[[Path], Any]] = {
    "subprocess": lambda folder: subprocess.run(["true"], check=False),
    "system": lambda folder: os.system("true"),
    "fork": lambda folder: os.fork(),
    "spawn": lambda folder: os.posix_spawn("/bin/true", ["true"], {}),
    "exec": lambda folder: os.execv("/bin/true", ["true"]),
    "dlopen": lambda folder: ctypes.CDLL("/tmp/c4n4ry.so"),
    "read": lambda folder: Path("/etc/passwd").read_text(),
    "write": lambda folder: Path("/tmp/c4n4ry").write_text(""),
    "low-level write": lambda folder: os.open("/tmp/c4n4ry", os.O_WRONLY | os.O_CREAT),
    "remove": lambda folder: os.remove("/tmp/c4n4ry"),
    "dial": lambda folder: socket.create_connection(("192.0.2.1", 80), 0.1),
    "dial another port": lambda folder: socket.create_connection(("127.0.0.1", 1), 0.1),
    "datagram": lambda folder: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    "socket file": lambda folder: socket.socket(socket.AF_UNIX).connect("/tmp/c4n4ry.sock"),
    "resolve": lambda folder: socket.getaddrinfo("evil.example.com", 80),
    "import": lambda folder: importlib.import_module("c4n4ry_module"),
}  # fmt: skip
"""What must be noticed."""


async def planted(watch: Watch, name: str) -> None:
    """Do one forbidden thing while being watched."""
    if name == "import":
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        (folder / "c4n4ry_module.py").write_text("")
        sys.path.insert(0, str(folder))
    watch.case, watch.active = name, True
    try:
        with contextlib.suppress(Exception):
            PLANTS[name](Path(watch.writable))
    finally:
        watch.active = False


def spy_on_drivers(watch: Watch) -> None:
    """Drivers in C raise no audit events: what they are told is written down instead."""
    from mooring.types.kafka import connector as kafka

    def spied(driver: Any) -> Any:
        def build(settings: dict[str, Any], *rest: Any, **more: Any) -> Any:
            watch.told.append(
                {
                    "case": watch.case,
                    "driver": driver.__name__,
                    "settings": {key: str(value) for key, value in settings.items()},
                }
            )
            return driver(settings, *rest, **more)

        return build

    for name in ("Producer", "Consumer", "AdminClient"):
        setattr(kafka, name, spied(getattr(kafka, name)))

    def never(name: str) -> Any:
        def connect(*text: Any, **more: Any) -> Any:
            watch.told.append(
                {
                    "case": watch.case,
                    "driver": name,
                    "settings": {
                        "text": str(text[0]) if text else "",
                        **{key: str(value) for key, value in more.items()},
                    },
                }
            )
            raise OSError("watched")

        return connect

    for module in ("pyodbc", "ibm_db", "ibm_db_dbi"):
        with contextlib.suppress(ImportError):
            setattr(importlib.import_module(module), "connect", never(module))


async def main() -> None:
    asked = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="mooring-watched-") as folder:
        writable = Path(folder).resolve()
        (writable / "logs").mkdir()
        tempfile.tempdir = str(writable)
        watch = Watch(set(asked["ports"]), writable)
        for card in Registry(asked.get("types", "")):
            card.load_connector()
        spy_on_drivers(watch)
        os.chdir(writable / "logs")  # a name relative to an open folder is told as it stands
        sys.addaudithook(watch.hook)
        with contextlib.suppress(OSError):
            os.close(os.open(BEGIN, os.O_RDONLY))
        ends = [(case["label"], await use(watch, case)) for case in asked["cases"]]
        for name in asked.get("plants", ()):
            await planted(watch, name)
        json.dump({"ends": ends, "violations": watch.violations, "dials": watch.dials, "told": watch.told}, sys.stdout)
        sys.stdout.flush()
    os._exit(0)  # threads of drivers that still wait for a peer hold nobody up


if __name__ == "__main__":
    asyncio.run(main())
