"""Jars from Maven Central, and a Java that runs one source file with them."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.services.server import NotReady, find_program, run

OLDEST_JAVA = 17

_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    "<groupId>mooring.services</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>"
    "<dependencies>{dependencies}</dependencies></project>"
)


class Jars:
    """
    What *coordinates* (`group:artifact:version`) name, with all that they need; fetched once, shared by all checkouts.
    """

    def __init__(self, name: str, coordinates: Sequence[str]) -> None:
        self.name = name
        dependencies = "".join(_DEPENDENCY.format(*each.split(":")) for each in coordinates)
        self._pom = _POM.format(name=name, dependencies=dependencies)
        digest = hashlib.sha256(self._pom.encode()).hexdigest()[:8]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = cache / "mooring-services" / f"{name}-{digest}"

    @property
    def classpath(self) -> str:
        return f"{self.folder}/*"

    def missing_packages(self) -> list[str]:
        """The Debian packages without which the jars can be neither fetched nor used."""
        missing = [] if find_java_with_compiler() is not None else ["default-jdk-headless"]
        if not self.folder.exists() and find_program("mvn") is None:
            missing.append("maven")
        return missing

    def fetch(self) -> None:
        """Bring them here, unless they are. Raises `NotReady`."""
        if self.folder.exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching {self.name} with Maven", flush=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as work:
            Path(work, "pom.xml").write_text(self._pom)
            command = [
                "mvn", "-q", "-B", "-Dstyle.color=never", "-f", f"{work}/pom.xml",
                "dependency:copy-dependencies", f"-DoutputDirectory={work}/jars",
            ]  # fmt: skip
            try:
                run(command, timeout_s=300)
            except NotReady:
                run(command, timeout_s=300)
            Path(work, "jars").replace(self.folder)


def find_java_with_compiler() -> str | None:
    """A Java that is new enough and has a compiler: the one on the path, or the newest of Debian's."""
    for compiler in (shutil.which("javac"), find_program("/usr/lib/jvm/*/bin/javac")):
        if compiler is not None:
            java = Path(compiler).resolve().with_name("java")
            if java.exists() and _version(java) >= OLDEST_JAVA:
                return str(java)
    return None


def _version(java: Path) -> int:
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False).stderr
    number = printed.partition('"')[2].partition('"')[0]
    return int(number.split(".")[0]) if number[:1].isdigit() else 0
