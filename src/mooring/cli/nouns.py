"""`mooring token`, `mooring project`, `mooring environment`."""

from __future__ import annotations

from typing import Annotated

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.kit.tokens import make_token

token_app = typer.Typer(no_args_is_help=True, help="Personal API access tokens.")
project_app = typer.Typer(no_args_is_help=True, help="Projects.")
environment_app = typer.Typer(no_args_is_help=True, help="Environments.")

Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]


@token_app.command("create")
@output.clear_errors
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    grant: Annotated[
        list[str] | None, typer.Option(help="A grant; repeat for more. Without: all of yours, except secrets:reveal.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="The one project that it is good for.")] = None,
    expires_in: Annotated[int | None, typer.Option(help="Seconds until it expires; without: never.")] = None,
) -> None:
    """Create a token and print it, this once."""
    typer.echo(
        client().create_token(name, grants=grant or None, project=project, expires_in_seconds=expires_in)["token"]
    )


@token_app.command("list")
@output.clear_errors
def list_tokens(json: Json = False) -> None:
    """Tokens, without their secrets."""
    found = client().list_tokens()["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Id", "Name", "Owner", "Project", "Expires", "Last used", "Revoked"),
        [
            (
                t["id"],
                t["name"],
                t["owner"],
                t["projectName"] or "every",
                t["expiresAt"] or "never",
                t["lastUsedAt"],
                t["revokedAt"],
            )
            for t in found
        ],
    )


@token_app.command("revoke")
@output.clear_errors
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="Its public id, as `mooring token list` shows it.")],
) -> None:
    """Make a token stop working, at once."""
    client().revoke_token(token_id)
    typer.echo("Revoked.")


@token_app.command("generate")
def generate_token() -> None:
    """Print a well-formed token, for MOORING_ADMIN_TOKEN; it is good for nothing until a first start takes it."""
    typer.echo(make_token("pat").text)


@project_app.command("create")
@output.clear_errors
def create_project(
    name: Annotated[str, typer.Argument(help="Its name; case matters.")],
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
) -> None:
    """Create a project."""
    client().create_project(name, description)
    typer.echo(f"Project {name} is there.")


@project_app.command("list")
@output.clear_errors
def list_projects(json: Json = False) -> None:
    """The projects that your token sees."""
    found = client().list_projects()["resultList"]
    if json:
        output.data(found)
        return
    output.table(("Name", "Description"), [(p["name"], p["description"]) for p in found])


@environment_app.command("create")
@output.clear_errors
def create_environment(
    name: Annotated[str, typer.Argument(help="Its name.")],
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", help="PRODUCTION, SANDBOX or TEST.")] = None,
    project: Annotated[
        list[str] | None, typer.Option(help="A project that may use it; repeat for more. Without: every project.")
    ] = None,
) -> None:
    """Create an environment."""
    client().create_environment(name, description=description, type=type_name, projects=project or None)
    typer.echo(f"Environment {name} is there.")


@environment_app.command("list")
@output.clear_errors
def list_environments(json: Json = False) -> None:
    """Every environment."""
    found = client().list_environments()["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Name", "Type", "Status", "Description"),
        [(e["name"], e["type"], e["status"], e["description"]) for e in found],
    )
