"""
A second receiver: pysnmp's own, with a user for every pair of algorithms, also those that Net-SNMP does not know.

Run as a program it listens, and prints what it receives.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

PASSPHRASE, PRIVACY_PASSPHRASE = "a-passphrase-of-tests", "another-passphrase"
AUTHENTICATIONS = {
    "AuthMD5": "HMAC96_MD5",
    "AuthSHA": "HMAC96_SHA",
    "AuthHMAC128SHA224": "HMAC128_SHA224",
    "AuthHMAC192SHA256": "HMAC192_SHA256",
    "AuthHMAC256SHA384": "HMAC256_SHA384",
    "AuthHMAC384SHA512": "HMAC384_SHA512",
}
PRIVACIES = {
    "PrivDES": "CBC56_DES",
    "Priv3DES": "CBC168_3DES",
    "PrivAES128": "CFB128_AES",
    "PrivAES192": "CFB192_AES_BLUMENTHAL",
    "PrivAES256": "CFB256_AES_BLUMENTHAL",
    "PrivAES192with3DES": "CFB192_AES",
    "PrivAES256with3DES": "CFB256_AES",
}
ONLY_HERE = ("Priv3DES", "PrivAES192with3DES", "PrivAES256with3DES")


def user_of(kind: str, authentication: str, privacy: str) -> str:
    """The user for a `TRAP` or an `INFORM` with those algorithms."""
    return f"{kind[0]}-{AUTHENTICATIONS[authentication]}-{privacy[4:]}"


@dataclass
class PysnmpReceiver:
    """Where it listens, and what it received: for each notification its variables, values in hexadecimal or as text."""

    port: int
    received: list[dict[str, str]] = field(default_factory=list)
    server: str = f"pysnmp {version('pysnmp')}, its notification receiver"

    def has(self, text: str) -> bool:
        """Whether a notification with a variable of that text came."""
        return any(text.encode().hex() in values.values() for values in self.received)


@contextlib.contextmanager
def pysnmp_receiver(*privacies: str) -> Iterator[PysnmpReceiver]:
    """The receiver in a process of its own, with users for those privacy protocols."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, *(privacies or ONLY_HERE)]
    reading: threading.Thread | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            running = PysnmpReceiver(int(process.stdout.readline()))

            def read(lines: Any) -> None:
                running.received.extend(json.loads(line) for line in lines)

            reading = threading.Thread(target=read, args=(process.stdout,), daemon=True)
            reading.start()
            yield running
        finally:
            process.kill()
            # The output must not be closed while it is read.
            if reading is not None:
                reading.join()


@cache
def shared_receiver() -> PysnmpReceiver:
    """One that runs until this process ends: it takes a second to start."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(pysnmp_receiver())


async def main(privacies: list[str]) -> None:
    from pysnmp.carrier.asyncio.dgram import udp
    from pysnmp.entity import config, engine
    from pysnmp.entity.rfc3413 import ntfrcv
    from pysnmp.proto.api import v2c

    from mooring.types.snmp.sender import ENGINE

    receiver = engine.SnmpEngine()
    transport = udp.UdpTransport().open_server_mode(("127.0.0.1", 0))
    config.add_transport(receiver, udp.DOMAIN_NAME, transport)
    for kind, (name, authentication), privacy in itertools.product("TI", AUTHENTICATIONS.items(), privacies):
        of = {"securityEngineId": v2c.OctetString(ENGINE)} if kind == "T" else {}
        config.add_v3_user(
            receiver, user_of(kind, name, privacy),
            getattr(config, f"USM_AUTH_{authentication}"), PASSPHRASE,
            getattr(config, f"USM_PRIV_{PRIVACIES[privacy]}"), PRIVACY_PASSPHRASE, **of,
        )  # fmt: skip

    def notified(_: Any, __: Any, ___: Any, ____: Any, variables: Any, _____: Any) -> None:
        shown = {
            str(name): value.asOctets().hex() if hasattr(value, "asOctets") else str(value) for name, value in variables
        }
        print(json.dumps(shown), flush=True)

    ntfrcv.NotificationReceiver(receiver, notified)
    while transport.transport is None:
        await asyncio.sleep(0.01)
    print(transport.transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
