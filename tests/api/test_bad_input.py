"""Bad input: a 4xx in the documented shape, never a 5xx, and the server still answers afterwards."""

import gzip
import json
import re
import socket
import time

import pytest

from tests.api.answers import problems, refusal
from tests.api.raw import exchange, request
from tests.support.plane import CONNECTIONS, client_of, connection_path, email

JSON_TYPE = {"Content-Type": "application/json"}
PATH = connection_path("a")
GOOD = json.dumps(email("a")).encode()
LIMIT = 256 * 1024
BODIES_OF = {
    "connection": ("POST", PATH), "change": ("PUT", PATH), "token": ("POST", "/apiops/tokens/"),
    "project": ("POST", "/apiops/projects/x/"), "environment": ("POST", "/apiops/environments/x/"),
    "environment change": ("PUT", "/apiops/environments/development/"), "enrolment": ("POST", "/apiops/workers/enrolments/"),
    "enrol": ("POST", "/worker/v1/enrol"),
}  # fmt: skip
every_body = pytest.mark.parametrize(("method", "path"), BODIES_OF.values(), ids=BODIES_OF)

NOT_JSON = {
    "empty": b"", "blank": b"  ", "text": b"hello", "half": b'{"type":', "two": b"{}{}", "comma": b'{"a":1,}', "single": b"{'a':1}",
    "comment": b"{/* */}", "no quotes": b"{a:1}", "array": b"[]", "array of one": b"[" + GOOD + b"]", "string": b'"x"', "number": b"7",
    "null": b"null", "true": b"true", "bom": b"\xef\xbb\xbf{}", "utf-16": GOOD.decode().encode("utf-16"), "latin-1": b'{"a":"\xe9"}',
    "raw surrogate": b'{"a":"\xed\xa0\x80"}', "overlong": b'{"a":"\xc0\xaf"}', "cut utf-8": b'{"a":"\xe2\x82"}', "nul byte": b"\x00",
    "nul in text": b'{"a":"\x00"}', "escaped nul": rb'{"a":"\u0000"}', "nul in key": rb'{"a\u0000":1}',
    "lone surrogate": rb'{"a":"\ud800"}', "low surrogate": rb'{"a":"\udc00"}', "surrogate key": rb'{"\ud800":1}',
    "newline in text": b'{"a":"\n"}', "nan": b'{"port":NaN}', "infinity": b'{"port":Infinity}', "-infinity": b'{"port":-Infinity}',
    "huge exponent": b'{"port":1e999}', "-huge exponent": b'{"port":-1e999}', "huge integer": b'{"port":' + b"9" * 400 + b"}",
    "5,000 digits": b'{"port":' + b"9" * 5000 + b"}", "hex": b'{"port":0x10}', "leading zero": b'{"port":007}', "plus": b'{"port":+7}',
    "twice": b'{"host":"a","host":"b"}', "twice deep": b'{"a":{"b":1,"b":2}}', "twice escaped": rb'{"host":"a","h\u006fst":"b"}',
    "twice surrogate": rb'{"\ud800":1,"\ud800":2}', "depth 33": b'{"a":' + b"[" * 33 + b"]" * 33 + b"}",
    "depth 10,000": b"[" * 10_000 + b"]" * 10_000, "depth 10,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "depth 100,000": b"[" * 100_000, "many strings": b'{"a":[' + b",".join([b'""'] * 60_000) + b"]}",
    "gzip": gzip.compress(GOOD), "form": b"type=email&name=a", "xml": b"<a/>", "multipart": b"--x\r\n\r\n--x--",
}  # fmt: skip


@every_body
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
async def test_body_that_is_no_json_object(http, method, path, body):
    """What is no JSON object that we take is 400 and says why, without repeating it."""
    response = await http.request(method, path, content=body, headers=JSON_TYPE)

    status, code, text = refusal(response)
    assert (status, code) == (400, "bad_request")
    assert text.startswith("Request body is not valid JSON: ")
    assert len(text) < 300


def _junk():
    yield {}
    yield {"nonsense": 1}
    yield {"": 1}
    yield {"type": ["email"]}
    yield {"type": {"a": 1}, "name": None}
    for value in (
        0,
        -1,
        1.5,
        True,
        "",
        "x" * 5000,
        [],
        [None],
        [[]],
        {},
        {"a": {}},
        None,
        2**53,
        "\u0001",
        "🚀",
        "${x}",
    ):
        for key in (
            "type",
            "name",
            "description",
            "enabled",
            "port",
            "projects",
            "grants",
            "validSeconds",
            "publicKey",
            "token",
        ):
            yield {key: value}
            yield {**email("a"), key: value}


@every_body
async def test_object_of_anything(http, method, path):
    """Whatever the fields are, the answer is a 200 or a refusal in the documented shape."""
    for body in _junk():
        response = await http.request(method, path, json=body)

        if response.status_code != 200:
            assert refusal(response)[0] in (400, 401, 404, 409), (body, response.text)


async def test_elasticsearch_may_say_type_twice(http):
    """The documented double `type` of elasticsearch is taken; any other repetition is not."""
    body = b'{"type":"elasticsearch","name":"a","elasticHostList":[{"scheme":"http","host":"es","port":9200}],"type":"READ"}'
    assert (await http.post(PATH, content=body, headers=JSON_TYPE)).status_code == 200

    for pair in (
        b'"type":"email","type":"email"',
        b'"type":"email","type":"READ"',
        b'"type":"kafka","type":"email"',
        b'"type":1,"type":2',
    ):
        refused = await http.post(PATH, content=b"{" + pair + b',"name":"a"}', headers=JSON_TYPE)
        assert refusal(refused)[0] == 400


@every_body
@pytest.mark.parametrize("content_type", [
    None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "json",
    "application/xml", "application/json, text/plain", ";application/json", "application/merge-patch+json", "\u00e9",
])  # fmt: skip
async def test_wrong_content_type(http, method, path, content_type):
    """Any other content type, or none, is 400 with one text."""
    headers = {} if content_type is None else {"Content-Type": content_type.encode("latin-1")}

    assert refusal(await http.request(method, path, content=GOOD, headers=headers)) == (
        400, "bad_request", "Content-Type must be application/json",
    )  # fmt: skip


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
)
async def test_content_type(http, content_type):
    """Case and parameters of the content type do not matter."""
    assert (await http.post(PATH, content=GOOD, headers={"Content-Type": content_type})).status_code == 200


@every_body
async def test_body_over_the_limit(http, method, path):
    """A body over the limit is 413, whether it says its length or not."""

    async def pieces():
        for _ in range(11):
            yield b" " * 1_000_000

    for content in (b" " * (LIMIT + 1), b" " * 10_000_000, pieces()):
        response = await http.request(method, path, content=content, headers=JSON_TYPE)

        assert refusal(response) == (413, "bad_request", f"Request body is larger than {LIMIT} bytes")


async def test_body_at_the_limit(http):
    """A body of exactly the limit is read."""
    assert (await http.post(PATH, content=GOOD.ljust(LIMIT), headers=JSON_TYPE)).status_code == 200


async def test_form_over_the_limit(http):
    """The exchange of tokens has the same limit."""
    response = await http.post("/apiops/auth/token", data={"grant_type": "x" * LIMIT})

    assert refusal(response)[0] == 413


@pytest.mark.parametrize("form", [
    b"", b"&&&", b"=", b"grant_type", b"%", b"%ff=%ff", b"grant_type=%00", b"a=" * 50_000, b"&a" * 1000, b"\xff\xfe", b"grant_type=client_credentials&client_id[]=x",
    b"grant_type=client_credentials&client_id=%ed%a0%80&client_secret=%ff",
], ids=lambda form: ascii(form[:30]))  # fmt: skip
async def test_odd_forms(plane, form):
    """A form that is none is a 4xx in the documented shape."""
    async with client_of(plane, None) as client:
        response = await client.post(
            "/apiops/auth/token", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )

    assert refusal(response)[0] in (400, 401)


@pytest.mark.parametrize("query", [
    "?", "?&&", "?=", "?type", "?type=", "?page=&size=", "?type=%00", "?type=%ff", "?type=" + "x" * 10_000, "?limit=1&limit=x",
    "?cursor=%ed%a0%80&limit=1", "?sort=%00", "?waitSeconds=%00", "?%ff=%ff", "?type[]=email", "?" + "a=b&" * 5000,
], ids=lambda query: ascii(query[:30]))  # fmt: skip
async def test_odd_queries(http, query):
    """An odd query is answered, or refused in the documented shape."""
    response = await http.get(CONNECTIONS + query)

    if response.status_code != 200:
        assert refusal(response)[0] == 400


async def test_unknown_key_of_any_length_is_cut(http):
    """A key that is no field is named, but not at any length."""
    response = await http.post(PATH, json={**email("a"), "k" * 50_000: 1})

    assert refusal(response)[0] == 400
    assert "kkkkk" in response.text
    assert len(refusal(response)[2]) < 300


async def test_many_unknown_keys(http):
    """Hundreds of unknown keys are all named, soon."""
    body = {**email("a"), **{f"key{number}": 1 for number in range(400)}}

    started = time.process_time()
    found = problems(await http.post(PATH, json=body))

    assert len(found) == 400
    assert time.process_time() - started < 5


# a real server


def _answers(dev) -> bool:
    return dev.api.get("/apiops/test/healthcheck").text == "OK"


JSON_HEADER = b"Content-Type: application/json\r\n"
TARGET = CONNECTIONS.encode() + b"api-raw/"
NOT_HTTP = {
    "text": b"hello\r\n\r\n", "binary": bytes(range(256)) * 4, "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "unknown method": b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", "lower case": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "http/9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "connect": b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "blank in name": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "bare lf": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "length text": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", "length below 0": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "length and chunked": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "large header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n", "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 300_000 + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_no_http(dev, data):
    """What is no HTTP is 400 in the documented shape."""
    answer = exchange(dev, data)

    assert answer.status == 400
    assert answer.refusal()[0] == "bad_request"
    assert answer.headers["connection"] == "close"
    assert _answers(dev)


def test_head_that_does_not_end(dev):
    """A head that goes on and on is refused while it is being sent."""
    with socket.create_connection(dev.address, timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(20):
            connection.sendall(b"a" * 8192)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert _answers(dev)


@pytest.mark.parametrize("close", [True, False], ids=["close", "keep-alive"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
def test_ten_megabytes(dev, chunked, close):
    """10 MB are 413, and a client that sends all of it before it listens sees why."""
    if chunked:
        headers, body = b"Transfer-Encoding: chunked\r\n", (b"2710\r\n" + b"x" * 10_000 + b"\r\n") * 1000 + b"0\r\n\r\n"
    else:
        headers, body = b"Content-Length: 10000000\r\n", b"x" * 10_000_000
    data = request(dev, TARGET, b"POST", headers=JSON_HEADER + headers, body=body, close=close)
    if not close:
        # The connection goes on: the next request on it is answered.
        data += request(dev, b"/apiops/test/hello/you")
    answer = exchange(dev, data)

    assert answer.status == 413
    assert _answers(dev)
    if not close:
        assert answer.body.endswith(b"Hello you")
    else:
        assert answer.refusal()[1] == f"Request body is larger than {LIMIT} bytes"


def test_client_that_waits_to_be_asked(dev):
    """A client that asks first whether it may send 10 MB is told before it sends."""
    headers = JSON_HEADER + b"Content-Length: 10000000\r\nExpect: 100-continue\r\n"

    assert exchange(dev, request(dev, TARGET, b"POST", headers=headers)).status == 413


@pytest.mark.parametrize("body", [
    b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloX", b"ffffffffffffffffffff\r\n", b"5;x=" + b"y" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
], ids=lambda body: ascii(body[:20]))  # fmt: skip
def test_broken_chunks(dev, body):
    """Chunks that are none end in a 4xx."""
    data = request(dev, TARGET, b"POST", headers=JSON_HEADER + b"Transfer-Encoding: chunked\r\n", body=body)

    answer = exchange(dev, data)

    assert 400 <= answer.status < 500
    answer.refusal()
    assert _answers(dev)


@pytest.mark.parametrize("sent", [0, 1, 100])
def test_client_that_hangs_up(dev, sent):
    """A client that goes away in the middle of its body leaves nothing behind."""
    body = json.dumps(email("api-raw")).encode().ljust(200)
    for _ in range(20):
        exchange(
            dev,
            request(dev, TARGET, b"POST", headers=JSON_HEADER + b"Content-Length: 200\r\n", body=body[:sent]),
            hang_up=True,
        )

    assert _answers(dev)
    assert dev.api.get(connection_path("api-raw")).status_code == 404


def test_client_that_hangs_up_while_it_is_waited_for(dev):
    """A client that goes away after its body does not stop the work."""
    name = "api-gone"
    body = json.dumps(email(name)).encode()
    headers = JSON_HEADER + b"Content-Length: " + str(len(body)).encode() + b"\r\n"
    exchange(dev, request(dev, connection_path(name).encode(), b"POST", headers=headers, body=body), hang_up=True)

    deadline = time.monotonic() + 10
    while dev.api.get(connection_path(name)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    dev.api.delete(connection_path(name))


def test_pipelined_requests(dev):
    """Requests behind one another on one connection are answered in their order."""
    data = (
        request(dev, b"/apiops/test/hello/1", close=False)
        + request(dev, b"/nothing", close=False)
        + request(dev, b"/apiops/test/hello/2")
    )
    with socket.create_connection(dev.address, timeout=20) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk

    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


def test_header_injection(dev):
    """Nothing that is sent becomes a header of the answer."""
    for data in (
        request(dev, CONNECTIONS.encode() + b"a%0d%0aSet-Cookie:%20x=1/"),
        request(dev, CONNECTIONS.encode() + b"?type=a%0d%0aSet-Cookie:%20x=1"),
        request(dev, TARGET, headers=b"X-Request-Id: a\r\nIdempotency-Key: a%0d%0aSet-Cookie: x=1\r\n"),
    ):
        answer = exchange(dev, data)

        assert answer.status >= 400
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND", b"LINK", b"PURGE"])
@pytest.mark.parametrize(
    "path", [TARGET, CONNECTIONS.encode(), b"/", b"/docs", b"/openapi.json", b"/nothing", b"/worker/v1/enrol", b"*"]
)
def test_other_methods(dev, method, path):
    """Other methods are 404 or 405 in the documented shape; HEAD is as GET, without a body."""
    answer = exchange(dev, request(dev, path, method))

    if method == b"HEAD":
        assert answer.status in (200, 400, 404, 405)
        assert answer.body == b""
    elif answer.status != 400:
        assert answer.status in (404, 405)
        answer.refusal()
        assert answer.status == 404 or "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]


@pytest.mark.parametrize("authorization", [
    b"", b"Bearer", b"Bearer ", b"bearer x", b"Basic \xff", b"\xff\xfe", b"Bearer \x7f", b"Bearer " + b"a" * 30_000, b"Bearer\tx", b", ,",
])  # fmt: skip
def test_odd_authorization(dev, authorization):
    """An Authorization header that is none is 401 (or no HTTP at all)."""
    answer = exchange(dev, request(dev, b"/apiops/projects/", authorization=authorization))

    assert answer.status in (400, 401)
    answer.refusal()


def test_two_authorizations(dev):
    """Two tokens in one request are no token: what stands behind which proxy must not decide."""
    good = b"Authorization: Bearer " + dev.token.encode() + b"\r\n"
    for first, second in ((b"Bearer x", good), (None, b"Authorization: Bearer x\r\n")):
        assert exchange(dev, request(dev, b"/apiops/projects/", headers=second, authorization=first)).status == 401


def test_upgrades_that_are_none(dev):
    """A request for another protocol is served as what it is, or refused; and the server goes on."""
    for upgrade in (b"h2c", b"websocket", b"x"):
        headers = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n"
        assert exchange(dev, request(dev, b"/apiops/projects/", headers=headers)).status < 500
    assert _answers(dev)
