"""
The bare minimum that a durable create and a get cost on this stack, and nothing else.

A Starlette application on the same server: token hash check, the same fifteen-type union, one AES-GCM, three
inserts through one writer thread with group commit and fsync; and a get by name. No deployment, no audit, no
revisions, no idempotency, no documented errors.

    python -m bench.baseline FOLDER PORT TOKEN
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import apsw
import uvicorn
import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Field, TypeAdapter, create_model
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mooring.plugin.config import ConnectionConfig, secret_fields
from mooring.plugin.registry import Registry

MAX_BATCH = 256


def union() -> TypeAdapter[Any]:
    """The discriminated union over all types, as one model."""
    bodies = []
    for card in Registry():
        fields: dict[str, Any] = {
            "type_": (Literal[card.name], Field(alias="type")),
            "name_": (str, Field(alias="name")),
            "description_": (str | None, Field(None, alias="description")),
            "deploy_": (bool, Field(True, alias="deployToWorker")),
            "enabled_": (bool, Field(True, alias="enabled")),
        }
        bodies.append(create_model(f"{card.config.__name__}Body", __base__=card.config, **fields))
    return TypeAdapter(Annotated[Union[tuple(bodies)], Field(discriminator="type_")])  # noqa: UP007  # made at run time


class Writer:
    """One thread that writes, with group commit."""

    def __init__(self, path: Path) -> None:
        self.waiting: queue.SimpleQueue[tuple[Any, asyncio.Future[None]]] = queue.SimpleQueue()
        self.db = apsw.Connection(str(path))
        self.db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE connections (name TEXT PRIMARY KEY, type TEXT, document TEXT);"
            "CREATE TABLE secrets (name TEXT PRIMARY KEY, sealed BLOB);"
            "CREATE TABLE log (id INTEGER PRIMARY KEY, name TEXT, at INTEGER)"
        )
        self.loop = asyncio.get_running_loop()
        threading.Thread(target=self.run, daemon=True).start()

    def submit(self, rows: Any) -> asyncio.Future[None]:
        future = self.loop.create_future()
        self.waiting.put((rows, future))
        return future

    def run(self) -> None:
        while True:
            batch = [self.waiting.get()]
            while len(batch) < MAX_BATCH:
                try:
                    batch.append(self.waiting.get_nowait())
                except queue.Empty:
                    break
            self.db.execute("BEGIN IMMEDIATE")
            for (name, kind, document, sealed), _ in batch:
                self.db.execute("INSERT INTO connections VALUES (?,?,?)", (name, kind, document))
                self.db.execute("INSERT INTO secrets VALUES (?,?)", (name, sealed))
                self.db.execute("INSERT INTO log (name, at) VALUES (?,?)", (name, 0))
            self.db.execute("COMMIT")
            self.loop.call_soon_threadsafe(self.deliver, [future for _, future in batch])

    @staticmethod
    def deliver(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            if not future.done():
                future.set_result(None)


async def serve(folder: Path, port: int, token: str) -> None:
    writer = Writer(folder / "baseline.db")
    reader = apsw.Connection(str(folder / "baseline.db"))
    adapter, cipher = union(), AESGCM(os.urandom(32))
    expected = hashlib.sha256(token.encode()).digest()

    def allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), expected)

    async def create(request: Request) -> Response:
        if not allowed(request):
            return Response(status_code=401)
        body: ConnectionConfig = adapter.validate_python(json.loads(await request.body()))
        values = body.model_dump(by_alias=True)
        secret = b""
        for name in secret_fields(type(body)):
            if values[name] is not None:
                secret, values[name] = values[name].get_secret_value().encode(), None
        nonce = os.urandom(12)
        sealed = nonce + cipher.encrypt(nonce, secret, values["name"].encode())
        await writer.submit((values["name"], values["type"], json.dumps(values), sealed))
        return Response('{"success":true,"deploymentResult":{"success":true}}', media_type="application/json")

    async def get(request: Request) -> Response:
        if not allowed(request):
            return Response(status_code=401)
        row: Any = reader.execute("SELECT document FROM connections WHERE name = ?", (request.path_params["name"],)).get
        if row is None:
            return Response(status_code=404)
        return Response(f'{{"success":true,"resultList":[{row}],"resultCount":1}}', media_type="application/json")

    path = "/apiops/projects/{project}/connections/{name}/"
    app = Starlette(routes=[Route(path, create, methods=["POST"]), Route(path, get, methods=["GET"])])
    config = uvicorn.Config(
        app, port=port, log_config=None, access_log=False, lifespan="off", http="httptools", loop="none",
        server_header=False, date_header=False,
    )  # fmt: skip
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
