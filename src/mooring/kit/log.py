"""
Events, not prose: one JSON line per thing that happened, on standard error.

`log.info("deployment_acknowledged", connection=id, took_ms=12)`. Names and ids only; never a config, a body
or a secret.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mooring.kit.clock import iso, now_ms

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Writes events at or above its level."""

    def __init__(self, level: str = "info") -> None:
        self.threshold = _LEVELS[level]

    def debug(self, event: str, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level] < self.threshold:
            return
        record = {"at": iso(now_ms()), "level": level, "event": event, **fields}
        sys.stderr.write(json.dumps(record, default=str, ensure_ascii=False) + "\n")


log = Log()
