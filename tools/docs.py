"""
The parts of the documentation that the code knows better: tables between markers, and a page for each connection type.

    python -m tools.docs            rewrite the tables
    python -m tools.docs --check    say which are out of date, and fail if any is

The tables stand in the files, so that they can be read without building anything. The pages of the types are made
while the site is built (MkDocs loads this file as a hook), from the READMEs of the rooms, and stand nowhere else.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import typer.main

from mooring import errors
from mooring.api.routes import ROUTES
from mooring.cli.main import app
from mooring.kit.settings import Settings
from mooring.plugin.card import ConnectionType
from mooring.plugin.registry import Registry
from mooring.worker.local import STATUS as LOCAL_STATUS

DOCS = Path(__file__).resolve().parent.parent / "docs"
_TYPE_NAV = "Connection types"
_ROOM_LINK = re.compile(r"\.\./src/mooring/types/(\w+)/README\.md")
_RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)")


def types_table() -> str:
    """Every connection type, what can be done with it through a worker, and whether that works yet."""
    rows = []
    for card in sorted(Registry(), key=lambda card: card.connector is None):
        link = f"[{card.title}](../src/mooring/types/{card.folder.name}/README.md)"
        verbs = ", ".join(f"`{verb}`" for verb in card.operations)
        state = "**usable**" if card.connector else "kept, not usable yet"
        rows.append((link, f"`{card.name}`", card.group, verbs, state))
    return _table(("System", "`type`", "Group", "Operations", "State"), rows)


def settings_table() -> str:
    """Every setting."""
    rows = []
    for name, info in Settings.model_fields.items():
        default = "" if info.default is None else f"`{info.default}`" if str(info.default) else ""
        meaning = (info.description or "").replace("<", "&lt;")
        rows.append((f"`MOORING_{name.upper()}`", default, meaning))
    return _table(("Setting", "Default", "What it is for"), rows)


def routes_table() -> str:
    """Every route of the API, a table for each subject."""
    parts = []
    for tag in _TAGS:
        rows = []
        for card in ROUTES:
            if card.tag == tag and not card.hidden:
                query = ", ".join(f"`{name}`" for name in card.query)
                rows.append((f"`{card.method}`", f"`{card.path}`", card.summary, str(card.demands), query))
        parts.append(f"### {tag}\n\n{_table(('Method', 'Path', 'What it does', 'Demands', 'Query'), rows)}")
    return "\n\n".join(parts)


_TAGS = (
    "Connections", "Keystores", "Certificates", "Environment variables", "Connection types", "Projects", "Environments", "Workers", "Tokens", "Users", "Data keys", "Audit", "Health",
)  # fmt: skip


def local_errors_table() -> str:
    """Every error that using a connection may end with."""
    rows = []
    for kind in _family(errors.MooringError):
        if issubclass(kind, errors.ConnectorError | errors.UseError) and kind not in (
            errors.ConnectorError,
            errors.UseError,
        ):
            status = next(LOCAL_STATUS[cls] for cls in kind.__mro__ if cls in LOCAL_STATUS)
            rows.append((f"`{kind.code}`", str(status), f"`{kind.__name__}`", (kind.__doc__ or "").splitlines()[0]))
    return _table(("`error`", "Status", "In Python", "Means"), rows)


def commands_table() -> str:
    """Every command of the command line."""
    return _table(("Command", "What it does"), [(f"`{name}`", said) for name, said in commands()])


def commands() -> Iterator[tuple[str, str]]:
    """Every command, and the first line of its help."""
    yield from _commands(typer.main.get_command(app), "mooring")


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "connection-types.md": {"types": types_table},
    "api.md": {"routes": routes_table, "use errors": local_errors_table},
    "operations.md": {"settings": settings_table, "commands": commands_table},
}


def filled(path: str) -> str:
    """The page *path* with its tables as they should be. Raises `ValueError` where a marker is missing."""
    text = (DOCS / path).read_text("utf-8")
    for name, table in TABLES[path].items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- /generated: {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"docs/{path} has no {begin} and {end}")
        text = f"{before}{begin}\n\n{table()}\n\n{end}{after}"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the tables, or with `--check` verify them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a table is out of date")
    check = parser.parse_args(arguments).check
    stale = False
    for path in TABLES:
        text = filled(path)
        if text == (DOCS / path).read_text("utf-8"):
            continue
        stale = True
        print(f"docs/{path}: a table {'is out of date; make fix renews it' if check else 'was rewritten'}")
        if not check:
            (DOCS / path).write_text(text, "utf-8")
    return 1 if stale and check else 0


def type_page(card: ConnectionType) -> str:
    """The page of one type: the README of its room, with what its name card says in front and its example behind."""
    title, _, rest = (card.folder / "README.md").read_text("utf-8").partition("\n")
    rest = _RELATIVE_LINK.sub(lambda found: f"`{found[1]}`", rest)
    spellings = ", also written " + ", ".join(f"`{alias}`" for alias in card.aliases) if card.aliases else ""
    facts = [f"`type`: **`{card.name}`**{spellings}"]
    if card.connector:
        facts.append("Operations: " + ", ".join(f"`{verb}`" for verb in card.operations))
    else:
        facts.append("Can be described, checked, kept and delivered; **not usable through a worker yet**")
    if card.connector and card.extra:
        facts.append(f'Its driver comes with `pip install "mooring[{card.extra}]"`')
    if card.note:
        facts.append(card.note)
    example = json.dumps(card.example, indent=2, ensure_ascii=False)
    listed = "\n".join(f"- {fact}" for fact in facts)
    return f"{title}\n\n{listed}\n{rest}\n## A whole body\n\n```json\n{example}\n```\n"


# What MkDocs calls while it builds the site


def on_config(config: Any) -> Any:
    """Put the pages of the types into the navigation, by title."""
    for entry in config.nav:
        if isinstance(entry, dict) and _TYPE_NAV in entry:
            pages = sorted(((card.title, _page_of(card)) for card in Registry()), key=lambda page: page[0].lower())
            entry[_TYPE_NAV] += [{title: path} for title, path in pages]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the types."""
    from mkdocs.structure.files import File

    for card in Registry():
        files.append(File.generated(config, _page_of(card), content=type_page(card)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the site the READMEs of the rooms are pages below the overview."""
    return _ROOM_LINK.sub(r"connection-types/\1.md", markdown)


def _page_of(card: ConnectionType) -> str:
    return f"connection-types/{card.folder.name}.md"


def _family(kind: type[errors.MooringError]) -> Iterator[type[errors.MooringError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _family(child)


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    inner: dict[str, click.Command] = getattr(command, "commands", {})
    if name != "mooring" and not (inner and getattr(command, "no_args_is_help", False)):
        yield name, (command.help or "").strip().splitlines()[0]
    for word, child in inner.items():
        yield from _commands(child, f"{name} {word}")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(head)
    lines = [_line(heads), _line("---" for _ in heads), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
