"""What the operations are asked, and what they answer."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mooring.plugin.connector import Answer, Bytes, Request
from mooring.types.ftp.paths import DirectoryPath, FilePath, UploadToken

PIECE_BYTES = 8 * 1024 * 1024
MOST_ENTRIES = 10_000


def _content(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise PydanticCustomError("base64", "must be base64") from None


Content = Annotated[
    bytes,
    BeforeValidator(_content),
    Field(max_length=PIECE_BYTES),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class ListRequest(Request):
    """Which directory to look into."""

    path: DirectoryPath = Field("", description="Directory, relative to that of the connection.", examples=["2026"])
    limit: int = Field(1000, ge=1, le=MOST_ENTRIES, description="The most entries to answer.")


class Entry(Answer):
    """A file or directory."""

    name: str = Field(description="Its name in the directory.")
    type: Literal["file", "directory", "link", "other"] = Field(description="What it is.")
    size: int | None = Field(None, description="Bytes of a file, where the server says so.")
    modified: str | None = Field(
        None,
        description="When it was changed, as ISO 8601; without a zone where the server does not say which one it means.",
    )


class Listing(Answer):
    """What is in a directory."""

    entries: list[Entry] = Field(description="In the order of their names.")
    truncated: bool = Field(False, description="Whether there are more than `limit`.")


class GetRequest(Request):
    """Which file to fetch, or which part of it."""

    path: FilePath = Field(description="File, relative to the connection's directory.", examples=["2026/prices.csv"])
    offset: int = Field(0, ge=0, le=2**63 - 1, description="Byte to begin at.")
    length: int | None = Field(
        None,
        ge=1,
        le=PIECE_BYTES,
        description=f"The most bytes to fetch; left out, all that follow, which may be {PIECE_BYTES} at the most.",
    )


class Piece(Answer):
    """A file, or a part of it."""

    content: Bytes = Field(description="The bytes, in base64.")
    complete: bool = Field(description="Whether the file ends here; where not, go on at `nextOffset`.")
    next_offset: int = Field(description="Where the next part begins.")
    size: int | None = Field(None, description="Bytes of the whole file, where the server says so.")


class PutRequest(Request):
    """What to store, at once or in several parts."""

    path: FilePath = Field(description="File, relative to the connection's directory.", examples=["2026/prices.csv"])
    content: Content = Field(b"", description=f"The bytes, in base64; {PIECE_BYTES} at the most.", examples=["MTI7"])
    text: str | None = Field(
        None, max_length=PIECE_BYTES, description="In place of `content`: text, stored as UTF-8.", examples=["12;"]
    )
    overwrite: bool = Field(True, description="Whether a file of that name may be replaced.")
    make_directories: bool = Field(False, description="Whether directories of `path` that are not there are made.")
    more: bool = Field(
        False, description="Whether more parts will follow: the file appears under its name with the last one only."
    )
    upload: UploadToken | None = Field(
        None, description="The upload that this part belongs to, from the answer before."
    )
    offset: int = Field(0, ge=0, le=2**63 - 1, description="Bytes of the upload that came before this part.")

    @model_validator(mode="after")
    def _one_content(self) -> PutRequest:
        if self.text is not None and self.content:
            raise PydanticCustomError("two_contents", "content and text must not both be given")
        if self.upload is None and self.offset:
            raise PydanticCustomError("no_upload", "an offset needs the upload that the part before was answered with")
        if len(self.data) > PIECE_BYTES:
            raise PydanticCustomError("too_long", "text is too long: send it in several parts")
        return self

    @property
    def data(self) -> bytes:
        """The bytes to store."""
        return self.content if self.text is None else self.text.encode()


class Stored(Answer):
    """What is on the server now."""

    path: str = Field(description="The file.")
    size: int = Field(description="Bytes stored so far: of the whole file once it is complete.")
    complete: bool = Field(description="Whether the file stands under its name.")
    upload: str | None = Field(None, description="What the next part is to name.")


class DeleteRequest(Request):
    """What to delete."""

    path: FilePath = Field(description="File, relative to the connection's directory.", examples=["2026/prices.csv"])
    missing_ok: bool = Field(False, description="Whether it is no error that there is no such file.")
    upload: UploadToken | None = Field(None, description="An unfinished upload of `path`, to be given up instead.")


class Deleted(Answer):
    """What became of it."""

    deleted: bool = Field(description="Whether there was something to delete.")
