"""`mooring variable`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.cli.materials import Json, Path_, Project, first_line, split, tell
from mooring.errors import BadRequest

variable_app = typer.Typer(no_args_is_help=True, help="Environment variables, which connections name as ${NAME}.")


@variable_app.command("set")
@output.clear_errors
def set_variable(
    path: Path_,
    environment: Annotated[
        list[str] | None,
        typer.Option(help="An environment that gets the value; repeat for more. Without: every one that has none."),
    ] = None,
    value: Annotated[
        str | None, typer.Option(help="The value; whoever may list processes sees it, so not for secrets.")
    ] = None,
    value_file: Annotated[
        Path | None, typer.Option(help="A file with the value in its first line; - reads standard input.")
    ] = None,
    visible: Annotated[
        bool | None,
        typer.Option("--visible/--hidden", help="Whether it may be read again. Without: as it was, or hidden."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
) -> None:
    """Create a variable, or give one that is there another value; the rest of it stays."""
    project, name = split(path)
    if (value is None) == (value_file is None):
        raise BadRequest("say --value or --value-file, one of them")
    text = value if value is not None else first_line(value_file)
    known = {each["name"].lower(): each for each in client().list_variables(project)["resultList"]}
    before = known.get(name.lower())
    if before is None:
        visible = bool(visible)
    values = dict.fromkeys(environment or (), text)
    kept = [] if before is None else [each["environmentName"] for each in before["environmentValueList"]]
    merged: dict[str, str | None] = {**dict.fromkeys(kept), **{_as_kept(each, kept): values[each] for each in values}}
    save = client().create_variable if before is None else client().update_variable
    tell(
        save(
            project, name, value=None if environment else text, environments=merged if environment else None,
            visible=visible, description=description,
        )
    )  # fmt: skip


@variable_app.command("list")
@output.clear_errors
def list_variables(project: Project, json: Json = False) -> None:
    """The variables of a project; of the project admin, those of all projects. Hidden values are not shown."""
    found = client().list_variables(project)["resultList"]
    if json:
        output.data(found)
        return
    output.table(("Project", "Name", "Environment", "Value"), [row for each in found for row in _rows(each)])


@variable_app.command("get")
@output.clear_errors
def get_variable(path: Path_) -> None:
    """A variable, as JSON. Hidden values are null."""
    output.data(client().get_variable(*split(path))["resultList"][0])


@variable_app.command("delete")
@output.clear_errors
def delete_variable(path: Path_) -> None:
    """Destroy a variable that no connection uses."""
    tell(client().delete_variable(*split(path)))


def _as_kept(environment: str, kept: list[str]) -> str:
    """The spelling that is there already."""
    return next((each for each in kept if each.lower() == environment.lower()), environment)


def _rows(variable: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows = []
    if variable["global"]:
        value = variable["globalValue"] if variable["globalVisible"] else "(hidden)"
        rows.append((variable["projectName"], variable["name"], "every", value))
    for each in variable["environmentValueList"]:
        value = "(none)" if not each["set"] else each["value"] if each["visible"] else "(hidden)"
        rows.append((variable["projectName"], variable["name"], each["environmentName"], value))
    return rows
