"""Using connections from Python: `worker["MyProject/orders-db"].query("select 1")`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mooring.errors import BadRequest, ConnectionUnknown
from mooring.plugin.connector import Answer, Operation
from mooring.worker.guard import OPERATION_S, read_request
from mooring.worker.pool import Pool


class Connection:
    """
    One connection of a worker, whichever client serves it at the moment.

    Its operations are methods: positional arguments are the request's fields in their order, keyword arguments
    go by their Python or wire names; `timeout_s` bounds the call.
    """

    def __init__(self, pool: Pool, project: str, name: str) -> None:
        self._pool, self._project, self._name = pool, project, name

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Answer]]:
        if operation.startswith("_"):
            raise AttributeError(operation)

        async def call(*positional: Any, timeout_s: float = OPERATION_S, **named: Any) -> Answer:
            kind = self._pool.live(self._project, self._name).operation(operation)
            request = read_request(kind, _arguments(kind, positional, named))
            return await self._pool.use(self._project, self._name, operation, request, timeout_s)  # type: ignore[no-any-return]  # its own type

        call.__name__ = operation
        return call

    async def native(self) -> Any:
        """The live client of the driver; what it is, the README of the connection's type says."""
        return await self._pool.native(self._project, self._name)

    def __repr__(self) -> str:
        return f"<Connection {self._project}/{self._name}>"


def connection(pool: Pool, path: str) -> Connection:
    """The connection at `project/name`. Raises `ConnectionUnknown` where the worker holds none of that name."""
    project, slash, name = path.partition("/")
    if not slash:
        raise ConnectionUnknown(f"'{path}' is not project/connection", hint='Write it as "MyProject/orders-db".')
    pool.entry(project, name)
    return Connection(pool, project, name)


def _arguments(operation: Operation, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    fields = list(operation.request.model_fields)
    if len(positional) > len(fields):
        raise BadRequest(f"{operation.name} takes at most {len(fields)} arguments: {', '.join(fields)}")
    return {**dict(zip(fields, positional, strict=False)), **named}
