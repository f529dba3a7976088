"""The programs: `mooring dev`, `serve`, `worker`; and enrolling and forgetting workers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.errors import BadRequest
from mooring.kit import settings
from mooring.kit.log import log
from mooring.kit.settings import Settings

worker_app = typer.Typer(invoke_without_command=True, help="A worker; and enrolling and forgetting workers.")

SEED_BODY = """{
  "type": "email", "name": "my-email-connection", "description": "Email connection for sending notifications",
  "deployToWorker": true, "enabled": true, "host": "smtp.gmail.com", "port": 587, "enableStartTls": true,
  "auth": true, "username": "user@example.com", "password": "app-password", "defaultEncoding": "UTF-8",
  "from": "noreply@example.com"
}"""


def read_settings(**given: Any) -> Settings:
    """The settings, with what the command line says on top."""
    try:
        found = settings.read_settings(**given)
    except BadRequest as exc:
        output.fail(exc)
        raise
    log.threshold = {"debug": 10, "info": 20, "warning": 30, "error": 40}[found.log_level]
    return found


def run_dev(settings: Settings) -> None:
    from mooring import serve

    def announce(started: Any) -> None:
        token_file = started.data_dir / "admin-token"
        token = started.first_token or f"$(cat {token_file})"
        typer.echo(f"Mooring listens on {started.url}  (a start page is there, the API reference under /docs)")
        if started.first_token:
            typer.echo(f"The administrator's token, shown this once and kept in {token_file}:\n  {started.first_token}")
        else:
            typer.echo(f"The administrator's token is in {token_file}")
        typer.echo(f"The worker's socket is {started.data_dir / 'worker.sock'}")
        typer.echo("A first connection:\n")
        typer.echo(
            f'curl -X POST "{started.url}/apiops/projects/MyProject/connections/my-email-connection/" \\\n'
            f'  -H "Authorization: Bearer {token}" \\\n  -H "Content-Type: application/json" \\\n  -d \'{SEED_BODY}\'\n'
        )
        _flush()

    raise typer.Exit(serve.run(serve.dev(settings, announce)))


def run_serve(settings: Settings) -> None:
    from mooring import serve

    def announce(started: Any) -> None:
        typer.echo(f"Mooring listens on {started.url}")
        if started.first_token:
            typer.echo(
                f"The administrator's token, shown this once and kept in {started.data_dir / 'admin-token'}:\n  {started.first_token}"
            )
        if started.locked:
            typer.echo(f"SEALED: {started.locked}")
        _flush()

    raise typer.Exit(serve.run(serve.control_plane(settings, announce)))


@worker_app.callback()
def worker(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The control plane.")] = None,
    environment: Annotated[str | None, typer.Option(help="The environment that this worker belongs to.")] = None,
    enrol_token: Annotated[
        str | None, typer.Option("--enrol-token", "--enroll-token", help="One-time token, for the first start.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What it is called; host name and four digits by default.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for its identity and socket.")] = None,
    socket: Annotated[
        Path | None, typer.Option(help="Unix socket of its own API; <data-dir>/worker.sock by default.")
    ] = None,
    listen: Annotated[str | None, typer.Option(help="127.0.0.1:PORT for its own API, in place of a socket.")] = None,
    local_token_file: Annotated[Path | None, typer.Option(help="Token for --listen; made where there is none.")] = None,
    with_parent: Annotated[bool, typer.Option(hidden=True, help="End when standard input does.")] = False,
) -> None:
    """Hold live connections of one environment, and let programs on this machine use them."""
    if context.invoked_subcommand is not None:
        return
    from mooring import serve

    settings = read_settings(url=url, environment=environment, enrol_token=enrol_token, data_dir=data_dir)
    options = serve.WorkerOptions(name, socket, _address(listen), local_token_file, with_parent)

    def announce(identity: Any, where: str) -> None:
        if not with_parent:
            typer.echo(f"Worker {identity.name} of {identity.environment}; its API is at {where}")
            _flush()

    raise typer.Exit(serve.run(serve.worker(settings, options, announce)))


@worker_app.command("enroll")
@output.clear_errors
def enroll(
    environment: Annotated[str, typer.Option(help="The environment that the worker will belong to.")] = "development",
    valid_seconds: Annotated[int, typer.Option(help="How long the token may be used.")] = 3600,
) -> None:
    """Print a one-time token with which a worker enrols."""
    typer.echo(client().create_enrolment(environment, valid_seconds=valid_seconds)["token"])


@worker_app.command("list")
@output.clear_errors
def list_workers(json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False) -> None:
    """Every worker, and what it observed."""
    found = client().list_workers()["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Id", "Name", "Environment", "Online", "Desired", "Observed", "Pending", "Failed", "Held"),
        [
            (
                w["id"],
                w["name"],
                w["environmentName"],
                "yes" if w["online"] else "no",
                w["desiredRevision"],
                w["observedRevision"],
                w["pending"],
                w["failed"],
                w["held"],
            )
            for w in found
        ],
    )


@worker_app.command("forget")
@output.clear_errors
def forget(worker_id: Annotated[str, typer.Argument(help="Its id, as `mooring worker list` shows it.")]) -> None:
    """Remove a worker: its credential stops working."""
    client().forget_worker(worker_id)
    typer.echo("Forgotten.")


def _address(listen: str | None) -> tuple[str, int] | None:
    if listen is None:
        return None
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        output.fail(BadRequest("--listen takes HOST:PORT, such as 127.0.0.1:8181"))
    return host.strip("[]"), int(port)


def _flush() -> None:
    import sys

    sys.stdout.flush()
