"""What the shared suites need to know of this room."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tests.support.services import Service, service
from tests.support.snmptrapd import received
from tests.support.targets import Body, Ends, Target
from tools.services.servers.snmptrapd import user_of

from mooring.errors import Rejected, Unreachable
from mooring.types.snmp.tests import receiver

MESSAGE_OID = "1.3.6.1.4.1.12345.1.1"


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "connectionString": f"{body['connectionString'].partition(':')[0]}:{host}/{port}"}


FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"message": "hello"})

_ACKNOWLEDGED = Ends(Unreachable, "acknowledged")
_NOBODY_SAYS = "a trap is not answered, so nobody says"
_TRAP = dict.fromkeys(("closed_port", "black_hole", "garbage", "endless", "wrong_user", "wrong_password"), _NOBODY_SAYS)
_TRAP_TCP = {
    **_TRAP,
    "closed_port": Ends(Unreachable, "connect"),
    "garbage": Ends(Unreachable, "connect"),
    "endless": Ends(Unreachable, "connect"),
}
_INFORM = dict.fromkeys(("black_hole", "garbage", "endless"), _ACKNOWLEDGED)
_BY_COMMUNITY = {"wrong_user": "a community is all there is", "wrong_password": _ACKNOWLEDGED}
_BY_USER = {"wrong_user": Ends(Rejected, "acknowledged"), "wrong_password": Ends(Rejected, "acknowledged")}


def real(snmptrapd: Service, **fields: Any) -> Body:
    """A connection to the receiver over UDP, with its community."""
    return {
        "type": "snmp", "connectionString": f"udp:localhost/{snmptrapd['port']}", "version": "V2c",
        "securityOrCommunityName": snmptrapd["community"], "pduOidForMessage": f".{MESSAGE_OID}", "timeout": 1000,
        "retryCount": 1, **fields,
    }  # fmt: skip


def secured(
    snmptrapd: Service, kind: str, authentication: str | None = None, privacy: str | None = None, **fields: Any
) -> Body:
    """A connection as the receiver's user for those algorithms."""
    level = "AUTH_PRIV" if privacy else "AUTH_NOPRIV" if authentication else "NOAUTH_NOPRIV"
    user = user_of(kind, authentication, privacy)
    body = real(snmptrapd, version="V3", messageType=kind, securityLevel=level, securityOrCommunityName=user)
    if authentication:
        body |= {"usmUserAuthenticationProtocol": authentication, "authPassphrase": snmptrapd["passphrase"]}
    if privacy:
        body |= {"usmUserPrivacyProtocol": privacy, "privPassphrase": snmptrapd["privacy_passphrase"]}
    return {**body, **fields}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection, as somebody else; what a password is depends on the version."""
    if body["version"] != "V3":
        return {**body, "securityOrCommunityName": password or body["securityOrCommunityName"]}
    changed = {"securityOrCommunityName": user} if user else {"authPassphrase": password}
    return {**body, **changed}


@contextlib.contextmanager
def peer_over_udp(weather: str) -> Iterator[int]:
    """A UDP port that takes what it gets, and answers with nothing, with rubbish, or with rubbish without end."""
    rubbish = bytes(range(256)) * 4
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while not ended.is_set():
                _, sender = sock.recvfrom(65536)
                for _ in range({"black_hole": 0, "garbage": 1}.get(weather, 20_000)):
                    sock.sendto(rubbish, sender)
                    if ended.wait(0.0001):
                        break

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield sock.getsockname()[1]
    finally:
        ended.set()
        # Wakes whoever waits for a datagram.
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        sock.close()


def _spoiled(body: Body) -> dict[str, Callable[[], AbstractContextManager[Body]]]:
    """The suite's own peers speak TCP."""

    def over_udp(weather: str) -> Callable[[], AbstractContextManager[Body]]:
        @contextlib.contextmanager
        def there() -> Iterator[Body]:
            with peer_over_udp(weather) as port:
                yield aimed(body, "127.0.0.1", port)

        return there

    return {weather: over_udp(weather) for weather in ("black_hole", "garbage", "endless")}


def _to_snmptrapd(**about: Any) -> Callable[[], AbstractContextManager[Target]]:
    @contextlib.contextmanager
    def target() -> Iterator[Target]:
        snmptrapd = service("snmptrapd")
        algorithms = about.get("algorithms")
        if algorithms is None:
            body = real(snmptrapd, version=about["version"], messageType=about["kind"])
        else:
            body = secured(snmptrapd, about["kind"], *algorithms)
        tcp = about.get("tcp", False)
        if tcp:
            body["connectionString"] = body["connectionString"].replace("udp", "tcp")
        text = f"ışık {uuid.uuid4().hex}"
        yield Target(
            body, "send", {"message": text}, lambda _: received(snmptrapd, text), f"snmptrapd {snmptrapd['version']}",
            tls="encrypted by SNMP itself" if algorithms and len(algorithms) == 2 else "",
            aimed=aimed, with_login=with_login, ends=_ends(about["kind"], tcp, algorithms),
            spoiled={} if tcp or about["kind"] == "TRAP" else _spoiled(body),
        )  # fmt: skip

    return target


def _ends(kind: str, tcp: bool, algorithms: tuple[str, ...] | None) -> dict[str, Ends | str]:
    tls = dict.fromkeys(("wrong_ca", "wrong_name", "expired"), "SNMP's own encryption has no certificates")
    if kind == "TRAP":
        return {**tls, **(_TRAP_TCP if tcp else _TRAP)}
    login = _BY_COMMUNITY if algorithms is None else dict(_BY_USER)
    if algorithms == ():
        login["wrong_password"] = "without authentication there is no password"
    return {**tls, **_INFORM, **login, "closed_port": Ends(Unreachable, "connect") if tcp else _ACKNOWLEDGED}


def _to_pysnmp(kind: str, authentication: str, privacy: str) -> Callable[[], AbstractContextManager[Target]]:
    @contextlib.contextmanager
    def target() -> Iterator[Target]:
        there = receiver.shared_receiver()
        body = {
            "type": "snmp", "connectionString": f"udp:localhost/{there.port}", "version": "V3", "messageType": kind,
            "securityOrCommunityName": receiver.user_of(kind, authentication, privacy), "timeout": 1000,
            "retryCount": 1, "pduOidForMessage": f".{MESSAGE_OID}", "securityLevel": "AUTH_PRIV",
            "usmUserAuthenticationProtocol": authentication, "authPassphrase": receiver.PASSPHRASE,
            "usmUserPrivacyProtocol": privacy, "privPassphrase": receiver.PRIVACY_PASSPHRASE,
        }  # fmt: skip
        text = f"ışık {uuid.uuid4().hex}"
        yield Target(
            body, "send", {"message": text}, lambda _: there.has(text), there.server,
            tls="encrypted by SNMP itself", aimed=aimed, with_login=with_login,
            ends=_ends(kind, False, (authentication, privacy)), spoiled=_spoiled(body) if kind == "INFORM" else {},
        )  # fmt: skip

    return target


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "V1 trap, UDP": _to_snmptrapd(version="V1", kind="TRAP"),
    "V2c trap, UDP": _to_snmptrapd(version="V2c", kind="TRAP"),
    "V2c trap, TCP": _to_snmptrapd(version="V2c", kind="TRAP", tcp=True),
    "V2c inform, UDP": _to_snmptrapd(version="V2c", kind="INFORM"),
    "V2c inform, TCP": _to_snmptrapd(version="V2c", kind="INFORM", tcp=True),
    "V3 inform without authentication": _to_snmptrapd(kind="INFORM", algorithms=()),
    "V3 inform, SHA-512": _to_snmptrapd(kind="INFORM", algorithms=("AuthHMAC384SHA512",)),
    "V3 trap, MD5 and DES": _to_snmptrapd(kind="TRAP", algorithms=("AuthMD5", "PrivDES")),
    "V3 inform, SHA and AES-128": _to_snmptrapd(kind="INFORM", algorithms=("AuthSHA", "PrivAES128")),
    "V3 trap, SHA-224 and AES-192": _to_snmptrapd(kind="TRAP", algorithms=("AuthHMAC128SHA224", "PrivAES192")),
    "V3 inform, SHA-256 and AES-256": _to_snmptrapd(kind="INFORM", algorithms=("AuthHMAC192SHA256", "PrivAES256")),
    "V3 inform, SHA-384 and AES-256, TCP": _to_snmptrapd(
        kind="INFORM", algorithms=("AuthHMAC256SHA384", "PrivAES256"), tcp=True
    ),
    "V3 inform, SHA and 3DES": _to_pysnmp("INFORM", "AuthSHA", "Priv3DES"),
    "V3 trap, SHA and 3DES": _to_pysnmp("TRAP", "AuthSHA", "Priv3DES"),
    "V3 inform, SHA-256 and AES-192 with 3DES": _to_pysnmp("INFORM", "AuthHMAC192SHA256", "PrivAES192with3DES"),
    "V3 inform, SHA-256 and AES-256 with 3DES": _to_pysnmp("INFORM", "AuthHMAC192SHA256", "PrivAES256with3DES"),
}

SAME_WEATHER = {
    **dict.fromkeys(("V1 trap, UDP",), "V2c trap, UDP"),
    **dict.fromkeys(
        ("V3 trap, SHA-224 and AES-192", "V3 trap, SHA and 3DES"),
        "V3 trap, MD5 and DES",
    ),
    **dict.fromkeys(
        (
            "V3 inform, SHA-512", "V3 inform, SHA and AES-128", "V3 inform, SHA and 3DES",
            "V3 inform, SHA-256 and AES-192 with 3DES", "V3 inform, SHA-256 and AES-256 with 3DES",
        ),
        "V3 inform, SHA-256 and AES-256",
    ),
}  # fmt: skip
