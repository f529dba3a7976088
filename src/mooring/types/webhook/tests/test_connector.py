"""Calling real web servers, honest ones and others."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.services import black_hole, closed_port

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.webhook.tests.servers import Reply, raw_server, web_server

CANARY = "s3cr3t-canary"
MIB = 1024 * 1024


class Materials:
    """The stores of a test."""

    def __init__(self, **stores: Store) -> None:
        self.stores = stores

    def store(self, name: str) -> Store:
        return self.stores[name]


@dataclass
class Authority:
    """A certificate authority of our own."""

    ca: trustme.CA
    file: str

    def server(self, *names: str, clients: bool = False) -> ssl.SSLContext:
        """What a server with a certificate for *names* uses; with *clients*, it wants to see one from them too."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        if clients:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    @property
    def trusted(self) -> Store:
        """A truststore with this authority."""
        return Store(trusted=self.ca.cert_pem.bytes().decode())

    @property
    def identity(self) -> Store:
        """A keystore with a client certificate."""
        issued = self.ca.issue_cert("client.example.com")
        chain = "".join(part.bytes().decode() for part in issued.cert_chain_pems)
        return Store(chain=chain, key=issued.private_key_pem.bytes().decode())


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Iterator[Authority]:
    """An authority, and the file that a worker would trust."""
    ca = trustme.CA()
    file: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    yield Authority(ca, str(file))


def hook(port: int, path: str = "/hook", scheme: str = "http", **fields: Any) -> dict[str, Any]:
    return {
        "type": "webhook",
        "name": "hook",
        "httpMethod": "POST",
        "fullUrl": f"{scheme}://127.0.0.1:{port}{path}",
        **fields,
    }


def header(name: str, value: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value}]


async def failure(
    config: dict[str, Any], timeout_s: float = 5.0, ca_file: str | None = None, **request: Any
) -> ConnectorError:
    async with connected(config, ca_file=ca_file) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use("send", request, timeout_s)
    return caught.value


async def test_json_arrives():
    """Anything but a text is sent as JSON, and the answer comes back whole."""
    async with (
        web_server(reply=Reply(202, {"X-Id": "7"}, "tamam, ışık".encode())) as server,
        connected(hook(server.port)) as guard,
    ):
        answer = await guard.use("send", {"body": {"order": 4711, "note": "ş"}})

    assert (server.last.method, server.last.path, server.json) == ("POST", "/hook", {"order": 4711, "note": "ş"})
    assert server.last.header("content-type") == ["application/json"]
    assert (answer.status, answer.headers["x-id"], answer.body, answer.body_encoding, answer.truncated) == (
        202,
        "7",
        "tamam, ışık",
        "text",
        False,
    )
    assert answer.took_ms > 0


async def test_a_text_arrives_as_it_is():
    """A text is not quoted."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {"body": "<ışık/>", "contentType": "application/xml"})

    assert server.last.body.decode() == "<ışık/>"
    assert server.last.header("content-type") == ["application/xml"]


async def test_bytes_arrive_as_they_are():
    """A body in base64 is sent as the bytes it stands for."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {"bodyBase64": base64.b64encode(bytes(range(256))).decode()})

    assert server.last.body == bytes(range(256))


async def test_nothing_to_say():
    """A call needs no body."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {})

    assert server.last.body == b"" and server.last.header("content-type") == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
async def test_the_method_is_that_of_the_connection(method):
    """Every documented method is the one that arrives."""
    async with web_server() as server, connected(hook(server.port, httpMethod=method)) as guard:
        await guard.use("send", {})

    assert server.last.method == method


async def test_configured_headers_are_sent_every_time():
    """The headers of the connection arrive, also two of one name."""
    pair = [*header("X-Tag", "a"), *header("X-Tag", "b"), *header("Authorization", "Bearer t")]
    async with web_server() as server, connected(hook(server.port, headerList=pair)) as guard:
        await guard.use("send", {})

    assert server.last.header("x-tag") == ["a", "b"]
    assert server.last.header("authorization") == ["Bearer t"]


async def test_headers_of_a_call_replace_those_of_the_connection():
    """A call may say it otherwise, where it is no credential."""
    async with web_server() as server, connected(hook(server.port, headerList=header("X-Tag", "a"))) as guard:
        await guard.use("send", {"headers": {"x-tag": "ş", "X-Event": "created"}})

    assert server.last.header("x-tag") == ["ş"]
    assert server.last.header("x-event") == ["created"]


async def test_credentials_cannot_be_replaced():
    """A call cannot replace a credential of the connection."""
    async with web_server() as server:
        error = await failure(hook(server.port, headerList=header("X-Api-Key", CANARY)), headers={"x-api-key": "mine"})

    assert isinstance(error, Misconfigured) and server.seen == []


@pytest.mark.parametrize("name", ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade"])
async def test_structural_headers_are_refused(name):
    """A call can change neither where it goes nor where it ends."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"headers": {name: "evil.example"}})

    assert server.seen == []


@pytest.mark.parametrize("headers", [{"X-A": "a\r\nHost: evil"}, {"X-A\r\nHost": "evil"}, {"X A": "b"}, {"": "b"}])
async def test_no_line_break_gets_in(headers):
    """A header cannot hold another one."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"headers": headers})

    assert server.seen == []


async def test_query_parameters_are_added():
    """Parameters of a call stand behind those of the address, and both are encoded."""
    async with web_server() as server, connected(hook(server.port, "/a b?x=1&y=ş t")) as guard:
        await guard.use("send", {"query": {"id": [1, 2], "q": "a&b=c", "on": True}})

    assert (server.last.path, server.last.query) == ("/a%20b", "x=1&y=%C5%9F%20t&id=1&id=2&q=a%26b%3Dc&on=true")


async def test_the_host_header_is_the_configured_one():
    """The server hears the host of the address, with its port."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {})

    assert server.last.header("host") == [f"127.0.0.1:{server.port}"]


async def test_a_login_in_the_address():
    """User and password of the address are sent as Basic authentication, decoded."""
    async with web_server() as server:
        config = hook(server.port) | {"fullUrl": f"http://us%40er:p%3Aw%2F@127.0.0.1:{server.port}/"}
        async with connected(config) as guard:
            await guard.use("send", {})

    assert base64.b64decode(server.last.header("authorization")[0].removeprefix("Basic ")) == b"us@er:p:w/"


async def test_the_header_wins_over_the_login_in_the_address():
    """There is one Authorization header."""
    async with web_server() as server:
        config = hook(server.port, headerList=header("Authorization", "Bearer t")) | {
            "fullUrl": f"http://u:p@127.0.0.1:{server.port}/"
        }
        async with connected(config) as guard:
            await guard.use("send", {})

    assert server.last.header("authorization") == ["Bearer t"]


@pytest.mark.parametrize("status", [204, 302, 400, 401, 404, 500, 503])
async def test_every_status_is_an_answer(status):
    """What the address says is for the caller to judge."""
    async with web_server(reply=Reply(status)) as server, connected(hook(server.port)) as guard:
        assert (await guard.use("send", {})).status == status


async def test_redirects_are_not_followed():
    """A redirect is an answer; the credentials go nowhere else."""
    async with web_server() as other, web_server() as server:
        server.reply = Reply(307, {"Location": f"http://127.0.0.1:{other.port}/"})
        async with connected(hook(server.port, headerList=header("Authorization", CANARY))) as guard:
            answer = await guard.use("send", {"body": "x"})

    assert (answer.status, other.seen) == (307, [])


async def test_cookies_are_not_kept():
    """An answer leaves no trace in later calls."""
    async with (
        web_server(reply=Reply(200, {"Set-Cookie": "session=1"})) as server,
        connected(hook(server.port)) as guard,
    ):
        await guard.use("send", {})
        await guard.use("send", {})

    assert server.last.header("cookie") == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    """The worker's environment does not decide where a call goes."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    async with web_server() as server, connected(hook(server.port)) as guard:
        assert (await guard.use("send", {})).status == 200


async def test_a_long_answer_is_cut():
    """More than 1 MiB is not read, and the answer says so."""
    async with web_server(reply=Reply(200, {}, "ş".encode() * MIB)) as server, connected(hook(server.port)) as guard:
        answer = await guard.use("send", {})

    assert answer.truncated and answer.body_encoding == "text"
    assert len(answer.body.encode()) == MIB


async def test_an_answer_of_just_the_limit_is_whole():
    """1 MiB is not too much."""
    async with web_server(reply=Reply(200, {}, b"x" * MIB)) as server, connected(hook(server.port)) as guard:
        answer = await guard.use("send", {})

    assert (len(answer.body), answer.truncated) == (MIB, False)


async def test_an_endless_answer_ends():
    """A server that never stops talking is stopped at 1 MiB."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * (2 * MIB)
    async with raw_server(endless) as port, connected(hook(port)) as guard:
        assert (await guard.use("send", {})).truncated


async def test_a_compressed_bomb_stays_small():
    """Decompression stops at 1 MiB."""
    bomb = gzip.compress(bytes(200 * MIB))
    async with (
        web_server(reply=Reply(200, {"Content-Encoding": "gzip"}, bomb)) as server,
        connected(hook(server.port)) as guard,
    ):
        answer = await guard.use("send", {})

    assert answer.truncated and len(answer.body) == MIB


async def test_a_compressed_answer_is_read():
    """A server that compresses although nobody asked is understood."""
    packed = gzip.compress("ışık".encode())
    async with (
        web_server(reply=Reply(200, {"Content-Encoding": "gzip"}, packed)) as server,
        connected(hook(server.port)) as guard,
    ):
        assert (await guard.use("send", {})).body == "ışık"


async def test_bytes_that_are_no_text():
    """An answer that is no text survives JSON."""
    async with web_server(reply=Reply(200, {}, b"\xff\x00\x01")) as server, connected(hook(server.port)) as guard:
        answer = await guard.use("send", {})

    assert (answer.body_encoding, base64.b64decode(answer.body)) == ("base64", b"\xff\x00\x01")


@pytest.mark.parametrize(("charset", "shown"), [("iso-8859-9", "text"), ("nonsense", "text"), ("hex", "text")])
async def test_the_charset_of_the_answer(charset, shown):
    """A text is read in the character set that it names, and one that does not exist does no harm."""
    body = "ş".encode(charset if charset.startswith("iso") else "utf-8")
    async with web_server(reply=Reply(200, {"Content-Type": f"text/plain; charset={charset}"}, body)) as server:
        async with connected(hook(server.port)) as guard:
            answer = await guard.use("send", {})

    assert (answer.body, answer.body_encoding) == ("ş", shown)


@pytest.mark.parametrize(
    "fields",
    [
        {"body": "a", "bodyBase64": "YQ=="},
        {"bodyBase64": "???"},
        {"body": "x" * (10 * MIB + 1)},
        {"url": "http://evil.example"},
    ],
)
async def test_requests_that_make_no_sense(fields):
    """Two bodies, broken base64, a body beyond the limit and an address of one's own are refused."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", fields)


async def test_https(authority):
    """A server whose certificate the worker trusts is called."""
    async with web_server(authority.server("127.0.0.1")) as server:
        async with connected(hook(server.port, scheme="https"), ca_file=authority.file) as guard:
            assert (await guard.use("send", {})).status == 200


async def test_an_unknown_issuer(authority):
    """A certificate of an unknown issuer is refused, and says so."""
    async with web_server(authority.server("127.0.0.1")) as server:
        error = await failure(hook(server.port, scheme="https"))

    assert isinstance(error, Misconfigured) and "issuer" in error.message


@pytest.mark.parametrize("verify", [True, False])
async def test_a_certificate_of_another_host(authority, verify):
    """Without a truststore, a certificate for another host is refused whatever verifyHostname says."""
    async with web_server(authority.server("other.example")) as server:
        error = await failure(hook(server.port, scheme="https", verifyHostname=verify), ca_file=authority.file)

    assert isinstance(error, Misconfigured) and "not valid for '127.0.0.1'" in error.message
    assert server.seen == []


async def test_a_truststore_decides(authority):
    """With a truststore, its certificates are believed, for any host name unless verifyHostname is on."""
    async with web_server(authority.server("other.example")) as server:
        config = hook(server.port, scheme="https", trustStoreName="t")
        async with connected(config, materials=Materials(t=authority.trusted)) as guard:
            assert (await guard.use("send", {})).status == 200
        async with connected({**config, "verifyHostname": True}, materials=Materials(t=authority.trusted)) as guard:
            with pytest.raises(Misconfigured):
                await guard.use("send", {})


async def test_a_truststore_replaces_the_workers_authorities(authority):
    """With a truststore, what the worker trusts does not count."""
    other = Store(trusted=trustme.CA().cert_pem.bytes().decode())
    async with web_server(authority.server("127.0.0.1")) as server:
        async with connected(
            hook(server.port, scheme="https", trustStoreName="t"), materials=Materials(t=other), ca_file=authority.file
        ) as guard:
            with pytest.raises(Misconfigured):
                await guard.use("send", {})


async def test_a_client_certificate(authority):
    """A server that wants a client certificate gets the one of the keystore."""
    async with web_server(authority.server("127.0.0.1", clients=True)) as server:
        config = hook(server.port, scheme="https", keyStoreName="me")
        async with connected(config, materials=Materials(me=authority.identity), ca_file=authority.file) as guard:
            assert (await guard.use("send", {})).status == 200


async def test_a_missing_client_certificate(authority):
    """A server that wants a client certificate and gets none hangs up; the hint names what may be missing."""
    async with web_server(authority.server("127.0.0.1", clients=True)) as server:
        error = await failure(hook(server.port, scheme="https"), ca_file=authority.file)

    assert "keyStoreName" in str(error.hint) and server.seen == []


async def test_other_connections_are_not_changed(authority):
    """Connections share what they trust; a call leaves no mark of HTTP on it for those that speak something else."""
    speaks_http = authority.server("127.0.0.1")
    speaks_http.set_alpn_protocols(["http/1.1"])
    async with web_server(speaks_http) as server:
        async with connected(hook(server.port, scheme="https"), ca_file=authority.file) as guard:
            await guard.use("send", {})
        shared = client_context(ca_file=authority.file, purpose="http")
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=shared)
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()

    assert chosen is None


async def test_a_missing_store_is_found_at_open():
    """A store that does not exist is told when the connection is opened."""
    with pytest.raises(MaterialMissing):
        async with connected(hook(1, scheme="https", trustStoreName="nowhere")):
            pass


async def test_an_unused_store_may_be_missing():
    """Without https no store is looked for."""
    async with connected(hook(1, trustStoreName="nowhere")) as guard:
        assert not guard.started


@pytest.mark.parametrize("store", [Store(), Store(trusted="nonsense")])
async def test_a_truststore_without_certificates(store):
    """A truststore that trusts nobody is the author's mistake, and told at open."""
    with pytest.raises(Misconfigured, match="truststore|certificates"):
        async with connected(hook(1, scheme="https", trustStoreName="t"), materials=Materials(t=store)):
            pass


async def test_https_on_a_plain_port():
    """https where the server speaks http is the author's mistake."""
    async with web_server() as server:
        error = await failure(hook(server.port, scheme="https"))

    assert isinstance(error, Misconfigured) and "TLS" in error.message


async def test_http_on_an_encrypted_port(authority):
    """http where the server speaks https ends with an error that says whose move it is."""
    async with raw_server(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        error = await failure(hook(port))

    assert isinstance(error, Misconfigured) and "https" in str(error.hint)


async def test_a_closed_port():
    """A port that nobody listens on is told at once."""
    started = time.monotonic()

    error = await failure(hook(closed_port()))

    assert isinstance(error, Unreachable) and "refused the connection" in error.message
    assert time.monotonic() - started < 1


async def test_an_unknown_host():
    """A name that does not resolve is told so."""
    error = await failure(hook(1) | {"fullUrl": "https://nowhere.invalid/"})

    assert isinstance(error, Unreachable) and "does not resolve" in error.message


async def test_a_name_with_several_addresses():
    """Where the first address of a name does not take connections, the next one is tried."""
    async with web_server() as server, connected(hook(1) | {"fullUrl": f"http://localhost:{server.port}/"}) as guard:
        assert (await guard.use("send", {})).status == 200


@pytest.mark.parametrize("connects", [True, False])
async def test_a_black_hole_ends_by_the_configured_time(connects):
    """A server that says nothing, or takes no connection, is given up after `timeout`."""
    with black_hole(connects=connects) as hole:
        started = time.monotonic()

        error = await failure(hook(hole.port, timeout=1))

    assert isinstance(error, Unreachable) and "in time" in error.message
    assert 0.9 < time.monotonic() - started < 2.5


async def test_a_black_hole_behind_tls_ends_by_the_configured_time():
    """The TLS handshake counts as connecting."""
    with black_hole() as hole:
        started = time.monotonic()

        error = await failure(hook(hole.port, scheme="https", timeout=9, connectTimeoutSeconds=1))

    assert isinstance(error, Unreachable)
    assert time.monotonic() - started < 2.5


async def test_a_slow_answer_may_take_its_own_time():
    """responseTimeoutSeconds allows more than timeout."""
    async with web_server(reply=Reply(delay_s=1.3)) as server:
        async with connected(hook(server.port, timeout=1, responseTimeoutSeconds=3)) as guard:
            assert (await guard.use("send", {})).status == 200
        error = await failure(hook(server.port, timeout=1))

    assert "may or may not have acted" in error.message


async def test_connections_are_bounded():
    """No more calls are under way than the pool allows; all are made."""
    async with web_server(reply=Reply(delay_s=0.02)) as server:
        async with connected(hook(server.port, connectionPoolMaxConnectionPerHost=4)) as guard:
            answers = await asyncio.gather(*(guard.use("send", {}) for _ in range(40)))

    assert [answer.status for answer in answers] == [200] * 40
    assert server.most == 4


async def test_waiting_for_the_pool_ends():
    """A call that finds no free connection within `timeout` says so."""
    async with web_server(reply=Reply(delay_s=1.5)) as server:
        config = hook(server.port, connectionPoolMaxConnectionPerHost=1, timeout=1, responseTimeoutSeconds=5)
        async with connected(config) as guard:
            first = asyncio.create_task(guard.use("send", {}))
            await asyncio.sleep(0.1)
            with pytest.raises(Unreachable, match="every connection was in use"):
                await guard.use("send", {})
            assert (await first).status == 200


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (b"", Unreachable, "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Misconfigured, "did not answer as a web server does"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Misconfigured, "did not answer as"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, Misconfigured, "did not answer as"),
    ],
)
async def test_bad_weather(said, kind, words):
    """Whatever a server sends, the error says whose move it is."""
    async with raw_server(said) as port:
        error = await failure(hook(port))

    assert type(error) is kind
    assert words in error.message


async def test_it_heals_when_the_server_comes_back():
    """After the server went away and came back, the same connector calls it again."""
    async with web_server() as first:
        port = first.port

    async with connected(hook(port)) as guard:
        async with web_server(port=port):
            await guard.use("send", {})
        with pytest.raises(Unreachable):
            await guard.use("send", {})
        async with web_server(port=port):
            assert (await guard.use("send", {})).status == 200


async def test_two_hundred_calls_leave_nothing_behind():
    """After 200 calls and a rest no socket and no task is left."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {})
        await guard.rest()
        await asyncio.sleep(0.1)
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())

        await asyncio.gather(*(guard.use("send", {"body": {"n": n}}) for n in range(200)))
        assert await guard.rest()
        await asyncio.sleep(0.1)

        assert (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before
        assert len(server.seen) == 201


async def test_connections_are_used_again():
    """Calls one after the other share a connection."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {})
        before = len(os.listdir("/proc/self/fd"))

        for _ in range(20):
            await guard.use("send", {})

        assert len(os.listdir("/proc/self/fd")) == before


async def test_it_works_after_a_rest():
    """After its pool was given back, the next call is made all the same."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        await guard.use("send", {})
        assert await guard.rest()

        assert (await guard.use("send", {})).status == 200


async def test_closing_ends_what_is_under_way():
    """A call that is under way when the connection ends fails clearly, and soon."""
    async with web_server(reply=Reply(delay_s=3)) as server, connected(hook(server.port, timeout=9)) as guard:
        calling = asyncio.create_task(guard.use("send", {}))
        await asyncio.sleep(0.2)

        await guard.close(grace_s=0.1)

        with pytest.raises(ConnectorError):
            await asyncio.wait_for(calling, 2)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_probe_does_not_fire_the_hook(authority, scheme):
    """A probe goes up to the door, and does not ring."""
    tls = authority.server("127.0.0.1") if scheme == "https" else None
    async with web_server(tls) as server, connected(hook(server.port, scheme=scheme), ca_file=authority.file) as guard:
        report = await guard.probe()

    tls_step = ("tls", "passed" if tls else "skipped")
    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"),
        ("connect", "passed"),
        tls_step,
        ("hook", "unknown"),
    ]
    assert report.ok and server.seen == []


async def test_the_probe_says_where_it_stopped(authority):
    """With a certificate of another host everything before TLS passed."""
    async with web_server(authority.server("other.example")) as server:
        async with connected(hook(server.port, scheme="https"), ca_file=authority.file) as guard:
            report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"),
        ("connect", "passed"),
        ("tls", "failed"),
    ]
    assert report.failure is not None and report.failure.code == "misconfigured"


async def test_the_probe_of_a_black_hole_ends():
    """A server that does not answer the handshake is given up after `timeout`."""
    with black_hole() as hole:
        async with connected(hook(hole.port, scheme="https", timeout=1)) as guard:
            report = await guard.probe(timeout_s=5)

    assert report.failure is not None and "in time" in str(report.failure.message)


async def test_no_secret_is_in_an_error():
    """Neither the credentials of the address nor those of the headers come out with an error."""
    port = closed_port()
    config = hook(port, headerList=header("Authorization", f"Bearer {CANARY}1")) | {
        "fullUrl": f"http://{CANARY}2:{CANARY}3@127.0.0.1:{port}/?token={CANARY}4"
    }

    error = await failure(config)
    async with connected(config) as guard:
        report = await guard.probe()

    assert CANARY not in f"{error.message} {error.hint} {error!r} {report}".replace(f"{CANARY}2", "")


async def test_the_native_client():
    """The driver's own client is to be had, with the pool of the connection."""
    async with web_server() as server, connected(hook(server.port)) as guard:
        client = await guard.native()

        assert (await client.get(f"http://127.0.0.1:{server.port}/other")).status_code == 200
