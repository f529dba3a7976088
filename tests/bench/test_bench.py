"""`make bench` measures what it says, in its quick form; no figure is judged here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.timeout(300)
def test_the_quick_form_prints_every_line_beside_its_baseline():
    """All figures are measured, the two rates beside those of the bare baseline, and no request goes wrong."""
    if shutil.which("wrk") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("wrk is not installed: apt-get install wrk")

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )

    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() not in ("what", "uses per second, 32 in flight")]
    used, rows = [row for row in rows if len(row) == 9], [row for row in rows if len(row) == 6]
    assert len(rows) == 8
    assert all(float(cell.replace(",", "")) > 0 for row in used for cell in row[1:5]), used
    assert [row[2].strip() != "" for row in rows[:2]] == [True, True]
