"""The documentation says what the code does: nothing is missing, every link leads somewhere, the site builds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from mooring import errors
from mooring.api.errors import status_of
from mooring.api.pages import ROUTES as PAGES_OF_THE_API
from mooring.api.routes import ROUTES
from mooring.control.verdict import overall
from mooring.domain.rights import EVERY_GRANT
from mooring.kit.settings import Settings
from mooring.plugin.registry import Registry
from mooring.worker.local import STATUS as LOCAL_STATUS
from tools import docs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
SOURCES = sorted((ROOT / "src" / "mooring").rglob("*.py"))
KINDS = ("added", "changed", "fixed", "security", "removed")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def every_error() -> Iterator[type[errors.MooringError]]:
    waiting: list[type[errors.MooringError]] = [errors.MooringError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("mooring."):
            yield kind


@pytest.mark.parametrize("name", sorted(docs.TABLES))
def test_generated_tables_are_current(name: str) -> None:
    """The tables that the code writes are as it would write them now: `make fix`."""
    assert docs.filled(name) == page(name)


def test_every_setting_is_named() -> None:
    """Operations names every setting."""
    text = page("operations.md")

    assert [name for name in Settings.model_fields if f"`MOORING_{name.upper()}`" not in text] == []


def test_every_command_is_named() -> None:
    """Operations names every command."""
    text = page("operations.md")

    commands = [name for name, _ in docs.commands()]

    assert [name for name in commands if f"`{name}`" not in text] == []
    assert len(commands) > 10


def test_every_route_is_named() -> None:
    """The API page names every route, those of pages and of workers too."""
    text = page("api.md")

    shown = [f"| `{card.method}` | `{card.path}` |" for card in ROUTES if not card.hidden]
    others = [card.path for card in ROUTES if card.hidden] + [
        route.path for route in PAGES_OF_THE_API if "assets" not in route.path
    ]

    assert [row for row in shown if row not in text] == []
    assert [path for path in others if f"`{path}`" not in text] == []


def test_every_error_is_in_the_catalogue() -> None:
    """The API page has a row for each status and code that the control plane answers, and for each error of use."""
    text = page("api.md")

    for kind in every_error():
        if issubclass(kind, errors.UseError | errors.ConnectorError):
            status = next((LOCAL_STATUS[cls] for cls in kind.__mro__ if cls in LOCAL_STATUS), None)
            assert f"`{kind.code}`" in text, kind.__name__
            if kind.__module__ == errors.__name__ and kind not in (errors.UseError, errors.ConnectorError):
                assert f"| `{kind.code}` | {status} |" in text, kind.__name__
        else:
            assert f"| {status_of(kind.__new__(kind))} | `{kind.code}` |" in text, kind.__name__


def test_every_code_in_the_source_is_named() -> None:
    """A code that is given to a single error somewhere in the source stands in the catalogue too."""
    text = page("api.md")

    codes = {
        code for path in SOURCES for code in re.findall(r"\.?code = \"([a-z_]+)\"", path.read_text(encoding="utf-8"))
    }

    assert sorted(code for code in codes if f"`{code}`" not in text) == []
    assert len(codes) > 15


def test_every_reason_is_explained() -> None:
    """The API page explains every reason that a worker may report."""
    text = page("api.md")
    pool = (ROOT / "src" / "mooring" / "worker" / "pool.py").read_text("utf-8")

    reasons = set(re.findall(r"\"([A-Z]+_[A-Z_]+|INTERNAL)\"", pool))

    assert sorted(reason for reason in reasons if f"| `{reason}` |" not in text) == []
    assert len(reasons) > 5


def test_every_state_is_explained() -> None:
    """The API page explains every state of a deployment."""
    text = page("api.md")
    verdict = Path(str(sys.modules[overall.__module__].__file__)).read_text("utf-8")

    states = set(re.findall(r"\"(PENDING|SUCCEEDED|PARTIAL|FAILED|NO_WORKERS)\"", verdict)) | {"DEADLINE_EXCEEDED"}

    assert [state for state in states if f"`{state}`" not in text] == []
    assert len(states) == 6


def test_every_grant_is_explained() -> None:
    """The API page says what each grant allows."""
    text = page("api.md")

    assert sorted(grant for grant in EVERY_GRANT if f"| `{grant}` |" not in text) == []


def test_every_type_is_named_and_has_a_page() -> None:
    """The overview names every type; its page has what its name card says, the room's README, and the whole example."""
    text = page("connection-types.md")

    for card in Registry():
        made = docs.type_page(card)
        assert f"`{card.name}`" in text
        assert all(f"`{verb}`" in text for verb in card.operations), card.name
        assert f"**`{card.name}`**" in made
        assert "<!-- fields -->" in made
        assert f'"type": "{card.name}"' in made


def test_what_a_card_offers_is_what_the_connector_does() -> None:
    """The operations on a name card, which the overview shows, are those of the connector."""
    for card in Registry():
        offered = tuple(card.load_connector().operations) if card.connector else ()
        assert sorted(card.operations) == sorted(offered), card.name


def test_the_bench_has_its_place() -> None:
    """`make bench ARGS=--write` finds the two markers that its table stands between."""
    text = page("performance.md")

    assert text.count("<!-- bench -->") == text.count("<!-- /bench -->") == 1
    assert text.index("<!-- bench -->") < text.index("<!-- /bench -->")


def test_what_reliability_names_is_there() -> None:
    """Every test that is said to show a promise exists, and every promise has its row."""
    text = page("reliability.md")

    named = set(re.findall(r"`(tests/[\w/.]+)`", text))

    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    assert [number for number in range(1, 16) if f"| I{number} |" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link leads to a file that is there, and to a heading in it where it says so."""
    text = _CODE.sub("", _FENCED.sub("", path.read_text("utf-8")))

    broken = []
    for link in _LINK.findall(text):
        target, _, heading = unquote(link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (path.parent / target) if target else path
        if not found.exists() or (heading and heading not in headings(found)):
            broken.append(link)

    assert not broken


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = _FENCED.sub("", path.read_text("utf-8"))
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", line.lower())).strip("-")
        for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def test_fragments_of_the_changelog_have_a_kind_and_a_room() -> None:
    """Each fragment is one line that begins with a room's name, in a file named by its kind."""
    for path in sorted((ROOT / "changelog.d").iterdir()):
        assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md", path.name), path.name
        assert re.fullmatch(r"[a-z0-9-]+: \S.*\.\n", path.read_text("utf-8")), path.name


def test_the_site_builds(tmp_path: Path) -> None:
    """The site builds without a warning, has a page for each type, and fetches nothing from elsewhere."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]

    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "site"
    assert {path.stem for path in (built / "connection-types").glob("*.html")} == {
        card.folder.name for card in Registry()
    }
    fetched = [
        found
        for path in built.rglob("*.html")
        for found in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:[^\s>]*", path.read_text("utf-8"))
        if "canonical" not in found
    ]
    assert fetched == []
