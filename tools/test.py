"""
Runs the tests: the real servers first, where they can be had, then pytest.

As root on Debian the servers are installed and started; elsewhere those that run are used. Under CI a server that
could not be started is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.services import apt

PROGRAMS = {"wrk": "wrk", "curl": "curl"}
"""Programs that tests run, and the Debian packages that bring them."""


def main(arguments: list[str]) -> int:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        apt.install({program: [package] for program, package in PROGRAMS.items() if shutil.which(program) is None})
        code = subprocess.run([sys.executable, "-m", "tools.services", "start"], check=False).returncode
        if code and os.environ.get("CI"):
            return code
    chosen = arguments or ["-n", "3", "--dist", "loadgroup"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *chosen], check=False, cwd=Path(__file__).parent.parent
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
