"""`make type NAME=x` makes a room that passes everything at once, and refuses names that would not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools.new_type import Refused, check_name

ROOT = Path(__file__).parents[2]
COPIED = ("src", "tools", "docs", "tests", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
NAMES = ("redis", "my-message_queue")


class House:
    """A copy of this repository, in which rooms may be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A module of Python, with the copy's own code."""
        path = os.pathsep.join([str(self.folder / "src"), str(self.folder)])
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A house with two new rooms."""
    house = House(tmp_path_factory.mktemp("house"))
    for name in NAMES:
        made = house.run("tools.new_type", name)
        assert made.returncode == 0, made.stdout + made.stderr
    return house


def test_a_new_room_passes_style_and_types(house: House) -> None:
    """Nothing to repair before the first line is written."""
    rooms = [f"src/mooring/types/{name.replace('-', '_')}" for name in NAMES]

    for command in (("ruff", "check", *rooms), ("ruff", "format", "--check", *rooms), ("mypy", *rooms)):
        done = house.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", NAMES)
def test_a_new_room_passes_its_own_tests(house: House, name: str) -> None:
    """Against a real server of its own."""
    done = house.run("pytest", f"src/mooring/types/{name.replace('-', '_')}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_new_room_passes_the_conformance_suite(house: House) -> None:
    """Every fact that can be asked of a type without secrets holds."""
    done = house.run("pytest", "tests/plugin/test_conformance.py", "-rs", "-k", " or ".join(NAMES))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 passed, 4 skipped" in done.stdout, done.stdout
    assert "has no credential" in done.stdout
    assert "no secret that could follow" in done.stdout


def test_the_documentation_has_it(house: House) -> None:
    """Its fields stand in its README, its line in the overview, and the tables are current."""
    assert "| `host` |" in (house.folder / "src/mooring/types/redis/README.md").read_text()
    assert "`my-message_queue`" in (house.folder / "docs/connection-types.md").read_text()
    assert house.run("tools.docs", "--check").returncode == 0
    assert not any(f"{name}:" in house.run("mooring.plugin.reference", "--check").stdout for name in NAMES)


def test_the_api_has_it(house: House) -> None:
    """The registry finds it by walking; its example is a body that POST accepts."""
    program = (
        "import json\nfrom mooring.plugin.registry import Registry\n"
        "print(json.dumps(Registry().get('MY-message_queue').example))"
    )
    path = house.folder / "ask.py"
    path.write_text(program)

    done = house.run("ask")

    assert json.loads(done.stdout)["type"] == "my-message_queue", done.stderr


def test_a_room_is_made_once(house: House) -> None:
    """The second time the name is taken, and nothing is written."""
    before = (house.folder / "src/mooring/types/redis/model.py").stat().st_mtime_ns

    done = house.run("tools.new_type", "redis")

    assert done.returncode == 1
    assert "already" in done.stderr
    assert (house.folder / "src/mooring/types/redis/model.py").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Redis",
        "re dis",
        "../redis",
        "1st",
        "redis-",
        "-redis",
        "re--dis",
        "rédis",
        "class",
        "match",
        "tests",
        "a" * 41,
    ],
)
def test_a_bad_name_is_refused(name: str) -> None:
    """A name that cannot be a folder, a module, and a word on the wire."""
    with pytest.raises(Refused):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["email", "kafka", "rabbitmq", "ops-genie", "opsgenie", "linux_script", "linux-script"]
)
def test_a_taken_name_is_refused(name: str) -> None:
    """Also one that differs by case, or is an alias or a folder of a type that there is."""
    with pytest.raises(Refused, match="already"):
        check_name(name)
