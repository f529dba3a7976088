"""`mooring keys`: the keys that secrets are sealed with."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.errors import Unavailable
from mooring.kit.settings import read_settings

keys_app = typer.Typer(no_args_is_help=True, help="The keys that secrets are sealed with.")

Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
LOOK_S = 0.2


@keys_app.command("list")
@output.clear_errors
def list_keys(json: Json = False) -> None:
    """Every data key, and how many values it seals."""
    _show(client().list_data_keys()["resultList"], json)


@keys_app.command("rotate")
@output.clear_errors
def rotate(
    wait_seconds: Annotated[float, typer.Option(help="How long to wait until the old keys are destroyed.")] = 60,
    json: Json = False,
) -> None:
    """Make a new data key, seal everything anew with it, and destroy the old one; nothing has to stop for it."""
    calls = client()
    found = calls.rotate_data_key()["resultList"]
    deadline = time.monotonic() + wait_seconds
    while _retired(found) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        found = calls.list_data_keys()["resultList"]
    _show(found, json)
    if left := sum(each["sealedCount"] for each in _retired(found)):
        raise Unavailable(
            f"{left} values are sealed with retired keys still",
            hint="It goes on by itself; mooring keys list shows how far it is. The log names what cannot be opened.",
        )


@keys_app.command("rewrap")
@output.clear_errors
def rewrap(
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the database, keys and sockets.")] = None,
    to_file: Annotated[Path | None, typer.Option(help="A key file; made where there is none.")] = None,
    to_kms: Annotated[
        str | None, typer.Option(help="A key of the key service: its id, ARN or alias; see MOORING_KMS_*.")
    ] = None,
    to_environment: Annotated[bool, typer.Option(help="The key in MOORING_NEW_MASTER_KEY.")] = False,
) -> None:
    """Change the master key, while no control plane runs; without an option, a new key in the same file."""
    from mooring import serve

    settings = read_settings(data_dir=data_dir)
    told = asyncio.run(serve.rewrap(settings, file=to_file, kms=to_kms, environment=to_environment))
    typer.echo("All data keys are wrapped by the new master key; the old one opens nothing here any more.")
    if told:
        typer.echo(f"Before the next start set {told}")


def _retired(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in found if each["state"] == "RETIRED"]


def _show(found: list[dict[str, Any]], json: bool) -> None:
    if json:
        output.data(found)
        return
    output.table(
        ("Id", "State", "Made", "Retired", "Sealed", "Unreadable"),
        [
            (k["id"], k["state"].lower(), k["createdAt"], k["retiredAt"], k["sealedCount"], k["unreadableCount"] or "")
            for k in found
        ],
    )
