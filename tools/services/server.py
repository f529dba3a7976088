"""What every server knows how to do, and what it is given to do it with."""

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tools.services.context import Context

Entry = dict[str, Any]
"""What the state file says about one server: where it is and how to log in."""


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class NotReady(Exception):
    """A server that does not answer as it should, and what it did instead."""


class Server:
    """
    One kind of server: how to install, start, ask and stop it.

    A server holds no state between calls, so that a later process can stop
    what an earlier one started: what must be remembered goes into its entry.
    """

    name: ClassVar[str]

    packages: ClassVar[Mapping[str, str]] = {}
    """Debian packages, each with a program (a name or a path with wildcards) that it brings."""

    ready_within_s: ClassVar[float] = 45

    optional: ClassVar[bool] = False
    """Too heavy to be started with the others: by name, or with MOORING_HEAVY_SERVICES in the environment."""

    def missing_packages(self) -> list[str]:
        """The Debian packages that are still to be installed."""
        return [name for name, program in self.packages.items() if find_program(program) is None]

    def install(self) -> None:
        """Fetch what comes from elsewhere than Debian; called after Debian's packages are there."""

    def start(self, context: Context) -> Entry:
        """
        Spawn the server in its empty folder and return its entry without waiting for it.

        The entry has an ``address`` (``host:port``) and a ``version``.
        """
        raise NotImplementedError

    def ask(self, entry: Entry) -> None:
        """Put one real question to the server; raise `NotReady` unless it answers well."""
        raise NotImplementedError

    def prepare(self, entry: Entry) -> None:
        """Bring users and databases to what *entry* says, also where a test has changed them."""

    def stop(self, context: Context) -> None:
        """End all processes of this server; one that does not run is no error."""
        context.stop(self.name)

    def ready(self, entry: Entry, context: Context) -> None:
        """Wait until the server answers; raise `NotReady` when it ends or the deadline passes."""
        deadline = time.monotonic() + self.ready_within_s
        while True:
            try:
                return self.ask(entry)
            except NotReady as exc:
                if not context.is_running(self.name):
                    raise NotReady("it ended while starting") from exc
                if time.monotonic() > deadline:
                    raise NotReady(f"no answer in {self.ready_within_s:.0f} s: {exc}") from exc
            time.sleep(0.05)


def find_program(program: str) -> str | None:
    """The path of *program*, the highest version first where a wildcard finds several."""
    if "/" not in program:
        return shutil.which(program)
    found = Path("/").glob(program.lstrip("/"))
    newest_first = sorted(found, key=lambda path: _numbers(str(path)), reverse=True)
    return str(newest_first[0]) if newest_first else None


def _numbers(text: str) -> list[int]:
    return [int(part) for part in "".join(c if c.isdigit() else " " for c in text).split()]


def run(
    command: Sequence[str],
    *,
    timeout_s: float = 30,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
) -> str:
    """The standard output of *command*; `NotReady` with its first words when it fails."""
    try:
        done = subprocess.run(
            command, input=text, env=environment, timeout=timeout_s,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise NotReady(f"{Path(command[0]).name} did not end in {timeout_s:.0f} s") from exc
    if done.returncode:
        said = _COLOURS.sub("", done.stderr).strip() or _COLOURS.sub("", done.stdout).strip()
        words = " / ".join(said.splitlines()[:3])
        raise NotReady(f"{Path(command[0]).name} ended with {done.returncode}: {words}")
    return done.stdout
