"""What the suites that all rooms share need to know of this room."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.fileservers import files_of
from tests.support.services import Service, service
from tests.support.targets import Ends, Opening, Target

from mooring.errors import Unreachable

FIRST_USE: tuple[str, dict[str, Any]] = ("run", {"command": "true"})

_NO_CERTIFICATES = "SSH has host keys in place of certificates; another one is refused, as this type's own tests show"
_ENDS: Mapping[str, Ends | str] = {
    **{name: Ends(Unreachable, "host key") for name in ("black_hole", "garbage", "endless")},
    **dict.fromkeys(("wrong_ca", "wrong_name", "expired"), _NO_CERTIFICATES),
}


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "hostName": host, "sshPort": port}


def with_login(body: dict[str, Any], user: str | None, password: str | None) -> dict[str, Any]:
    """The same connection, with another login."""
    return {**body, "username": user or body["username"], "password": password or body["password"]}


def body_for(server: Service, **fields: Any) -> dict[str, Any]:
    """A connection to *server*."""
    return {
        "type": "linux-script", "hostName": "localhost", "sshPort": server["port"],
        "username": server["user"], "password": server["password"], **fields,
    }  # fmt: skip


@contextlib.contextmanager
def _opened(pinned: bool, request: dict[str, Any]) -> Iterator[Target]:
    server = service("sshd")
    file = files_of(server) / f"target-{uuid.uuid4().hex}.txt"
    text = 'it\'s ışık; $HOME `id` \\ "quoted" *\n'
    fields = {"hostKeyFingerprint": server["fingerprints"]["ed25519"]} if pinned else {}
    try:
        yield Target(
            body=body_for(server, **fields),
            operation="run",
            request={**request, "arguments": [str(file), text]},
            seen=lambda answer: answer["exitStatus"] == 0 and file.read_text() == text,
            server=f"OpenSSH {server['version']}",
            tls="SSH, host key pinned" if pinned else "SSH, host key trusted at first use",
            aimed=aimed,
            with_login=with_login,
            ends=_ENDS,
        )
    finally:
        file.unlink(missing_ok=True)


_SCRIPT = {"script": 'printf "%s" "$2" > "$1"'}

TARGETS: dict[str, Opening] = {
    "script": functools.partial(_opened, True, _SCRIPT),
    "script first use": functools.partial(_opened, False, _SCRIPT),
}
