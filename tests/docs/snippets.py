"""
The fenced snippets of a page, and how they are run.

`bash` and `python` are run as they stand, in the order of the page, in one folder where a fresh `mooring dev` keeps
its data in `mooring-data`; what a snippet exports, later ones see. Only the address of the page is exchanged for the
one that the test's own Mooring has.

`json` is a body that POST accepts, where it has a `type` and a `name`; otherwise it is the answer of the snippet
before it, where `"..."` stands for anything.

A comment on the line before the fence says otherwise:

    <!-- not run: why -->           it cannot be run here
    <!-- keeps running: text -->    a program that goes on; the next snippet waits until it has printed that text
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_S = 60.0
ADDRESS = "http://127.0.0.1:8080"
ANYTHING = "..."

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)\n(?P=indent)```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- (not run|keeps running): (.+) -->$")


@dataclass(frozen=True)
class Snippet:
    """One fenced block. `line` is where it begins; `marker` and `note` are what the comment before it says."""

    line: int
    language: str
    text: str
    marker: str | None
    note: str


def snippets_of(text: str) -> list[Snippet]:
    """Every fenced block of a page."""
    found = []
    for block in _FENCE.finditer(text):
        before = text[: block.start()].rstrip().rpartition("\n")[2].strip()
        marker = _MARKER.match(before)
        found.append(
            Snippet(
                text.count("\n", 0, block.start()) + 1,
                block["language"],
                block["text"],
                marker[1] if marker else None,
                marker[2] if marker else "",
            )
        )
    return found


class Session:
    """A folder, and an environment that outlives each snippet."""

    def __init__(self, folder: Path, data_dir: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self._variables = folder / ".exported"
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "mooring-data").symlink_to(data_dir)
        (folder / ".venv").symlink_to(sys.prefix)
        self._variables.write_text("")

    def run(self, snippet: Snippet) -> str:
        """What the snippet prints. Fails where it does."""
        text = snippet.text.replace(ADDRESS, self._url)
        script = f"source {self._variables}\nset -euo pipefail\n{text}\nexport -p > {self._variables}\n"
        if snippet.language == "python":
            program = self._folder / "snippet.py"
            program.write_text(text, "utf-8")
            script = f"source {self._variables}\nexec {sys.executable} {program}\n"
        # curl's own progress and messages are no part of what a page shows.
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self._environment(), capture_output=True, text=True,
            timeout=RUN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"line {snippet.line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def keep_running(self, snippet: Snippet) -> None:
        """Start the snippet, and wait until it has printed what its marker says."""
        output = self._folder / f"running-{snippet.line}.log"
        text = snippet.text.replace(ADDRESS, self._url)
        with output.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"source {self._variables}\nexec {text}"], cwd=self._folder, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._running.append(process)
        deadline = time.monotonic() + RUN_S
        while snippet.note not in output.read_text(errors="replace"):
            assert process.poll() is None, f"line {snippet.line} ended:\n{output.read_text(errors='replace')}"
            assert time.monotonic() < deadline, f"line {snippet.line}:\n{output.read_text(errors='replace')}"
            time.sleep(0.05)

    def close(self) -> None:
        """End what keeps running."""
        for process in self._running:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MOORING_")}
        # The command line's default is the address that the pages name; here it is another one.
        return {**kept, "MOORING_URL": self._url, "MOORING_CONFIG": os.devnull, "NO_PROXY": "*", "COLUMNS": "160"}


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where *found* is not what the page shows: every key and value that is shown counts, `"..."` stands for any."""
    if expected == ANYTHING or (isinstance(expected, dict) and expected == {ANYTHING: ANYTHING}):
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            if key not in expected or key not in found:
                yield f"{where}/{key}: {'not shown' if key in found else 'not answered'}"
            else:
                yield from differences(expected[key], found[key], f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if expected == [ANYTHING]:
            return
        if len(expected) != len(found):
            yield f"{where}: {len(expected)} shown, {len(found)} answered"
        for index, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, other, f"{where}/{index}")
    elif expected != found or type(expected) is not type(found):
        yield f"{where}: {json.dumps(expected)} shown, {json.dumps(found)} answered"


def is_body(value: Any) -> bool:
    """Whether the JSON on a page is the body of a connection."""
    return isinstance(value, dict) and isinstance(value.get("type"), str) and isinstance(value.get("name"), str)
