"""The state file: where the servers are, for tests and for the next `start`."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.services.context import STATE_FOLDER

STATE_FILE = STATE_FOLDER / "state.json"


def read() -> dict[str, Any]:
    """What the last `start` wrote, or nothing."""
    try:
        state: dict[str, Any] = json.loads(STATE_FILE.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return state


def write(state: dict[str, Any]) -> None:
    """Replace the state file; it holds passwords, so only we may read it."""
    fresh = STATE_FILE.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(state, indent=2, sort_keys=True, default=str) + "\n")
    fresh.replace(STATE_FILE)


@contextlib.contextmanager
def alone(folder: Path = STATE_FOLDER) -> Iterator[None]:
    """Wait until no other process starts or stops servers of this checkout."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
