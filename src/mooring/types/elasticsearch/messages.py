"""What the operations are asked, and what they answer."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, PrivateAttr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from mooring.plugin.connector import Answer, Request
from mooring.types.elasticsearch.model import INDEX

MAX_BODY = 10 * 1024 * 1024
MAX_ITEMS = 10_000


def _plain(name: str) -> str:
    # It may become a part of a path: there, a lone . or .. would walk it, and _bulk or _cluster would be a command.
    if name in (".", "..") or (name.startswith("_") and name != "_all"):
        raise PydanticCustomError("index", "must be the name of an index, alias or data stream")
    return name


IndexName = Annotated[str, StringConstraints(pattern=INDEX, min_length=1, max_length=255), AfterValidator(_plain)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Verb = Literal["index", "create", "update", "delete"]


def as_json(value: Any) -> bytes:
    """*value* on one line of JSON. Raises `PydanticCustomError` where it cannot be."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as exc:
        raise PydanticCustomError("json", "must be JSON: no NaN, no infinity, no half characters") from exc


class Action(Request):
    """One document of a bulk request, and what becomes of it."""

    document: dict[str, JsonValue] | None = Field(
        None, description="The document; for `update` the fields that change; for `delete` nothing."
    )
    id: Id | None = Field(
        None, description="Its id; the server makes one where none is given. `update` and `delete` need it."
    )
    index: IndexName | None = Field(None, description="The index, where it is not the connection's `indexName`.")
    action: Verb = Field(
        "index",
        description="`index` writes it, over an older one of that id; `create` fails where there is one; `update`"
        " changes fields; `delete` takes it away.",
    )

    _line: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.action in ("update", "delete") and self.id is None:
            raise PydanticCustomError("id", "update and delete need an id")
        if (self.document is None) != (self.action == "delete"):
            raise PydanticCustomError("document", "a document is needed, except for delete, which has none")
        if self.document is not None:
            self._line = as_json({"doc": self.document} if self.action == "update" else self.document)
        if len(self._line) > MAX_BODY:
            raise PydanticCustomError("too_long", f"document must have at most {MAX_BODY} bytes")
        return self

    def lines(self, index: str) -> bytes:
        """How it stands in a bulk request."""
        meta = {"_index": index} if self.id is None else {"_index": index, "_id": self.id}
        head = as_json({self.action: meta})
        return head + b"\n" if self.action == "delete" else b"%b\n%b\n" % (head, self._line)


class Document(Request):
    """One document to write."""

    document: dict[str, JsonValue] = Field(description="The document.", examples=[{"order": 4711, "total": 12.5}])
    id: Id | None = Field(None, description="Its id; the server makes one where none is given.", examples=["4711"])
    index: IndexName | None = Field(None, description="The index, where it is not the connection's `indexName`.")
    create: bool = Field(False, description="Whether to fail where a document of that id is there already.")

    _action: Action = PrivateAttr()

    @model_validator(mode="after")
    def _as_action(self) -> Self:
        self._action = Action.model_construct(
            document=self.document, id=self.id, index=self.index, action="create" if self.create else "index"
        )
        self._action._line = as_json(self.document)
        if len(self._action._line) > MAX_BODY:
            raise PydanticCustomError("too_long", f"document must have at most {MAX_BODY} bytes")
        return self

    @property
    def as_action(self) -> Action:
        """The same as a part of a bulk request."""
        return self._action


class Indexed(Answer):
    """A document that was written."""

    id: str = Field(description="Its id.")
    index: str = Field(description="The index that it went to.")
    result: str = Field(description="`created`, or `updated` where there was one of that id.")
    version: int | None = Field(description="How often a document of that id was written.")
    took_ms: float = Field(description="Milliseconds from the call to the answer.")


class Documents(Request):
    """Documents to write together."""

    documents: Annotated[list[Action], Field(min_length=1, max_length=MAX_ITEMS)] = Field(
        description="What to write, in this order.",
        examples=[[{"document": {"order": 4711}, "id": "4711"}, {"action": "delete", "id": "4710"}]],
    )


class Written(Answer):
    """What became of one document."""

    action: str = Field(description="What was asked: `index`, `create`, `update`, `delete`.")
    id: str | None = Field(description="Its id.")
    index: str | None = Field(description="The index.")
    status: int = Field(description="The HTTP status for this document alone.")
    result: str | None = Field(description="`created`, `updated`, `deleted`, `noop` or `not_found`.")
    error: str | None = Field(None, description="Why it was not written; null where it was.")


class Bulked(Answer):
    """What became of each document. That some were not written is an answer, not an error."""

    written: int = Field(description="How many were done.")
    failed: int = Field(description="How many were not.")
    items: list[Written] = Field(description="Each of them, in the order of the request.")
    took_ms: float = Field(description="Milliseconds from the call to the answer.")


class Search(Request):
    """What to look for."""

    query: dict[str, JsonValue] | None = Field(
        None, description="The query, in the server's own query language; everything by default.",
        examples=[{"term": {"order": 4711}}],
    )  # fmt: skip
    index: IndexName | None = Field(
        None, description="Indices, where it is not the connection's `indexName`; may hold wildcards and commas."
    )
    size: int = Field(10, ge=0, le=10_000, description="Most documents to hand back.")
    offset: int = Field(0, ge=0, le=10_000, description="How many of the first to leave out.")
    sort: list[JsonValue] | None = Field(
        None, description="What to order by; by relevance by default.", examples=[[{"at": "desc"}]]
    )
    after: list[JsonValue] | None = Field(
        None, description="The `sort` of the last document of the page before, to get the next page."
    )
    fields: list[str] | None = Field(
        None, description="Which fields of the documents to hand back; all by default.", examples=[["order", "total"]]
    )
    aggregations: dict[str, JsonValue] | None = Field(
        None, description="Aggregations, in the server's own language.", examples=[{"all": {"sum": {"field": "total"}}}]
    )

    def body(self) -> bytes:
        """What is sent."""
        said: dict[str, Any] = {"size": self.size}
        for name, value in (
            ("from", self.offset or None),
            ("query", self.query),
            ("sort", self.sort),
            ("search_after", self.after),
            ("_source", self.fields),
            ("aggs", self.aggregations),
        ):
            if value is not None:
                said[name] = value
        return as_json(said)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.body()) > MAX_BODY:
            raise PydanticCustomError("too_long", f"a search must have at most {MAX_BODY} bytes")
        return self


class Hit(Answer):
    """A document that was found."""

    id: str = Field(description="Its id.")
    index: str = Field(description="The index that it is in.")
    score: float | None = Field(description="How well it fits; null where it was sorted otherwise.")
    document: dict[str, JsonValue] = Field(description="The document, or the fields of it that were asked for.")
    sort: list[JsonValue] | None = Field(None, description="Its place in the order; `after` takes it.")


class Found(Answer):
    """What was found."""

    hits: list[Hit] = Field(description="The documents of this page.")
    total: int | None = Field(description="How many there are.")
    exact: bool = Field(description="Whether `total` is the number; else there are at least so many.")
    aggregations: dict[str, JsonValue] = Field(description="What the aggregations came to, as the server says it.")
    timed_out: bool = Field(description="Whether the server gave up before it had looked everywhere.")
    failed_shards: int = Field(description="Parts of the index that could not be looked through.")
    took_ms: float = Field(description="Milliseconds from the call to the answer.")
