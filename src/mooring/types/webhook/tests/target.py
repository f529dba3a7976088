"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import platform
import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.e2e.support import hook_server
from tests.support.services import service_state
from tests.support.targets import Ends, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    parts = urlsplit(body["fullUrl"])
    userinfo, at, _ = parts.netloc.rpartition("@")
    return {**body, "fullUrl": urlunsplit(parts._replace(netloc=f"{userinfo}{at}{host}:{port}"))}


FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"body": {"hello": "world"}})

EXEMPT: dict[str, str] = {"wrong_credential": "a 401 is an answer, whose status the caller judges"}


@contextmanager
def _target(tls: str = "", **fields: Any) -> Iterator[Target]:
    context, stores = None, {}
    if tls:
        files = service_state()["certificates"]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files["server"], files["server_key"])
        if "keyStoreName" in fields:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(files["ca"])
        identity = Store(chain=Path(files["client"]).read_text(), key=Path(files["client_key"]).read_text())
        trust = Store(trusted=Path(files["ca"]).read_text())
        stores = {name: identity if field == "keyStoreName" else trust for field, name in fields.items()}
    with hook_server("right", tls=context) as hook:
        text = f"ping {uuid.uuid4().hex}"
        yield Target(
            body={
                "type": "webhook", "httpMethod": "POST", "fullUrl": f"{'https' if tls else 'http'}://localhost:{hook.port}/in",
                "headerList": [{"name": "X-Api-Key", "value": "right"}], "verifyHostname": True, **fields,
            },
            operation="send",
            request={"body": text},
            seen=lambda answer: answer["status"] == 200 and ("right", text.encode()) in hook.calls,
            server=f"Python's http.server {platform.python_version()}",
            tls=tls,
            stores=stores,
            aimed=aimed,
            ends=_ends(bool(tls)),
        )  # fmt: skip


def _ends(encrypted: bool) -> dict[str, Ends | str]:
    if encrypted:
        return {
            "black_hole": Ends(Unreachable, "tls"),
            "garbage": Ends(Misconfigured, "tls"),
            "endless": Ends(Misconfigured, "tls"),
        }
    # A probe must not fire the hook: it is content with the connection, and only a use hears what is said there.
    silent = "a probe does not fire the hook, so it cannot meet what is said over plain HTTP; the room's own tests do"
    return dict.fromkeys(("black_hole", "garbage", "endless"), silent)


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "http": _target,
    "https": lambda: _target("TLS"),
    "https with a truststore": lambda: _target("TLS", trustStoreName="hook-authorities"),
    "https with a client certificate": lambda: _target(
        "mutual TLS", trustStoreName="hook-authorities", keyStoreName="hook-client"
    ),
}
