"""What the suites that all rooms share need to know of this one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.support.services import service_state
from tests.support.targets import Body, Ends, Target

from mooring.errors import Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import Store
from mooring.types.opsgenie.tests.fake import FakeOpsGenie, fake_opsgenie

FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"message": "It works."})
SERVER = "fake: Opsgenie's Alert API v2"


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    parts = urlsplit(body["apiUrl"])
    return {**body, "apiUrl": urlunsplit(parts._replace(netloc=f"{host}:{port}"))}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection with another key; there is no user."""
    return body if password is None else {**body, "apiKey": password}


def body_of(fake: FakeOpsGenie, scheme: str = "http", **fields: Any) -> Body:
    """A connection to *fake*."""
    return {"type": "ops-genie", "apiUrl": f"{scheme}://localhost:{fake.port}/v2/alerts", "apiKey": fake.key, **fields}


@contextmanager
def _target(tls: str = "", operation: str = "send") -> Iterator[Target]:
    certificates = service_state().get("certificates")
    if tls and not certificates:
        pytest.skip("there are no certificates: make services")
    shown = (certificates["server"], certificates["server_key"]) if tls else None
    mutual = tls == "mutual TLS"
    with fake_opsgenie(shown, certificates["ca"] if mutual else None) as fake:
        alias = uuid.uuid4().hex
        if operation == "close":
            fake.alerts[alias] = {"alias": alias, "id": "1", "status": "open", "message": "Open", "count": 1}
        body = body_of(fake, "https" if tls else "http", alias=alias)
        yield Target(
            body={**body, "trustStoreName": "opsgenie-ca", "keyStoreName": "opsgenie-client"} if mutual else body,
            operation=operation,
            request={"message": "It works."} if operation == "send" else {},
            seen=lambda answer: (
                fake.requests.get(answer["requestId"], {}).get("isSuccess")
                and fake.alerts[alias]["status"] == ("open" if operation == "send" else "closed")
            ),
            server=SERVER,
            tls=tls,
            stores=_stores(certificates) if mutual else {},
            aimed=aimed,
            with_login=with_login,
            ends=_ENDS | (_IN_TLS if tls else _PLAIN),
        )


def _stores(certificates: Mapping[str, str]) -> dict[str, Store]:
    text = {name: Path(certificates[name]).read_text() for name in ("ca", "client", "client_key")}
    return {
        "opsgenie-ca": Store(trusted=text["ca"]),
        "opsgenie-client": Store(chain=text["client"], key=text["client_key"]),
    }


_ENDS: Mapping[str, Ends | str] = {
    "wrong_user": "there is a key, and no user",
    "wrong_password": Ends(Rejected, "key"),
}
_IN_TLS: Mapping[str, Ends | str] = {
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}
_PLAIN: Mapping[str, Ends | str] = {
    "black_hole": Ends(Unreachable, "key"),
    "garbage": Ends(Misconfigured, "key"),
    "endless": Ends(Misconfigured, "key"),
}

TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "plain": partial(_target),
    "close": partial(_target, operation="close"),
    "TLS": partial(_target, "TLS"),
    "mutual TLS": partial(_target, "mutual TLS"),
}

SAME_WEATHER = {"close": "plain"}
