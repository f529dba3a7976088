"""`mooring keystore`, `mooring certificate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.cli import output
from mooring.cli.client import client
from mooring.errors import BadRequest

keystore_app = typer.Typer(no_args_is_help=True, help="Keystores and truststores.")
certificate_app = typer.Typer(no_args_is_help=True, help="Certificates.")

Json = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
Path_ = Annotated[str, typer.Argument(metavar="PROJECT/NAME", help="PROJECT/NAME.")]
Project = Annotated[str, typer.Argument(help="The project.")]
Environments = Annotated[list[str], typer.Option("--environment", help="An environment that gets it; repeat for more.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace one that is there.")]

_MAGIC = {b"\xfe\xed\xfe\xed": "JKS", b"----": "PEM"}


# keystores


@keystore_app.command("create")
@output.clear_errors
def create_keystore(
    path: Path_,
    file: Annotated[Path, typer.Option(help="The file: JKS, PKCS12 or PEM.")],
    environment: Environments,
    type_name: Annotated[
        str | None, typer.Option("--type", help="JKS, PKCS12 or PEM; without: as the file looks.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file with the password in its first line; - reads standard input.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Which key is meant, where there are several.")] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    replace: Replace = False,
) -> None:
    """Create a keystore or truststore from a file; with --replace, give one that is there a new file."""
    project, name = split(path)
    content = _content(file)
    entry = {
        "type": type_name or _MAGIC.get(content[:4], "PKCS12"),
        "file": content,
        "password": first_line(password_file),
        "alias": alias,
    }
    save = client().update_keystore if replace and _there(project, name) else client().create_keystore
    tell(save(project, name, dict.fromkeys(environment, entry), description=description))


@keystore_app.command("list")
@output.clear_errors
def list_keystores(project: Project, json: Json = False) -> None:
    """The keystores of a project, and when they expire."""
    found = client().list_keystores(project)["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Name", "Environment", "Type", "Alias", "Entries", "Expires"),
        [
            (each["name"], at["environmentName"], at["type"], at["alias"], at["entryCount"], at["expiresAt"])
            for each in found
            for at in each["keyStoreEnvironmentList"]
        ],
    )


@keystore_app.command("get")
@output.clear_errors
def get_keystore(path: Path_, json: Json = False) -> None:
    """What a keystore holds: names, dates and thumbprints; never a key."""
    (found,) = client().get_keystore(*split(path))["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Alias", "Environment", "Kind", "Used", "Subject", "Issuer", "Expires", "SHA-256"),
        [
            (
                entry["alias"], at["environmentName"], entry["kind"], "yes" if entry["used"] else "no", entry.get("subjectDn"),
                entry.get("issuerDn"), entry.get("notAfter"), entry.get("sha256Thumbprint", "")[:16],
            )
            for at in found["keyStoreEnvironmentList"]
            for entry in at["entries"]
        ],
    )  # fmt: skip


@keystore_app.command("delete")
@output.clear_errors
def delete_keystore(path: Path_) -> None:
    """Destroy a keystore that no connection uses."""
    tell(client().delete_keystore(*split(path)))


# certificates


@certificate_app.command("create")
@output.clear_errors
def create_certificate(
    path: Path_,
    file: Annotated[Path, typer.Option(help="The certificate in PEM.")],
    environment: Environments,
    alias: Annotated[str | None, typer.Option(help="Unique in each environment; without: the name.")] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    replace: Replace = False,
) -> None:
    """Create a certificate from a file; with --replace, give one that is there a new file."""
    project, name = split(path)
    pem = _content(file).decode("utf-8", "replace")
    there = replace and any(
        each["name"].lower() == name.lower() for each in client().list_certificates(project)["resultList"]
    )
    save = client().update_certificate if there else client().create_certificate
    tell(save(project, name, pem, environment, alias=alias or (None if there else name), description=description))


@certificate_app.command("list")
@output.clear_errors
def list_certificates(project: Project, json: Json = False) -> None:
    """The certificates of a project, and when they expire."""
    found = client().list_certificates(project)["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Name", "Environment", "Alias", "Subject", "Expires"),
        [
            (each["name"], at["environmentName"], at["alias"], at["subjectDn"], at["endDate"])
            for each in found
            for at in each["certificateEnvironmentList"]
        ],
    )


@certificate_app.command("expiring")
@output.clear_errors
def expiring(
    project: Annotated[str | None, typer.Argument(help="The project; without, all of them.")] = None,
    within: Annotated[str, typer.Option(help="Hours, days or weeks, such as 12h, 30d or 8w.")] = "30d",
    json: Json = False,
) -> None:
    """What runs out soon, keystores too, and which connections and workers it concerns."""
    found = client().expiring(project, within=within)["resultList"]
    if json:
        output.data(found)
        return
    output.table(
        ("Expires", "Name", "Environment", "Connections", "Workers"),
        [
            (
                each["expiresAt"], f"{each['projectName']}/{each['name']}", each["environmentName"],
                _concerned(each), ", ".join(sorted({at["workerName"] for user in each["connections"] for at in user["workers"]})),
            )
            for each in found
        ],
    )  # fmt: skip


def _concerned(each: dict[str, Any]) -> str:
    names = [user["name"] for user in each["connections"]]
    return ", ".join([*names, *([f"{each['furtherConnections']} more"] if each["furtherConnections"] else [])])


@certificate_app.command("get")
@output.clear_errors
def get_certificate(path: Path_) -> None:
    """A certificate with its content, as JSON."""
    output.data(client().get_certificate(*split(path))["resultList"][0])


@certificate_app.command("delete")
@output.clear_errors
def delete_certificate(path: Path_) -> None:
    """Destroy a certificate that no connection uses."""
    tell(client().delete_certificate(*split(path)))


def split(path: str) -> tuple[str, str]:
    project, slash, name = path.partition("/")
    if not slash:
        raise BadRequest("it must be written PROJECT/NAME")
    return project, name


def _there(project: str, name: str) -> bool:
    found = client().list_keystores(project)["resultList"]
    return any(each["name"].lower() == name.lower() for each in found)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise BadRequest(f"{file} cannot be read: {exc.strerror}") from None


def first_line(file: Path | None) -> str | None:
    """A secret: never an argument, because those are shown to everybody who may list processes."""
    if file is None:
        return None
    text = sys.stdin.readline() if str(file) == "-" else _content(file).decode("utf-8", "replace")
    return text.split("\n", 1)[0].rstrip("\r")


def tell(answer: dict[str, Any]) -> None:
    result = answer["deploymentResult"]
    typer.echo(result["message"])
    for each in result["environmentResults"]:
        typer.echo(f"  {each['environmentName']}: {each['message']}")
        for failure in each.get("failures", ()):
            typer.echo(f"    {failure['connection'] or 'another'} on {failure['worker']}: {failure['message']}")
    for warning in result.get("warnings", ()):
        typer.echo(f"  {warning['message']}")
