"""`mooring`: the programs, and verbs that talk to a control plane."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring import __version__
from mooring.cli import output, programs
from mooring.cli.audit import audit_app
from mooring.cli.keys import keys_app
from mooring.cli.materials import certificate_app, keystore_app
from mooring.cli.nouns import environment_app, project_app, token_app
from mooring.cli.people import grant_app, user_app
from mooring.cli.test import test
from mooring.cli.variables import variable_app
from mooring.kit.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A control plane for connections."
)
app.add_typer(token_app, name="token")
app.add_typer(user_app, name="user")
app.add_typer(grant_app, name="grant")
app.add_typer(project_app, name="project")
app.add_typer(environment_app, name="environment")
app.add_typer(keystore_app, name="keystore")
app.add_typer(certificate_app, name="certificate")
app.add_typer(audit_app, name="audit")
app.add_typer(variable_app, name="variable")
app.add_typer(keys_app, name="keys")
app.add_typer(programs.worker_app, name="worker")
app.command()(test)

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for the database, keys and sockets.")]


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"mooring {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Authorities (PEM) to trust beside the system's: MOORING_CA_FILE.")
    ] = None,
) -> None:
    if ca_file is not None:
        os.environ["MOORING_CA_FILE"] = str(ca_file)  # whichever verb follows reads it with the other settings


@app.command()
def dev(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """A control plane and one worker, for this machine."""
    programs.run_dev(_settings(host=host, port=port, data_dir=data_dir))


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """A control plane."""
    programs.run_serve(_settings(host=host, port=port, data_dir=data_dir))


@app.command()
def settings() -> None:
    """Every setting, with its value now. Secrets are not shown."""
    now = _settings()
    rows = []
    for name, info in Settings.model_fields.items():
        value = getattr(now, name)
        shown = "" if value is None else str(value)
        rows.append((f"MOORING_{name.upper()}", shown, info.description or ""))
    output.table(("Setting", "Value", "What it is for"), rows)


def _settings(**given: Any) -> Settings:
    return programs.read_settings(**given)
