"""Logback itself, from Maven Central: what it makes of a pattern, and of a rolling policy."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tools.services.maven import Jars, find_java_with_compiler
from tools.services.server import NotReady

VERSION = "1.5.38"
_JARS = Jars("logback", [f"ch.qos.logback:logback-classic:{VERSION}"])
_PROGRAM = Path(__file__).parents[2] / "tools" / "services" / "java" / "RealLogback.java"


class Event(NamedTuple):
    """What is logged, and how it is laid out."""

    pattern: str
    millis: int
    level: str = "INFO"
    logger: str = "com.example.orders.Checkout"
    thread: str = "main"
    message: str = "hello"


class RealLogback:
    """Runs Logback in a process of its own, in English, in the time zone that it is asked for."""

    def __init__(self, java: str) -> None:
        self._java = java

    def lines(self, events: Sequence[Event], zone: str = "UTC") -> list[str]:
        """Each event as Logback lays it out."""
        told = "".join(
            "\t".join(
                (_encoded(each.pattern), str(each.millis), each.level, _encoded(each.logger), _encoded(each.thread),
                 _encoded(each.message))
            ) + "\n"
            for each in events
        )  # fmt: skip
        return [base64.b64decode(line).decode() for line in self._run(["lines"], zone, told).splitlines()]

    def roll(self, pattern: str, *, max_bytes: int, count: int, length: int, max_history: int = 0) -> None:
        """Write *count* messages of *length* letters into files that are called by *pattern*."""
        self._run(["roll", pattern, str(max_bytes), str(max_history), str(count), str(length)], "UTC", "")

    def _run(self, arguments: list[str], zone: str, told: str) -> str:
        command = [
            self._java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Duser.timezone={zone}",
            "-Duser.language=en", "-Duser.country=US", "-cp", _JARS.classpath, str(_PROGRAM), *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="session")
def logback() -> RealLogback:
    """Logback itself; skipped where it was not fetched, and fetched in CI."""
    java = find_java_with_compiler()
    try:
        if os.environ.get("CI"):
            _JARS.fetch()
        elif not _JARS.folder.exists():
            pytest.skip("Logback's jars are not here: python -m tests.support.logback fetches them")
    except NotReady as exc:
        pytest.fail(f"Logback cannot be had: {exc}", pytrace=False)
    if java is None:
        message = "there is no Java with a compiler"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return RealLogback(java)


if __name__ == "__main__":
    _JARS.fetch()
