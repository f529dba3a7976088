"""What the suites that all rooms share need to know of this room."""

from __future__ import annotations

import base64
import contextlib
import functools
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.support.fileservers import files_of
from tests.support.services import Service, service
from tests.support.targets import Ends, Opening, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store
from mooring.types.ftp.tests.fake import after_auth_tls, fake_ftp_server

FIRST_USE: tuple[str, dict[str, Any]] = ("list", {})

_AT_TLS: Mapping[str, Ends | str] = {name: Ends(Unreachable, "tls") for name in ("black_hole", "garbage", "endless")}
_TLS_FIRST: Mapping[str, Ends | str] = {
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}
_NO_CERTIFICATES = "SSH has host keys in place of certificates; another one is refused, as this type's own tests show"
_AT_HOST_KEY: Mapping[str, Ends | str] = {
    **{name: Ends(Unreachable, "host key") for name in ("black_hole", "garbage", "endless")},
    **dict.fromkeys(("wrong_ca", "wrong_name", "expired"), _NO_CERTIFICATES),
}


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "host": host, "port": port}


def with_login(body: dict[str, Any], user: str | None, password: str | None) -> dict[str, Any]:
    """The same connection, with another login."""
    return {**body, "username": user or body["username"], "password": password or body["password"]}


def body_for(server: Service, port: str, protocol: str, **fields: Any) -> dict[str, Any]:
    """A connection to *server*, in the folder that its user may write to."""
    return {
        "type": "ftp",
        "host": "localhost",
        "port": server[port],
        "protocol": protocol,
        "username": server["user"],
        "password": server["password"],
        "workingDir": str(files_of(server)) if protocol == "SFTP" else "/files",
        **fields,
    }  # fmt: skip


def client_store(server: Service) -> Store:
    """A client certificate that *server* takes, and whom to trust."""
    paths = server.certificates
    return Store(
        trusted=Path(server.ca).read_text(),
        chain=Path(paths["client"]).read_text(),
        key=Path(paths["client_key"]).read_text(),
    )


def _spoiled(server: Service, body: dict[str, Any], certificate: str) -> AbstractContextManager[dict[str, Any]]:
    @contextlib.contextmanager
    def opened() -> Iterator[dict[str, Any]]:
        paths = server.certificates
        with fake_ftp_server(after_auth_tls(paths[certificate], paths[f"{certificate}_key"])) as port:
            yield aimed(body, "localhost", port)

    return opened()


@contextlib.contextmanager
def _opened(
    name: str, port: str, protocol: str, tls: str, ends: Mapping[str, Ends | str], pinned: bool, fields: dict[str, Any]
) -> Iterator[Target]:
    server = service(name)
    body = body_for(server, port, protocol, **fields)
    if pinned:
        body["hostKeyFingerprint"] = server["fingerprints"]["ed25519"]
    mutual = {"files-client": client_store(server)} if "keyStoreName" in fields else {}
    path, content = f"target-{uuid.uuid4().hex}-ışık.bin", bytes(range(256)) * 16
    spoiled = {}
    if fields.get("useExplicit"):
        shown = {"wrong_ca": "unknown_server", "wrong_name": "wrong_name", "expired": "expired"}
        spoiled = {weather: functools.partial(_spoiled, server, body, shown[weather]) for weather in shown}
    try:
        yield Target(
            body=body,
            operation="put",
            request={"path": path, "content": base64.b64encode(content).decode()},
            seen=lambda answer: (files_of(server) / answer["path"]).read_bytes() == content,
            server=f"{_NAMES[name]} {server['version']}",
            tls=tls,
            stores=mutual,
            aimed=aimed,
            with_login=with_login,
            ends=ends,
            spoiled=spoiled,
        )
    finally:
        (files_of(server) / path).unlink(missing_ok=True)


_NAMES = {"vsftpd": "vsftpd", "proftpd": "ProFTPD", "sshd": "OpenSSH"}


def _target(
    name: str,
    port: str,
    protocol: str,
    tls: str = "",
    ends: Mapping[str, Ends | str] | None = None,
    pinned: bool = False,
    **fields: Any,
) -> Opening:
    return functools.partial(_opened, name, port, protocol, tls, ends or {}, pinned, fields)


_EXPLICIT, _IMPLICIT = {"useExplicit": True}, {"useImplicit": True}

TARGETS: dict[str, Opening] = {
    "FTP": _target("vsftpd", "port", "FTP"),
    "FTPS explicit": _target("vsftpd", "explicit_port", "FTPS", "TLS after AUTH", _AT_TLS, **_EXPLICIT),
    "FTPS explicit TLS 1.2": _target(
        "vsftpd", "explicit_port", "FTPS", "TLS 1.2 after AUTH", _AT_TLS, sslProtocol="TLSv1.2", **_EXPLICIT
    ),
    "FTPS implicit": _target("vsftpd", "implicit_port", "FTPS", "TLS", _TLS_FIRST, **_IMPLICIT),
    "FTPS client certificate": _target(
        "vsftpd", "mutual_port", "FTPS", "mutual TLS after AUTH", _AT_TLS, keyStoreName="files-client", **_EXPLICIT
    ),
    "FTPS explicit ProFTPD": _target("proftpd", "explicit_port", "FTPS", "TLS after AUTH", _AT_TLS, **_EXPLICIT),
    "FTPS implicit ProFTPD": _target("proftpd", "implicit_port", "FTPS", "TLS", _TLS_FIRST, **_IMPLICIT),
    "SFTP": _target("sshd", "port", "SFTP", "SSH, host key pinned", _AT_HOST_KEY, pinned=True),
    "SFTP first use": _target("sshd", "port", "SFTP", "SSH, host key trusted at first use", _AT_HOST_KEY),
}
