"""Odd paths: a refusal in the documented shape, in this process and from a real server."""

import pytest

from mooring.api.gate import canonical
from tests.api.answers import done, refusal
from tests.api.raw import exchange, request
from tests.support.plane import CONNECTIONS, connection_path, email

LIST = CONNECTIONS.encode()

# Never a path, whoever asks.
ODD = [
    b"//", b"//apiops/projects/", b"/apiops//projects/", b"/apiops/projects//", LIST + b"/", LIST + b"a//",
    LIST + b"a%2fb/", LIST + b"a%2Fb/", LIST + b"%2e%2e%2f%2e%2e/", LIST + b"a%5cb/", LIST + b"a\\b/", LIST + b"a%00b/",
    LIST + b"%00", LIST + b"../", LIST + b"..", LIST + b"./", LIST + b"%2e%2e/", LIST + b"%2E./", LIST + b".%2e", LIST + b"%2e/",
    LIST + b"../../../etc/passwd", b"/apiops/projects/../../docs", b"/..;/apiops/projects/", LIST + b"a;b/", LIST + b";jsessionid=1",
    LIST + b"%ff/", LIST + b"%c3%28/", LIST + b"%ed%a0%80/", LIST + b"%f4%90%80%80/", LIST + b"%c0%ae%c0%ae/", LIST + b"%e2%82",
    LIST + b"a%0ab/", LIST + b"a%0d%0aX-Injected:%201/", LIST + b"a%09b/", LIST + b"a%1fb/", LIST + b"a%7fb/", LIST + b"%C0%80",
]  # fmt: skip

# A path, of something that is not there or cannot be.
NOWHERE = [
    LIST + b"%/", LIST + b"%2/", LIST + b"%zz/", LIST + b"%25/", LIST + b"%252e%252e/", LIST + b"%252f/", LIST + b"%u002e/",
    LIST + b"a%3fb/", LIST + b"a%23b/", LIST + b"a" * 300 + b"/", LIST + b"a" * 20_000, LIST + b"%61" * 5_000, LIST + b"%e2%80%a8/",
    b"/apiops", b"/apiops/projects/MyProject/connection/", b"/APIOPS/projects/", b"/apiops/Projects/", b"/" + b"a/" * 5_000,
    b"/apiops/projects/MyProject/connections/a/deployments/b/c/", b"/worker/v1/stream", b"/assets/..%2e", b"/assets/nothing.js",
    b"/*", b"/apiops/projects/%20", b"/apiops/projects/%F0%9F%9A%80/connections/",
]  # fmt: skip

METHODS = [b"GET", b"POST", b"PUT", b"DELETE"]


def _body(method: bytes) -> dict:
    return (
        {"headers": b"Content-Type: application/json\r\nContent-Length: 2\r\n", "body": b"{}"}
        if method[0:1] == b"P"
        else {}
    )


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_odd_path_is_no_path(raw):
    """These are not taken for a path."""
    assert canonical(raw) is None


@pytest.mark.parametrize(("raw", "path"), [
    (b"/", "/"), (b"/docs", "/docs"), (b"/docs/", "/docs"), (b"/a%20b/", "/a b"), (b"/%C3%A9", "/é"), (b"/%61", "/a"),
    (b"/a?b//c", "/a"), (b"/a%3Bb", "/a;b"), (b"/...", "/..."), (b"/.a/a..", "/.a/a.."), (b"/%", "/%"), (b"/a/?x=..", "/a"),
])  # fmt: skip
def test_path_is_read(raw, path):
    """These are, and a trailing slash makes no difference."""
    assert canonical(raw) == path


@pytest.mark.parametrize("raw", [*ODD, *NOWHERE], ids=lambda raw: ascii(raw[:60]))
def test_odd_path_over_a_socket(dev, raw):
    """Sent as it stands to a real server, it is a 4xx in the documented shape, for every method."""
    for method in METHODS:
        answer = exchange(dev, request(dev, raw, method, **_body(method)))

        assert 400 <= answer.status < 500, (method, answer)
        answer.refusal()
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize("raw", ODD, ids=ascii)
def test_odd_path_without_a_token(dev, raw):
    """Without a token it is refused too, and opens nothing."""
    assert exchange(dev, request(dev, raw, authorization=b"")).status in (400, 401)


@pytest.mark.parametrize("raw", [
    b"", b" ", b"apiops/projects/", b"/apiops/\xff/", b"/apiops/\xc3\xa9/", b"/apiops/projects/ x/", b"/apiops/\x00/", b"/apiops/\n/",
    b"http://", b"/" + b"a" * 70_000, b"/" + b"a" * 1_000_000, b"://", b"http://[::1/apiops/",
], ids=lambda raw: ascii(raw[:40]))  # fmt: skip
def test_request_line_that_is_none(dev, raw):
    """What is no request line is 400 in the documented shape."""
    answer = exchange(dev, request(dev, raw))

    assert answer.status == 400
    assert answer.refusal()[0] == "bad_request"


def test_absolute_path(dev):
    """A proxy's spelling of a path, with scheme and host, is the path."""
    assert exchange(dev, request(dev, b"http://mooring.test/healthz")).status == 200


def test_encoded_semicolon_is_part_of_a_name(dev):
    """Escaped, a semicolon is a character like others."""
    name = "api a;b"
    done(dev.api.post(connection_path(name), json=email(name)))

    assert exchange(dev, request(dev, LIST + b"api%20a%3Bb/")).status == 200
    done(dev.api.delete(connection_path(name)))


async def test_long_path_in_a_text(http):
    """A path that is not found is not repeated at any length."""
    response = await http.get("/nothing/" + "a" * 10_000)

    assert refusal(response)[0] == 404
    assert len(response.text) < 400


@pytest.mark.parametrize("host", [b"", b"[", b"[::1", b"a b", b"a:b", b"<script>", b'"><script>alert(1)</script>', b"\xff", b"x" * 5000, b"a/b?c#d"], ids=ascii)  # fmt: skip
def test_odd_host(dev, host):
    """A Host header that is none breaks no page and is never believed."""
    data = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"

    answer = exchange(dev, data)

    assert answer.status < 500
    assert b"<script>alert" not in answer.body
