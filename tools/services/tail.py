"""The end of a file that a server writes to, and what it does not need of it."""

import os
import time
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
_END = 256 * 1024


def appears(file: Path, mark: str, within_s: float = 2.0) -> bool:
    """Whether *mark* stands near the end of *file*, or comes to stand there soon."""
    deadline = time.monotonic() + within_s
    while True:
        if file.exists():
            with file.open("rb") as content:
                content.seek(max(0, file.stat().st_size - _END))
                if mark.encode() in content.read():
                    return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def shorten(file: Path) -> None:
    """Empty *file* if it has grown large. Its server appends, so what comes next stands at its beginning."""
    if file.stat().st_size > MAX_BYTES:
        os.truncate(file, 0)
