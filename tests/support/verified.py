"""
What a test run saw working, for the table in `docs/connection-types.md`: which server, version and TLS mode.

A run of all of `tests/e2e/test_every_type.py` writes the table, whatever else it ran; a part of it writes nothing.
A variant whose server is started only when asked for keeps the line that an earlier run gave it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mooring.plugin.registry import Registry
from tests.support.targets import target_module, variants

PAGE = Path(__file__).resolve().parents[2] / "docs" / "connection-types.md"
BEGIN, END = "<!-- written by the tests: verified -->", "<!-- /written by the tests: verified -->"
HEAD = ("Type", "Variant", "Verified with", "TLS")

Row = tuple[str, str, str, str]


class Verified:
    """Collects, in the process that reports, what every variant came to."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "variant" and report.skipped:
                self.skipped.add(str(value))
            if name == "verified" and report.when == "call" and report.passed:
                kind, variant, server, tls = value
                self.rows[f"{kind}-{variant}"] = (f"`{kind}`", variant, server, tls)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        expected = {f"{variant.type}-{variant.name}" for variant in variants()}
        rows = {key: row for key, row in written() if key in self.skipped} | self.rows
        # A variant that failed keeps the run from claiming anything.
        if expected and expected == set(rows):
            write([rows[key] for key in sorted(rows, key=str.lower)] + list(unverified()))


def written() -> Iterator[tuple[str, Row]]:
    """The lines that are in the page, by variant."""
    _, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    for line in rest.partition(END)[0].splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(HEAD) and cells[0].startswith("`"):
            kind, variant, server, tls = cells
            yield f"{kind.strip('`')}-{variant}", (kind, variant, server, tls)


def unverified() -> Iterator[Row]:
    """What could not be met for real, and why, as each room says."""
    for card in Registry():
        module = target_module(card.config.__module__)
        for variant, reason in getattr(module, "UNVERIFIED", {}).items():
            yield f"`{card.name}`", variant, f"**not verified**: {reason}", ""


def write(rows: list[Row]) -> None:
    """Put *rows* into the page, which stays as it is when they are already there."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [_line(HEAD), _line("---" for _ in HEAD), *(_line(row) for row in rows)]
    fresh = f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}"
    if fresh != text:
        PAGE.write_text(fresh, "utf-8")


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Verified(), "verified")
