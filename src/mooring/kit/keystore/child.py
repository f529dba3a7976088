"""
The child process in which a file is opened: limits first, then one file from standard input, one answer, and the end.

    → one line of JSON (kind, password, alias), then the file
    ← {"opened": {...}} or {"field": ..., "reason": ...}
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from typing import Any

from mooring.kit.keystore.opened import Unreadable
from mooring.kit.keystore.reader import MAX_FILE, open_certificate, open_file

CPU_S = 8
MEMORY_BYTES = 384 * 1024 * 1024
HEAD_BYTES = 16 * 1024


def main() -> None:
    """Limits, then the one file."""
    limit()
    source = sys.stdin.buffer
    ask = json.loads(source.readline(HEAD_BYTES))
    data = source.read(MAX_FILE + 1)
    try:
        if ask["kind"] == "CERTIFICATE":
            opened = open_certificate(data)
        else:
            opened = open_file(ask["kind"], data, ask["password"], ask["alias"])
        answer: dict[str, Any] = {"opened": asdict(opened)}
    except Unreadable as exc:
        answer = {"field": exc.field, "reason": exc.reason}
    except (MemoryError, RecursionError):
        answer = {"field": "file", "reason": "it takes too much memory to open"}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def limit() -> None:
    """Bound what a hostile file can make this process take."""
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 16), (resource.RLIMIT_NPROC, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
