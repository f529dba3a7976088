"""`mooring test`: does a connection work, from where it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.errors import BadRequest
from mooring.kit.strict_json import JsonRefused, read_json

_COLOURS = {"passed": "green", "failed": "red", "unknown": "yellow", "skipped": None}


@output.clear_errors
def test(
    connection: Annotated[str, typer.Argument(help="PROJECT/NAME.")],
    draft: Annotated[Path | None, typer.Option(help="A file with the body to test in place of what is stored.")] = None,
    environment: Annotated[str | None, typer.Option(help="Test from a worker of this environment.")] = None,
    worker: Annotated[str | None, typer.Option(help="Test from this worker, by name or id.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON in place of words.")] = False,
) -> None:
    """Test a connection from a worker, step by step; exit status 1 where it does not work."""
    project, slash, name = connection.partition("/")
    if not slash:
        raise BadRequest(f"'{connection}' is not PROJECT/NAME")
    answer = client().test_connection(
        project, name, _draft(draft) if draft else None, environment=environment, worker=worker
    )
    result = answer["deploymentResult"]
    if json:
        output.data(result)
    else:
        _show(result)
    if not result["success"]:
        raise typer.Exit(1)


def _draft(file: Path) -> dict[str, Any]:
    try:
        body = read_json(file.read_bytes())
    except OSError as exc:
        raise BadRequest(f"{file} cannot be read: {exc.strerror}") from None
    except JsonRefused as exc:
        raise BadRequest(f"{file} is not valid JSON: {exc}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"{file} does not hold a JSON object")
    return body


def _show(result: dict[str, Any]) -> None:
    width = max((len(step["step"]) for step in result["steps"]), default=0)
    for step in result["steps"]:
        state = typer.style(f"{step['state']:<8}", fg=_COLOURS[step["state"]])
        typer.echo(f"{step['step']:<{width}}  {state} {step['tookMs']:>8.1f} ms  {step['message'] or ''}".rstrip())
        if step["remedy"]:
            typer.echo(f"{'':<{width}}  {step['remedy']}")
    where = f" ({result['workerName']}, environment {result['environmentName']})" if result["workerName"] else ""
    typer.secho(f"{result['message']}{where}", fg="green" if result["success"] else "red", bold=True)
