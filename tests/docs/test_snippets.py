"""Every snippet of the README and of the documentation does what the page says."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring.plugin.config import read_config
from mooring.plugin.registry import Registry
from mooring.wire.body import read_connection_body
from tests.docs.snippets import Session, Snippet, differences, is_body, snippets_of
from tests.support.plane import running_dev

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = [card.folder / "README.md" for card in Registry()]
RUN = ("bash", "python")
LANGUAGES = {*RUN, "json", "text", "toml"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def is_run(snippet: Snippet) -> bool:
    return snippet.language in RUN and snippet.marker != "not run"


def is_answer(snippet: Snippet) -> bool:
    return snippet.language == "json" and snippet.marker != "not run" and not is_body(json.loads(snippet.text))


@pytest.fixture
def session() -> Iterator[Session]:
    """A folder with a fresh Mooring, as one has it after `make run`."""
    folder = Path(tempfile.mkdtemp(prefix="mooring-docs-"))
    with running_dev() as dev:
        session = Session(folder, dev.data_dir, dev.url)
        try:
            yield session
        finally:
            session.close()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(is_run, snippets_of(page.read_text("utf-8"))))], ids=name_of
)
def test_every_snippet_of_a_page_runs(page: Path, session: Session) -> None:
    """The snippets of a page run one after the other, and answer what the page shows."""
    answered: str | None = None
    for snippet in snippets_of(page.read_text("utf-8")):
        if snippet.marker == "keeps running":
            session.keep_running(snippet)
        elif is_run(snippet):
            answered = session.run(snippet)
        elif is_answer(snippet):
            assert answered, f"line {snippet.line}: nothing was answered before it"
            wrong = list(differences(json.loads(snippet.text), json.loads(answered)))
            assert not wrong, f"line {snippet.line}: {'; '.join(wrong)}\n{answered}"


@pytest.mark.parametrize("page", [*PAGES, *ROOMS], ids=name_of)
def test_every_body_is_one_that_post_accepts(page: Path) -> None:
    """A connection's body that stands on a page, or in the README of a room, is accepted."""
    for snippet in snippets_of(page.read_text("utf-8")):
        if snippet.language != "json" or snippet.marker == "not run" or not is_body(json.loads(snippet.text)):
            continue
        body = read_connection_body(snippet.text.encode())

        assert body.type_name is not None
        assert not body.problems, f"line {snippet.line}"
        read_config(Registry().get(body.type_name).config, body.fields)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_snippet_is_forgotten(page: Path) -> None:
    """Each snippet has a language that is run, compared, or meant to be read; a marker is one that means something."""
    text = page.read_text("utf-8")

    strange = [(snippet.line, snippet.language) for snippet in snippets_of(text) if snippet.language not in LANGUAGES]

    assert not strange
    assert text.count("```") == 2 * len(snippets_of(text))
    assert text.count("<!-- not run") + text.count("<!-- keeps running") == sum(
        snippet.marker is not None for snippet in snippets_of(text)
    )
