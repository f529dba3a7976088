"""Showing things in a terminal: tables for people, JSON for programs, errors as two lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from mooring.errors import InvalidConfig, MooringError

WIDE = 240


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on standard output."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        shown.add_column(heading, overflow="fold", no_wrap=number == 0)  # what is first is there to be copied
    for row in rows:
        shown.add_row(*("" if cell is None else str(cell) for cell in row))
    # In a pipe there is no width to keep to.
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(shown)


def data(value: Any) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def fail(error: MooringError) -> None:
    """The error in words, and exit status 1."""
    typer.secho(f"mooring: {error.message}", err=True, fg="red")
    if isinstance(error, InvalidConfig):
        for problem in error.problems[1:]:
            typer.echo(f"  {problem.message}", err=True)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)
    raise typer.Exit(1)


def clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of ours become words."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MooringError as exc:
            fail(exc)

    return wrapped
