"""
Files from strangers are opened in a child process with limits, a few at a time.

What goes wrong in there (no end, no memory, a crash in a library) ends the child, and is a clear refusal here. The
child gets the file and its password through a pipe; no setting, descriptor or secret of this process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mooring.errors import Unavailable
from mooring.kit.keystore.opened import Opened, Unreadable
from mooring.kit.log import log

AT_ONCE = 2
WAITING = 32
WALL_S = 20.0
MAX_ANSWER = 8 * 1024 * 1024

# Isolated: neither PYTHON* variables nor the working directory decide what runs there.
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from mooring.kit.keystore.child import main; main()"
_KEPT_VARIABLES = ("LD_LIBRARY_PATH",)


class Sandbox:
    """Opens files, at most `AT_ONCE` at the same time; the event loop goes on meanwhile."""

    def __init__(self, *, wall_s: float = WALL_S) -> None:
        self._wall_s = wall_s
        self._threads = ThreadPoolExecutor(AT_ONCE, "mooring-keystore")
        self._waiting = 0

    async def open(self, kind: str, data: bytes, password: str | None = None, alias: str | None = None) -> Opened:
        """
        What the keystore *data* of the type *kind* holds; `CERTIFICATE` is one certificate in PEM.

        Raises:
            Unreadable: it cannot be opened; says which field to correct, and never what stands in the file.
            Unavailable: too many files wait.
        """
        if self._waiting >= WAITING:
            raise Unavailable("too many keystores are being opened", hint="Retry in a moment.")
        ask = json.dumps({"kind": kind, "password": password, "alias": alias}).encode() + b"\n" + data
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._opened, ask)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Begin no more; those that run end by their deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _opened(self, ask: bytes) -> Opened:
        """On a thread: starting a process takes a moment that the event loop does not have."""
        path = [str(Path(entry).resolve()) for entry in sys.path]
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, *path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, close_fds=True, cwd="/", start_new_session=True,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        )  # fmt: skip
        deadline = threading.Timer(self._wall_s, process.kill)
        deadline.start()
        try:
            return _read(*_exchange(process, ask))
        finally:
            deadline.cancel()
            process.kill()
            process.wait()


def _exchange(process: subprocess.Popen[bytes], ask: bytes) -> tuple[bytes, int]:
    """What the child answers to *ask*, and how it ended."""
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        try:
            process.stdin.write(ask)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read everything; the status says why
        answer = process.stdout.read(MAX_ANSWER + 1)
    if len(answer) > MAX_ANSWER:
        process.kill()
    return answer, process.wait()


def _read(answer: bytes, status: int) -> Opened:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        raise Unreadable("file", "it takes too long to open")
    try:
        if status != 0:
            raise ValueError(status)
        said: dict[str, Any] = json.loads(answer)
        opened = said.get("opened")
        if opened is None:
            raise Unreadable(str(said["field"]), str(said["reason"]))
        return Opened(
            list(opened["entries"]), *(_text(opened[part]) for part in ("trusted", "chain", "key"))
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        log.warning("keystore_child_ended", status=status)
        raise Unreadable("file", "it cannot be opened: it takes too much memory, or breaks what opens it") from None


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value
