"""`mooring audit`: reading it, copying it, and checking that nobody bent it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.cli.programs import read_settings
from mooring.errors import BadRequest

audit_app = typer.Typer(no_args_is_help=True, help="Who changed what, and whether that record is whole.")

Project = Annotated[str | None, typer.Option(help="Of this project only.")]
Who = Annotated[str | None, typer.Option(help="By this actor.")]
What = Annotated[str | None, typer.Option(help="This action, such as create, update, delete, reveal.")]
Noun = Annotated[str | None, typer.Option(help="Done to this kind of thing, such as connection or token.")]
Name = Annotated[str | None, typer.Option(help="Done to the thing of this name.")]
Since = Annotated[str | None, typer.Option("--from", help="At this instant or later, such as 2026-01-31T08:00:00Z.")]
Until = Annotated[str | None, typer.Option("--to", help="Before this instant.")]
DataDir = Annotated[Path | None, typer.Option(help="The control plane's folder.")]

_SHOWN = 60


@audit_app.command("list")
@output.clear_errors
def list_entries(
    project: Project = None, actor: Who = None, action: What = None, noun: Noun = None, name: Name = None,
    since: Since = None, until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False,
) -> None:  # fmt: skip
    """The newest entries."""
    found = client().list_audit(
        project=project, actor=actor, action=action, noun=noun, name=name, since=since, until=until, limit=limit
    )["resultList"]
    if as_json:
        output.data(found)
        return
    output.table(
        ("Number", "At", "Who", "Did", "To", "In", "Changed"),
        [
            (e["seq"], e["at"], e["actor"], e["action"], f"{e['noun']} {e['name']}", e["projectName"] or "", _changes(e))
            for e in found
        ],
    )  # fmt: skip


@audit_app.command("export")
@output.clear_errors
def export_entries(
    project: Project = None, actor: Who = None, action: What = None, noun: Noun = None, name: Name = None,
    since: Since = None, until: Until = None,
) -> None:  # fmt: skip
    """A copy on standard output, a line of JSON for each entry and each link; one of everything can be checked later."""
    for line in client().export_audit(
        project=project, actor=actor, action=action, noun=noun, name=name, since=since, until=until
    ):
        typer.echo(line)


@audit_app.command("head")
@output.clear_errors
def head() -> None:
    """Where the chain ends now: keep it elsewhere, and `verify --head` shows later that nothing was cut off."""
    typer.echo(json.dumps(client().audit_head()["resultList"][0]))


@audit_app.command("verify")
@output.clear_errors
def verify(
    data_dir: DataDir = None,
    file: Annotated[
        Path | None, typer.Option(help="Check this copy, made by `export`, in place of the database.")
    ] = None,
    head_file: Annotated[
        Path | None, typer.Option("--head", help="A head that was kept: `mooring audit head`.")
    ] = None,
) -> None:
    """
    Check every entry against the chain; here, with the master key, also while the control plane runs.

    Names the first bad record and ends with status 1.
    """
    import asyncio

    from mooring import serve

    kept = _kept(head_file) if head_file is not None else None
    verdict = asyncio.run(serve.check_audit(read_settings(data_dir=data_dir), file, kept))
    if verdict.wrong is not None:
        typer.secho(f"mooring: the audit is not whole: {verdict.wrong}", err=True, fg="red")
        typer.echo(
            f"  Right up to record {verdict.entries}. What to do stands under Audit in the operations page.", err=True
        )
        raise typer.Exit(1)
    typer.echo(f"{verdict.entries} records on {verdict.links} links, all of them whole; head {verdict.head.mac.hex()}")


def _kept(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise BadRequest(f"{path.name} holds no head", hint="mooring audit head prints one.") from None


def _changes(entry: dict[str, Any]) -> str:
    told = []
    for field in dict.fromkeys((*entry["changed"], *entry["changes"])):
        if field not in entry["changes"] and any(each.rsplit("/", 1)[-1] == field for each in entry["changes"]):
            continue  # told for each environment
        change = entry["changes"].get(field)
        told.append(field if change is None else f"{field}: {_value(change.get('old'))} → {_value(change.get('new'))}")
    return ", ".join(told)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
