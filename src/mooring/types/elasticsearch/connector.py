"""Writing to, and searching, a cluster."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import httpx2

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.elasticsearch import lifecycle
from mooring.types.elasticsearch.batches import Batches
from mooring.types.elasticsearch.cluster import Cluster, Node, Reply, Settings, granted, reason, refusal
from mooring.types.elasticsearch.messages import (
    MAX_BODY,
    Action,
    Bulked,
    Document,
    Documents,
    Found,
    Hit,
    Indexed,
    Search,
    Written,
    as_json,
)
from mooring.types.elasticsearch.model import ElasticsearchConfig
from mooring.types.elasticsearch.trust import tls_context

SHORTEST_TIMEOUT_MS = 1000
USUAL_TIMEOUT_S = 5.0
USUAL_PER_HOST = 20
_PINNED = {"ES_8": 8, "ES_9": 9}
_KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class ElasticsearchConnector(Connector[ElasticsearchConfig]):
    """Speaks plain JSON over HTTP, which every version understands. Connections begin with the first operation."""

    def __init__(self, config: ElasticsearchConfig, context: Context) -> None:
        super().__init__(config, context)
        self._tls: ssl.SSLContext | None = None
        self._cluster: Cluster | None = None
        self._batches: Batches | None = None
        self._furnished = not self._has_to_furnish()
        self._furnishing = asyncio.Lock()

    async def open(self) -> None:
        if any(node.is_encrypted for node in self._nodes()):
            self._tls = await tls_context(self.config, self.context)
        if self._has_to_furnish():
            self._check_furniture()

    def hosts(self) -> Iterable[str]:
        return [node.host for node in self._nodes()]

    async def start(self) -> None:
        cluster = self._new_cluster(self._nodes())
        self._cluster = cluster
        self._batches = Batches(
            self._write,
            capacity=int(self.config.bulk_buffer_capacity),
            interval_s=int(self.config.bulk_flush_interval_ms) / 1000,
            batch=int(self.config.bulk_max_batch_size),
            batch_bytes=MAX_BODY,
        )

    async def stop(self) -> None:
        batches, self._batches = self._batches, None
        cluster = self._cluster
        try:
            if batches is not None:
                await batches.drain()
        finally:
            self._cluster = None
            if cluster is not None:
                await cluster.close()

    def native(self) -> httpx2.AsyncClient:
        cluster = self._started()
        return cluster.http(cluster.nodes[0])

    @operation
    async def index(self, request: Document) -> Indexed:
        """Write one document. Those that come at the same time go to the server together."""
        began = time.monotonic()
        self._may_write()
        self._started()
        await self._furnish()
        lines = request.as_action.lines(self._index(request.index))
        assert self._batches is not None
        address, item = await self._batches.put(lines)
        if item.error is not None:
            raise refusal(item.status, {"error": item.why}, address, "the document", user=self._user)
        return Indexed(
            id=item.id or "",
            index=item.index or "",
            result=item.result or "",
            version=item.version,
            took_ms=_since(began),
        )

    @operation
    async def bulk(self, request: Documents) -> Bulked:
        """Write many documents, in the order of the request; hands back what became of each."""
        began = time.monotonic()
        self._may_write()
        self._started()
        await self._furnish()
        items: list[_Item] = []
        for part in self._parts(request.documents):
            try:
                items += (await self._send(part))[1]
            except ConnectorError as exc:
                if not items:
                    raise
                raise type(exc)(
                    f"{exc.message}; the {len(items)} documents before were sent, the others were not", hint=exc.hint
                ) from exc
        failed = sum(item.error is not None for item in items)
        return Bulked(
            written=len(items) - failed,
            failed=failed,
            items=[
                Written(
                    action=item.action, id=item.id, index=item.index, status=item.status, result=item.result,
                    error=item.error,
                )
                for item in items
            ],
            took_ms=_since(began),
        )  # fmt: skip

    @operation
    async def search(self, request: Search) -> Found:
        """Search an index, or several."""
        began = time.monotonic()
        path = f"/{quote(self._index(request.index), safe='*,')}/_search"
        reply = await self._call("POST", path, request.body(), repeatable=True)
        said = granted(reply, "the search", user=self._user)
        try:
            return _found(said, _since(began))
        except (KeyError, TypeError, AttributeError, ValueError) as exc:
            raise _strange(reply) from exc

    async def probe(self, probe: Probe) -> None:
        nodes = self._nodes()
        async with probe.step("resolve"):
            nodes = await self._those(nodes, self._resolved)
        async with probe.step("connect"):
            nodes = await self._those(nodes, self._dialled)
        if not nodes[0].is_encrypted:
            probe.skip("tls", "the scheme is http")
        else:
            async with probe.step("tls"):
                nodes = await self._those(nodes, self._shaken)
        cluster = self._new_cluster(nodes[:1])
        try:
            async with probe.step("login"):
                reply = await cluster.call("GET", "/", accept=self._media("json"))
                if reply.status == 401:
                    raise refusal(401, reply.said, reply.address, "anything", user=self._user)
            async with probe.step("cluster"):
                await self._look_at(cluster, reply, probe)
        finally:
            await cluster.close()

    def translate(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, OSError):
            return network_error(error, self._nodes()[0].address)
        return None

    def secret_values(self) -> set[str]:
        """The login as it stands in a request."""
        return {login} if (login := self._login()) else set()

    # What the config comes to

    @property
    def _user(self) -> str | None:
        return self.config.elastic_username if self.config.authenticate else None

    def _login(self) -> str | None:
        password = self.config.elastic_password
        if self._user is None or password is None:
            return None
        return base64.b64encode(f"{self._user}:{password.get_secret_value()}".encode()).decode()

    def _nodes(self) -> list[Node]:
        every = "https" if self.config.encrypt_communication else None
        return [
            Node(every or str(host.scheme), str(host.host).strip("[]"), int(host.port))
            for host in self.config.elastic_host_list
        ]

    @property
    def _timeout_s(self) -> float:
        said = int(self.config.connection_timeout_in_ms or 0)
        return said / 1000 if said >= SHORTEST_TIMEOUT_MS else USUAL_TIMEOUT_S

    def _new_cluster(self, nodes: list[Node]) -> Cluster:
        per_host = int(self.config.max_connection_per_host or USUAL_PER_HOST)
        login = self._login()
        return Cluster(
            nodes,
            Settings(
                network=self.context.network,
                tls=self._tls,
                per_host=per_host,
                total=int(self.config.max_connection_total or per_host * len(nodes)),
                timeout_s=self._timeout_s,
                headers={"Authorization": f"Basic {login}"} if login else {},
                socket_options=[_KEEP_ALIVE] if self.config.socket_keep_alive else [],
            ),
        )

    def _media(self, form: str) -> str:
        """The media type of JSON, as the server takes it; a named version asks a newer server to answer as it does."""
        major = _PINNED.get(str(self.config.elasticsearch_major_version))
        return f"application/vnd.elasticsearch+{form}; compatible-with={major}" if major else f"application/{form}"

    def _index(self, name: str | None) -> str:
        index = name or self.config.index_name
        if not index:
            raise Misconfigured(
                "no index is named", hint="Name one in the request (index), or in the connection (indexName)."
            )
        return index

    def _may_write(self) -> None:
        if self.config.elasticsearch_type == "READ":
            raise Misconfigured(
                "this connection may only read (elasticsearchType)",
                hint="Use another connection for writing, or set elasticsearchType to READ_WRITE.",
            )

    # Speaking to the cluster

    def _started(self) -> Cluster:
        if self._cluster is None:
            raise Unreachable("the connection was closed", hint="Retry: its successor serves already, if it has one.")
        return self._cluster

    async def _call(
        self, method: str, path: str, content: bytes | None = None, *, form: str = "json", repeatable: bool = False
    ) -> Reply:
        return await self._started().call(
            method, path, content, content_type=self._media(form), accept=self._media("json"), repeatable=repeatable
        )

    def _parts(self, documents: list[Action]) -> list[list[bytes]]:
        """The documents in requests that are neither too long nor too many at a time."""
        most = int(self.config.bulk_max_batch_size)
        parts: list[list[bytes]] = [[]]
        size = 0
        for document in documents:
            lines = document.lines(self._index(document.index))
            if parts[-1] and (len(parts[-1]) >= most or size + len(lines) > MAX_BODY):
                parts.append([])
                size = 0
            parts[-1].append(lines)
            size += len(lines)
        return parts

    async def _write(self, lines: list[bytes]) -> list[Any]:
        """For `Batches`: who answered, and what became of each."""
        address, items = await self._send(lines)
        return [(address, item) for item in items]

    async def _send(self, lines: list[bytes]) -> tuple[str, list[_Item]]:
        reply = await self._call("POST", "/_bulk", b"".join(lines), form="x-ndjson")
        said = granted(reply, "the documents", user=self._user)
        try:
            items = [_Item(item) for item in said["items"]]
        except (KeyError, TypeError, AttributeError, ValueError) as exc:
            raise _strange(reply) from exc
        if len(items) != len(lines):
            raise _strange(reply)
        return reply.address, items

    # What is to be there before the first document

    def _has_to_furnish(self) -> bool:
        config = self.config
        return (
            config.administrate
            and config.elasticsearch_type != "READ"
            and (config.index_template_created or config.index_lifecycle_policy_created)
        )

    def _check_furniture(self) -> None:
        policy = self.config.index_lifecycle_policy if self.config.index_lifecycle_policy_created else None
        if not self.config.index_name:
            raise Misconfigured(
                "a template or a lifecycle policy needs to know for which index it is", hint="Name it in indexName."
            )
        if policy is not None and policy.enable_delete_phase and policy.min_age_of_delete is None:
            raise Misconfigured(
                "the lifecycle policy deletes, and does not say when", hint="Set minAgeOfDelete, in days."
            )

    async def _furnish(self) -> None:
        """Create the lifecycle policy, the template and the first index, once."""
        if self._furnished:
            return
        async with self._furnishing:
            if self._furnished:
                return
            opensearch = await self._is_opensearch()
            if self.config.index_lifecycle_policy_created:
                await self._put_policy(opensearch)
            if self.config.index_template_created:
                path = f"/_index_template/{quote(str(self.config.index_template_name), safe='')}"
                await self._put(path, lifecycle.template(self.config, opensearch=opensearch), "the index template")
            if lifecycle.rolls_over(self.config):
                await self._put_first_index()
            self._furnished = True

    async def _is_opensearch(self) -> bool:
        if self.config.elasticsearch_major_version != "AUTO_DETECT":
            return False
        reply = await self._call("GET", "/", repeatable=True)
        if reply.status == 401:
            raise refusal(401, reply.said, reply.address, "anything", user=self._user)
        return _version(reply)[0] == "opensearch"

    async def _put_policy(self, opensearch: bool) -> None:
        policy, index = self.config.index_lifecycle_policy, self.config.index_name
        assert policy is not None and index is not None
        name = quote(policy.policy_name, safe="")
        if not opensearch:
            await self._put(f"/_ilm/policy/{name}", lifecycle.elasticsearch_policy(policy), "the lifecycle policy")
            return
        # Unlike Elasticsearch it changes a policy only for those who know which one is there.
        path, what = f"/_plugins/_ism/policies/{name}", "the lifecycle policy"
        reply = await self._call("GET", path, repeatable=True)
        if reply.status == 200 and isinstance(reply.said, dict):
            place = f"?if_seq_no={_number(reply, '_seq_no')}&if_primary_term={_number(reply, '_primary_term')}"
        elif reply.status == 404:
            place = ""
        else:
            raise refusal(reply.status, reply.said, reply.address, what, user=self._user)
        wanted = lifecycle.opensearch_policy(policy, lifecycle.patterns(index))
        # 409: another worker was faster, and writes the same.
        await self._put(path + place, wanted, what, also=(409,))

    async def _put_first_index(self) -> None:
        alias = str(self.config.index_name)
        reply = await self._call("HEAD", f"/{quote(alias, safe='')}", repeatable=True)
        if reply.status == 404:
            body = {"aliases": {alias: {"is_write_index": True}}}
            await self._put(f"/{quote(lifecycle.first_index(alias), safe='')}", body, "the first index", exists=True)

    async def _put(
        self, path: str, body: dict[str, Any], what: str, *, also: tuple[int, ...] = (), exists: bool = False
    ) -> None:
        reply = await self._call("PUT", path, as_json(body), repeatable=True)
        if reply.status in also or (exists and reason(reply.said)[0] == "resource_already_exists_exception"):
            return
        granted(reply, what, user=self._user)

    # Probing

    async def _those(self, nodes: list[Node], test: Any) -> list[Node]:
        """Those that pass *test*; one is enough for real use. Raises what went wrong where none does."""
        results = await asyncio.gather(*(test(node) for node in nodes), return_exceptions=True)
        passed = [node for node, result in zip(nodes, results, strict=True) if not isinstance(result, BaseException)]
        if not passed:
            first = next(result for result in results if isinstance(result, BaseException))
            raise first
        return passed

    async def _resolved(self, node: Node) -> None:
        await self.context.network.resolve(node.host, node.port)

    async def _dialled(self, node: Node) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.context.network.dial(node.host, node.port)
        except TimeoutError as exc:
            raise network_error(exc, node.address) from exc

    async def _shaken(self, node: Node) -> None:
        if self._tls is None or not node.is_encrypted:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.context.network.handshake(node.host, node.port, self._tls)
        except TimeoutError as exc:
            raise network_error(exc, node.address) from exc

    async def _look_at(self, cluster: Cluster, root: Reply, probe: Probe) -> None:
        """Whether it is such a cluster, of the version that is asked for, and well enough to work."""
        if root.status not in (200, 403, 404, 405) or not isinstance(root.said, dict | None):
            raise refusal(root.status, root.said, root.address, "a look at it", user=self._user)
        if root.status == 200 and _version(root)[1] is None:
            raise _strange(root)
        reply = await cluster.call("GET", "/_cluster/health", accept=self._media("json"))
        if reply.status == 403:
            probe.unknown("the user may log in, and may not see how the cluster is")
            return
        health = granted(reply, "a look at its health", user=self._user).get("status")
        if health not in ("green", "yellow", "red"):
            raise _strange(reply)
        if health == "red":
            raise Unreachable(
                f"{reply.address}: the cluster is red: a part of its data is not there",
                hint="Look at GET _cluster/allocation/explain on the cluster.",
            )


class _Item:
    """What a server says became of one document. Raises what Python does where it is strange."""

    __slots__ = ("action", "error", "id", "index", "result", "status", "version", "why")

    def __init__(self, said: dict[str, Any]) -> None:
        ((self.action, about),) = said.items()
        self.id, self.index, self.result = (_text(about.get(name)) for name in ("_id", "_index", "result"))
        self.status = int(about["status"])
        version = about.get("_version")
        self.version = version if isinstance(version, int) else None
        self.why: Any = about.get("error")
        kind, why = reason({"error": self.why})
        self.error: str | None = None
        if self.why is not None or self.status >= 400:
            self.error = (f"{kind}: {why}" if kind and why else kind or why) or f"status {self.status}"


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _number(reply: Reply, name: str) -> int:
    value = reply.said.get(name)
    if not isinstance(value, int):
        raise _strange(reply)
    return value


def _version(reply: Reply) -> tuple[str, str | None]:
    """Which family of servers it is, and the number of its version where it tells."""
    version = reply.said.get("version") if isinstance(reply.said, dict) else None
    version = version if isinstance(version, dict) else {}
    number = version.get("number")
    family = "opensearch" if version.get("distribution") == "opensearch" else "elasticsearch"
    return family, number if isinstance(number, str) else None


def _found(said: dict[str, Any], took_ms: float) -> Found:
    hits, total = said["hits"], said["hits"].get("total")
    # Older servers, and those asked to behave as such, say a mere number.
    value, relation = (total.get("value"), total.get("relation")) if isinstance(total, dict) else (total, "eq")
    return Found(
        hits=[
            Hit(
                id=str(hit["_id"]),
                index=str(hit["_index"]),
                score=hit.get("_score"),
                document=hit.get("_source") or {},
                sort=hit.get("sort"),
            )
            for hit in hits["hits"]
        ],
        total=value,
        exact=relation == "eq",
        aggregations=said.get("aggregations") or {},
        timed_out=bool(said.get("timed_out")),
        failed_shards=int((said.get("_shards") or {}).get("failed") or 0),
        took_ms=took_ms,
    )


def _strange(reply: Reply) -> ConnectorError:
    return refusal(reply.status, None, reply.address, "the request")


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
