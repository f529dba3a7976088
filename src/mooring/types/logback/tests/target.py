"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.support.targets import WEATHER, Target

FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"text": "hello"})
_NO_NETWORK = "it writes files on the worker and uses no network"
EXEMPT: dict[str, str] = dict.fromkeys(("closed_port", "canary", "black_hole"), _NO_NETWORK)


@contextmanager
def _target() -> Iterator[Target]:
    mark = uuid.uuid4().hex
    folder = f"verified-{mark}"
    places: set[Path] = set()

    def seen(answer: dict[str, Any]) -> Any:
        file = Path(answer["file"])
        places.add(file.parent)
        return file.parent.name == folder and f"WARN  - {mark}\n" in file.read_text()

    try:
        yield Target(
            body={
                "type": "logback", "logPath": folder, "logFileName": "orders", "logPodName": "pod-1",
                "logPattern": "%d{HH:mm:ss.SSS} %-5level - %msg%n",
            },
            operation="send",
            request={"text": mark, "level": "WARN"},
            seen=seen,
            server="files on the worker",
            ends=dict.fromkeys(WEATHER, _NO_NETWORK),
        )  # fmt: skip
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {"files": _target}
