"""`mooring user`, `mooring grant`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.cli.materials import first_line

user_app = typer.Typer(no_args_is_help=True, help="Users and their roles.")
grant_app = typer.Typer(no_args_is_help=True, help="Grants on single connections.")

Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
Name = Annotated[str, typer.Argument(help="The user's name.")]
Project = Annotated[str, typer.Argument(help="The connection's project.")]
Connection = Annotated[str, typer.Argument(help="The connection's name.")]
Role = Annotated[
    list[str] | None,
    typer.Option(help="A role, in every project; or PROJECT=ROLE, in one. Repeat for more."),
]
User = Annotated[str, typer.Option(help="The user it is for.")]
Token = Annotated[str, typer.Option(help="The public id of the token it is for.")]


@user_app.command("create")
@output.clear_errors
def create_user(
    name: Name,
    role: Role = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the password in its first line; - reads standard input. Without: it is asked for."
        ),
    ] = None,
) -> None:
    """Create a user."""
    password = first_line(password_file)
    if password is None:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    client().create_user(name, password, memberships=_memberships(role or []))
    typer.echo(f"User {name} is there.")


@user_app.command("list")
@output.clear_errors
def list_users(json: Json = False) -> None:
    """Users and their roles."""
    found = client().list_users()["resultList"]
    if json:
        output.data(found)
        return
    rows = [
        (each["name"], "disabled" if each["disabled"] else "", "; ".join(_role(held) for held in each["memberships"]))
        for each in found
    ]
    output.table(("Name", "State", "Roles"), rows)


@user_app.command("roles")
@output.clear_errors
def set_roles(name: Name, role: Role = None) -> None:
    """Give a user these roles, and no others."""
    client().update_user(name, memberships=_memberships(role or []))
    typer.echo(f"User {name} has them.")


@user_app.command("disable")
@output.clear_errors
def disable_user(name: Name) -> None:
    """Let a user and their tokens in no more."""
    client().update_user(name, disabled=True)
    typer.echo("Disabled.")


@user_app.command("enable")
@output.clear_errors
def enable_user(name: Name) -> None:
    """Let a user in again."""
    client().update_user(name, disabled=False)
    typer.echo("Enabled.")


@user_app.command("delete")
@output.clear_errors
def delete_user(name: Name) -> None:
    """Delete a user, and revoke their tokens."""
    client().delete_user(name)
    typer.echo("Deleted.")


@grant_app.command("set")
@output.clear_errors
def set_grant(
    project: Project,
    connection: Connection,
    grant: Annotated[
        list[str] | None, typer.Option(help="A grant; repeat for more. Without: what was is withdrawn.")
    ] = None,
    user: User = "",
    token: Token = "",
) -> None:
    """Grant a user or a token something on one connection."""
    if bool(user) == bool(token):
        raise typer.BadParameter("give either --user or --token")
    client().grant(project, connection, grant or [], user=user, token=token)
    typer.echo("Done.")


@grant_app.command("list")
@output.clear_errors
def list_grants(project: Project, connection: Connection, json: Json = False) -> None:
    """Who was granted what on one connection."""
    found = client().list_grants(project, connection)["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Kind", "For", "Grants"), [(each["kind"], each["subject"], ", ".join(each["grants"])) for each in found]
    )


def _memberships(roles: list[str]) -> list[dict[str, Any]]:
    found: dict[str | None, list[str]] = {}
    for each in roles:
        project, _, role = each.rpartition("=")
        found.setdefault(project or None, []).append(role)
    return [{"projectName": project, "roles": held} for project, held in found.items()]


def _role(membership: dict[str, Any]) -> str:
    return f"{membership['projectName'] or 'every project'}: {', '.join(membership['roles'])}"
