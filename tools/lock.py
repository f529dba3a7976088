"""Writes requirements.lock: every package that Mooring and its tests need, with hashes, for every Python it runs on."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--extra", "all", "--extra", "dev", "--universal",
        "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet", "--upgrade", "-o", "requirements.lock",
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
