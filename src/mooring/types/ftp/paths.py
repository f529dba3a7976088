"""Paths on the server: always below the connection's directory."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LONGEST_PATH = 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SEPARATORS = re.compile(r"[/\\]")
_TOKEN = r"^[0-9a-f]{16}$"


def _relative(value: str) -> str:
    if _CONTROL.search(value):
        # FTP reads its commands line by line: a line break would begin another one.
        raise PydanticCustomError("control", "must not contain control characters")
    if value.startswith("/"):
        raise PydanticCustomError("absolute", "must be relative to the directory of the connection")
    # A backslash separates on some servers, and is a letter like any other on the rest.
    if ".." in _SEPARATORS.split(value):
        raise PydanticCustomError("parent", "must not lead out of the directory of the connection")
    return "/".join(part for part in value.split("/") if part not in ("", "."))


def _file(value: str) -> str:
    if value.endswith("/") or not _relative(value):
        raise PydanticCustomError("no_file", "must name a file")
    return _relative(value)


DirectoryPath = Annotated[str, Field(max_length=LONGEST_PATH), AfterValidator(_relative)]
"""A directory below the connection's own; empty for that one itself."""

FilePath = Annotated[str, Field(min_length=1, max_length=LONGEST_PATH), AfterValidator(_file)]
"""A file below the connection's directory."""

UploadToken = Annotated[str, Field(pattern=_TOKEN)]
"""Which unfinished upload is meant."""


def new_token() -> str:
    """A name for an upload that no other has."""
    return secrets.token_hex(8)


def partial_path(path: str, token: str) -> str:
    """Where the bytes of an upload lie until it is finished: beside the file that they will be."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}.mooring-{token}.part"


def parents(path: str) -> list[str]:
    """The directories that lead to *path*, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
